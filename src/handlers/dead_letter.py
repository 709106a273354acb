"""Accounts for messages that were never finished, so that their run can close."""

from functools import cache
from typing import TYPE_CHECKING

from core import settings
from core.refresh.dead_letter import DeadLetterConsumer
from core.runs.messages import ClaimedError, read_deliveries
from handlers import bootstrap
from handlers.settings import load_settings

if TYPE_CHECKING:
    from aws_lambda_powertools.utilities.typing import LambdaContext


@cache
def build() -> DeadLetterConsumer:
    return DeadLetterConsumer(bootstrap.store(load_settings(settings.dead_letter, lambda _: ())))


def handler(event: object, context: "LambdaContext") -> None:
    dead_letter = build()
    with dead_letter.store.lifecycle.telemetry.invocation("slice_error", but_not=ClaimedError):
        for delivery in read_deliveries(event, context.aws_request_id):
            dead_letter.handle(delivery)
