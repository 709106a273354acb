"""Everything wired on one screen: each function's parts, made once per environment from its settings."""

import os
import random
from functools import cache, partial

import boto3

from core import deploy_gate, rotation, settings
from core.clock import SystemClock
from core.delivery import Desk, Receiver, Undertaker
from core.fan_out import FanOut
from core.ledger import open_ledger
from core.lml import Lml
from core.queues import ParkedQueue, RefreshQueue
from core.refresh import Worker
from core.run import Keeper
from core.telemetry import Telemetry
from core.throttle import Throttle


@cache
def fan_out() -> FanOut:
    config = settings.fan_out(os.environ, _secret)
    keeper = _keeper(config)
    lml, github = Lml(config.lml, keeper.clock), deploy_gate.Github(config.github_token)
    return FanOut(
        keeper=keeper,
        queue=RefreshQueue(boto3.client("sqs"), config.refresh_queue_url),
        connect=partial(rotation.connect, config.database),
        gate=partial(deploy_gate.check, lml, local_dev=config.local_dev, github=github),
        batch_size=config.batch_size,
    )


@cache
def refresh() -> Receiver:
    config = settings.refresh(os.environ, _secret)
    desk = _desk(config)
    clock, lml = desk.keeper.clock, Lml(config.lml, desk.keeper.clock)
    throttle = Throttle(desk.keeper.ledger.pace, lml, clock, config.pacing, random.SystemRandom())
    return Receiver(
        desk, Worker(lml, throttle, clock, desk.keeper.telemetry, config.max_attempts), config.max_error_percent
    )


@cache
def dead_letter() -> Undertaker:
    return Undertaker(_desk(settings.dead_letter(os.environ, _secret)))


def _desk(config: settings.Refresh | settings.DeadLetter) -> Desk:
    sqs = boto3.client("sqs")
    queues = RefreshQueue(sqs, config.refresh_queue_url), ParkedQueue(sqs, config.parked_queue_url)
    return Desk(_keeper(config), *queues)


def _keeper(config: settings.FanOut | settings.Refresh | settings.DeadLetter) -> Keeper:
    ledger = open_ledger(boto3.client("dynamodb"), config.ledger_table)
    return Keeper(ledger, Telemetry(config.sentry, secrets=_hidden), SystemClock(config.clock_speed))


_SECRETS = [name.removesuffix("_SECRET_ARN") for name, *_ in settings.VARIABLES if name.endswith("_SECRET_ARN")]
_hidden = [os.environ[name] for name in _SECRETS if os.environ.get(name)]


def _secret(arn: str, _anew: bool) -> str:
    value = str(boto3.client("secretsmanager").get_secret_value(SecretId=arn)["SecretString"])
    _hidden.append(value)
    return value
