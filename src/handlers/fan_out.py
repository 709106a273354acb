"""Starts a run: `{"scheduled_time": "..."}` from the schedule, or what a person sends (docs/design/formats.md)."""

from functools import cache, partial
from typing import TYPE_CHECKING

from core import settings
from core.lml import gate as deploy_gate
from core.lml.client import RefreshClient
from core.rotation import postgres
from core.rotation import table as rotation
from core.runs.fan_out import FanOut, RunRefusedError, StartOutcome
from handlers import bootstrap, init
from handlers.settings import load_settings

if TYPE_CHECKING:
    from aws_lambda_powertools.utilities.typing import LambdaContext


@cache
def build() -> FanOut:
    config = load_settings(settings.fan_out, lambda its: (its.lml.api_key.get, its.database.password.login))
    lifecycle = bootstrap.lifecycle(config)
    lml, github = RefreshClient(config.lml, lifecycle.clock), deploy_gate.Github(config.github_token)
    gate = partial(deploy_gate.check, lml, local_dev=config.local_dev, github=github)
    postgres.read_authorities(config.database)
    connect = partial(rotation.connect, config.database)
    return FanOut(lifecycle, bootstrap.queue(config), connect, gate, config.batch_size)


def handler(event: object, context: "LambdaContext") -> StartOutcome:
    fan_out = build()
    with fan_out.telemetry.invocation("failed", but_not=RunRefusedError):
        return fan_out.start(event, context.aws_request_id)


init.make_now(build)
