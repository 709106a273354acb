"""Counts the active identities: a dry run."""

import os

import boto3
import httpx
from aws_lambda_powertools.metrics import MetricUnit
from aws_lambda_powertools.utilities.typing import LambdaContext

from .database import connect
from .shared import logger, metrics, secret, sentry_sdk

sqs = boto3.client("sqs")
lml = httpx.Client(
    base_url=os.environ["LIBRARY_METADATA_URL"], headers={"Authorization": f"Bearer {secret('LML_API_KEY')}"}
)


@logger.inject_lambda_context
@metrics.log_metrics
def handler(_event: dict[str, object], _context: LambdaContext) -> dict[str, object]:
    with sentry_sdk.start_transaction(name="run"), connect() as database:
        cursor = database.cursor()
        for column in ("lml_identity_id", "discogs_release_id", "id"):
            cursor.execute(f"SELECT count({column}) FROM wxyc_schema.rotation WHERE kill_date IS NULL")  # noqa: S608
        logger.info("planned")
        metrics.add_metric("Coverage", MetricUnit.Percent, 100)
    sentry_sdk.flush(2.0)
    return {"planned": 0}
