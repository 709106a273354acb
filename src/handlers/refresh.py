"""Works on one refresh message: hands its ids to LML, commits what came of them, hands on the rest."""

from functools import cache
from random import SystemRandom
from typing import TYPE_CHECKING

from core import settings
from core.budget.throttle import Throttle
from core.lml.client import Lml
from core.refresh.consumer import Receiver
from core.refresh.worker import Worker
from core.runs.messages import ClaimedError, read_deliveries
from handlers import bootstrap, given

if TYPE_CHECKING:
    from aws_lambda_powertools.utilities.typing import LambdaContext


@cache
def parts() -> Receiver:
    config = given.settings(settings.refresh)
    desk = bootstrap.desk(config)
    keeper, lml = desk.keeper, Lml(config.lml, desk.keeper.clock)
    throttle = Throttle(keeper.ledger.pace, lml, keeper.clock, config.pacing, SystemRandom())
    worker = Worker(lml, throttle, keeper.clock, keeper.telemetry, config.max_attempts)
    return Receiver(desk, worker, config.max_error_percent)


def handler(event: object, context: "LambdaContext") -> None:
    refresh = parts()
    with refresh.desk.keeper.telemetry.invocation("slice_error", but_not=ClaimedError):
        for delivery in read_deliveries(event, context.aws_request_id):
            refresh.receive(delivery, lambda: context.get_remaining_time_in_millis() / 1000)
