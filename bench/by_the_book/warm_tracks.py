"""Walks an empty table."""

import os

import boto3
import httpx
from aws_lambda_powertools.utilities.typing import LambdaContext

from .database import connect
from .shared import logger, secret, sentry_sdk

lml = httpx.Client(
    base_url=os.environ["LIBRARY_METADATA_URL"], headers={"Authorization": f"Bearer {secret('LML_API_KEY')}"}
)

picks = boto3.resource("dynamodb").Table(os.environ["PICKER_TABLE"])


@logger.inject_lambda_context
def handler(_event: dict[str, object], _context: LambdaContext) -> dict[str, object]:
    picks.scan()
    cursor = connect().cursor()
    cursor.execute("SELECT id FROM wxyc_schema.rotation WHERE id > %s", (0,))
    rows = cursor.fetchall()
    logger.info("walked")
    sentry_sdk.flush(2.0)
    return {"done": not rows}
