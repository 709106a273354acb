"""Parks what is no message."""

import json
import os

import boto3
from aws_lambda_powertools.utilities.batch import BatchProcessor, EventType, process_partial_response
from aws_lambda_powertools.utilities.data_classes.sqs_event import SQSRecord
from aws_lambda_powertools.utilities.typing import LambdaContext

from .shared import logger, metrics, sentry_sdk

sqs = boto3.client("sqs")
processor = BatchProcessor(event_type=EventType.SQS)


def work(record: SQSRecord) -> None:
    try:
        json.loads(record.body)
    except json.JSONDecodeError as error:
        logger.warning("parked", error=str(error))  # an error would be an event in Sentry, which ours sends none of
        sqs.send_message(
            QueueUrl=os.environ["PARKED_QUEUE_URL"],
            MessageBody=record.body,
            MessageAttributes={"reason": {"DataType": "String", "StringValue": str(error)}},
        )


@logger.inject_lambda_context
@metrics.log_metrics
def handler(event: dict[str, object], context: LambdaContext) -> object:
    answer = process_partial_response(event=event, record_handler=work, processor=processor, context=context)
    sentry_sdk.flush(2.0)
    return answer
