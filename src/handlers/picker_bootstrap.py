"""The picker wired for Lambda, once per environment; it starts without what only the refresh needs."""

import os
from collections.abc import Callable, Iterator
from functools import cache

from core.aws import client as aws
from core.aws.extension import Afterwards
from core.aws.table import Table
from core.picker import config
from core.picker.build import Picker, build
from core.rotation import postgres
from core.telemetry import Telemetry
from handlers import secrets
from handlers.init import ON_LAMBDA
from handlers.settings import load_settings


@cache
def picker(*, asks_lml: bool = False) -> Picker:
    """Make the picker; LML's key is read with it where LML is asked in any case, and else for the first cold row."""

    def needs(its: config.PickerSettings) -> Iterator[Callable[[], object]]:
        yield its.database.password.login
        if asks_lml:
            yield its.lml.api_key.get

    settings = load_settings(config.read, needs)
    postgres.read_authorities(settings.database)
    table = Table(aws.create_client("dynamodb", rehearsed=ON_LAMBDA), str(settings.table))
    return build(settings, Telemetry(settings.sentry, secrets=secrets.hidden, sentry_late=True), table)


def afterwards() -> Afterwards:
    """Keep this environment awake after each answer until LML has been asked to the end; for an environment's start."""
    return Afterwards(os.environ.get("AWS_LAMBDA_RUNTIME_API"), _until_lml_has_answered, _warn_of_freezing)


def _warn_of_freezing(why: str) -> None:
    picker().telemetry.warning("picker", f"nothing keeps this environment awake until LML has answered: {why}")


def _until_lml_has_answered(seconds: float) -> None:
    if picker.cache_info().currsize:
        picker().resolver.background.wait(seconds)


def invoke_again(function: str, payload: bytes) -> None:
    """Have Lambda start a function once this invocation has ended, with a payload."""
    aws.create_client("lambda").invoke(FunctionName=function, InvocationType="Event", Payload=payload)
