"""Accounts for messages that were never finished, so that their run can close."""

from typing import TYPE_CHECKING

from core.delivery import ClaimedError, read_deliveries
from handlers import bootstrap

if TYPE_CHECKING:
    from aws_lambda_powertools.utilities.typing import LambdaContext


def handler(event: object, context: "LambdaContext") -> None:
    dead_letter = bootstrap.dead_letter()
    with dead_letter.desk.keeper.telemetry.invocation("slice_error", but_not=ClaimedError):
        for delivery in read_deliveries(event, context.aws_request_id):
            dead_letter.bury(delivery)
