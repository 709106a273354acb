"""Starts a run: `{"scheduled_time": "..."}` from the schedule, or what a person sends (DESIGN §4)."""

from typing import TYPE_CHECKING

from core.fan_out import Outcome, RunRefusedError
from handlers import bootstrap

if TYPE_CHECKING:
    from aws_lambda_powertools.utilities.typing import LambdaContext


def handler(event: object, context: "LambdaContext") -> Outcome:
    fan_out = bootstrap.fan_out()
    with fan_out.keeper.telemetry.invocation("failed", but_not=RunRefusedError):
        return fan_out.start(event, context.aws_request_id)
