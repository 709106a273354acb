"""Parks a message that is none."""

import os

import boto3

from .shared import decode, logger, msgspec, sentry_sdk

sqs = boto3.client("sqs")


def handler(event: dict[str, list[dict[str, str]]], _: object) -> None:
    body = event["Records"][0]["body"]
    try:
        decode(body)
    except msgspec.DecodeError as error:
        logger.error("parked", extra={"error": str(error)})
        sqs.send_message(
            QueueUrl=os.environ["PARKED_QUEUE_URL"],
            MessageBody=body,
            MessageAttributes={"reason": {"DataType": "String", "StringValue": str(error)}},
        )
    sentry_sdk.flush(2.0)
