"""Accounts for messages that were never finished, so that their run can close."""

from functools import cache
from typing import TYPE_CHECKING

from core import settings
from core.refresh.dead_letter import Undertaker
from core.runs.messages import ClaimedError, read_deliveries
from handlers import bootstrap, given

if TYPE_CHECKING:
    from aws_lambda_powertools.utilities.typing import LambdaContext


@cache
def parts() -> Undertaker:
    return Undertaker(bootstrap.desk(given.settings(settings.dead_letter)))


def handler(event: object, context: "LambdaContext") -> None:
    dead_letter = parts()
    with dead_letter.desk.keeper.telemetry.invocation("slice_error", but_not=ClaimedError):
        for delivery in read_deliveries(event, context.aws_request_id):
            dead_letter.bury(delivery)
