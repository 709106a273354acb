"""Starts a run: `{"scheduled_time": "..."}` from the schedule, or what a person sends (DESIGN §4)."""

from functools import cache, partial
from typing import TYPE_CHECKING

from core import settings
from core.lml import gate as deploy_gate
from core.lml.client import Lml
from core.rotation import table as rotation
from core.runs.fan_out import FanOut, Outcome, RunRefusedError
from handlers import bootstrap, given

if TYPE_CHECKING:
    from aws_lambda_powertools.utilities.typing import LambdaContext


@cache
def parts() -> FanOut:
    config = given.settings(settings.fan_out)
    keeper = bootstrap.keeper(config)
    lml, github = Lml(config.lml, keeper.clock), deploy_gate.Github(config.github_token)
    gate = partial(deploy_gate.check, lml, local_dev=config.local_dev, github=github)
    connect = partial(rotation.connect, config.database)
    return FanOut(keeper, bootstrap.queue(config), connect, gate, config.batch_size)


def handler(event: object, context: "LambdaContext") -> Outcome:
    fan_out = parts()
    with fan_out.keeper.telemetry.invocation("failed", but_not=RunRefusedError):
        return fan_out.start(event, context.aws_request_id)
