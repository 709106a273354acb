"""The picker wired for Lambda, once per environment; it starts without what only the refresh needs."""

import os
from functools import cache

import boto3

from core.picker import config
from core.picker.build import Picker, build
from core.table import Table
from core.telemetry import Telemetry
from handlers import sdk


@cache
def picker() -> Picker:
    given = config.read(os.environ, sdk.secret)
    table = Table(boto3.client("dynamodb", config=sdk.CLIENT), str(given.ledger_table))
    return build(given, Telemetry(given.sentry, secrets=sdk.hidden), table)


def invoke_again(function: str, payload: bytes) -> None:
    """Have Lambda start a function once this invocation has ended, with a payload."""
    boto3.client("lambda", config=sdk.CLIENT).invoke(FunctionName=function, InvocationType="Event", Payload=payload)
