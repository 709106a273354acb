"""The picker wired for Lambda, once per environment; it starts without what only the refresh needs."""

import os
from functools import cache

import boto3

from core import settings
from core.ledger._table import Table
from core.picker import config
from core.picker.build import Picker, build
from core.telemetry import Telemetry

_hidden = [os.environ.get(name, "") for name in settings.SECRETS]


def _secret(arn: str, _anew: bool) -> str:
    _hidden.append(str(boto3.client("secretsmanager").get_secret_value(SecretId=arn)["SecretString"]))
    return _hidden[-1]


@cache
def picker() -> Picker:
    given = config.read(os.environ, _secret)
    table = Table(boto3.client("dynamodb"), str(given.ledger_table))
    return build(given, Telemetry(given.sentry, secrets=_hidden), table)


def invoke_again(function: str, payload: bytes) -> None:
    """Have Lambda start a function once this invocation has ended, with a payload."""
    boto3.client("lambda").invoke(FunctionName=function, InvocationType="Event", Payload=payload)
