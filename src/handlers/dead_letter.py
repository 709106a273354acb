"""Accounts for messages that were never finished, so that their run can close."""

from functools import cache
from typing import TYPE_CHECKING

from core import settings
from core.refresh.dead_letter import DeadLetterConsumer
from core.runs.messages import DeliveryBatch
from handlers import bootstrap, init
from handlers.settings import load_settings

if TYPE_CHECKING:
    from aws_lambda_powertools.utilities.typing import LambdaContext


@cache
def build() -> DeadLetterConsumer:
    config = load_settings(settings.dead_letter, lambda _: ())
    return DeadLetterConsumer(bootstrap.store(config), config.max_error_percent)


def handler(event: object, context: "LambdaContext") -> dict[str, object]:
    dead_letter = build()
    telemetry = dead_letter.telemetry
    with telemetry.invocation("slice_error"):
        batch = DeliveryBatch(event, context.aws_request_id, telemetry)
        for delivery in batch.deliveries:
            with batch.giving_back(delivery):
                dead_letter.handle(delivery)
        return batch.answer


init.make_now(build)
