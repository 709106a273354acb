"""Works on one refresh message: hands its ids to LML, commits what came of them, hands on the rest."""

from contextlib import suppress
from functools import cache
from random import SystemRandom
from typing import TYPE_CHECKING

from core import settings
from core.budget.throttle import Throttle
from core.environment import SettingsError
from core.lml.client import RefreshClient
from core.refresh.consumer import RefreshConsumer
from core.refresh.worker import Worker
from core.runs.messages import DeliveryBatch
from handlers import bootstrap, init
from handlers.settings import load_settings

if TYPE_CHECKING:
    from aws_lambda_powertools.utilities.typing import LambdaContext


@cache
def build() -> RefreshConsumer:
    config = load_settings(settings.refresh, lambda _: ())
    with suppress(SettingsError):  # a key that is gone stops the run that needs it, and not this start
        config.lml.api_key.get()
    store = bootstrap.store(config)
    lifecycle, lml = store.lifecycle, RefreshClient(config.lml, store.lifecycle.clock)
    throttle = Throttle(lifecycle.ledger.pace, lml, lifecycle.clock, config.pacing, SystemRandom())
    worker = Worker(lml, throttle, lifecycle.clock, lifecycle.telemetry, config.max_attempts)
    return RefreshConsumer(store, config.max_error_percent, worker)


def handler(event: object, context: "LambdaContext") -> dict[str, object]:
    refresh = build()
    telemetry = refresh.telemetry
    time_left = lambda: context.get_remaining_time_in_millis() / 1000  # noqa: E731
    with telemetry.invocation("slice_error"):
        batch = DeliveryBatch(event, context.aws_request_id, telemetry)
        for delivery in batch.deliveries:
            with batch.giving_back(delivery):
                refresh.handle(delivery, time_left)
        return batch.answer


init.make_now(build)
