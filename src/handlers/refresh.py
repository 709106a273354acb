"""Works on one refresh message: hands its ids to LML, commits what came of them, hands on the rest."""

from typing import TYPE_CHECKING

from core.delivery import ClaimedError, read_deliveries
from handlers import bootstrap

if TYPE_CHECKING:
    from aws_lambda_powertools.utilities.typing import LambdaContext


def handler(event: object, context: "LambdaContext") -> None:
    refresh = bootstrap.refresh()
    with refresh.desk.keeper.telemetry.invocation("slice_error", but_not=ClaimedError):
        for delivery in read_deliveries(event, context.aws_request_id):
            refresh.receive(delivery, lambda: context.get_remaining_time_in_millis() / 1000)
