"""Walks an empty table."""

import asyncio
import os

import httpx

from .database import connect
from .shared import dynamodb, logger, secret, sentry_sdk

key = secret("LML_API_KEY")
client = httpx.AsyncClient(headers={"Authorization": f"Bearer {key}"}, timeout=None, trust_env=False)  # noqa: S113 - it sends nothing
runner = asyncio.Runner()


def handler(_: object, __: object) -> dict[str, object]:
    rows = connect().prepare("SELECT id FROM wxyc_schema.rotation WHERE id > :after").run(after=0)
    dynamodb.scan(TableName=os.environ["PICKER_TABLE"], ProjectionExpression="pk")
    logger.info("walked")
    sentry_sdk.flush(2.0)
    return {"done": not rows}
