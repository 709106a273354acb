"""Answers 404 for a row that the database does not have."""

import os
from typing import Any

import httpx
from aws_lambda_powertools.event_handler import APIGatewayHttpResolver
from aws_lambda_powertools.event_handler.exceptions import NotFoundError
from aws_lambda_powertools.utilities.typing import LambdaContext

from .database import connect
from .shared import logger, secret

app = APIGatewayHttpResolver()
lml = httpx.Client(
    base_url=os.environ["LIBRARY_METADATA_URL"], headers={"Authorization": f"Bearer {secret('LML_API_KEY')}"}
)


@app.get("/library/rotation/<rotation_id>/tracks")
def tracks(rotation_id: str) -> dict[str, Any]:
    cursor = connect().cursor()
    cursor.execute("SELECT id, artist_name, album_title FROM wxyc_schema.rotation WHERE id = %s", (int(rotation_id),))
    if cursor.fetchone() is None:
        raise NotFoundError
    return {}


@logger.inject_lambda_context
def handler(event: dict[str, Any], context: LambdaContext) -> dict[str, Any]:
    return app.resolve(event, context)
