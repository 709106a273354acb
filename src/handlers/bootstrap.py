"""Everything wired on one screen: each function's parts, made once per environment from its settings."""

import os
from functools import cache, partial
from random import SystemRandom

import boto3

from core import clock, deploy_gate, rotation, settings
from core.delivery import Desk, Receiver, Undertaker
from core.fan_out import FanOut
from core.ledger import open_ledger
from core.lml import Lml
from core.queues import ParkedQueue, RefreshQueue
from core.refresh import Worker
from core.run import Keeper
from core.telemetry import Telemetry
from core.throttle import Throttle

_hidden = [os.environ.get(name, "") for name in settings.SECRETS]


def _secret(arn: str, _anew: bool) -> str:
    _hidden.append(str(boto3.client("secretsmanager").get_secret_value(SecretId=arn)["SecretString"]))
    return _hidden[-1]


def _keeper(config: settings.FanOut | settings.Refresh | settings.DeadLetter) -> Keeper:
    ledger = open_ledger(boto3.client("dynamodb"), config.ledger_table)
    return Keeper(ledger, Telemetry(config.sentry, secrets=_hidden), clock.SystemClock(config.clock_speed))


def _desk(config: settings.Refresh | settings.DeadLetter) -> Desk:
    sqs, keeper = boto3.client("sqs"), _keeper(config)
    return Desk(keeper, RefreshQueue(sqs, config.refresh_queue_url), ParkedQueue(sqs, config.parked_queue_url))


@cache
def fan_out() -> FanOut:
    config = settings.fan_out(os.environ, _secret)
    keeper, sqs = _keeper(config), boto3.client("sqs")
    lml, github = Lml(config.lml, keeper.clock), deploy_gate.Github(config.github_token)
    gate = partial(deploy_gate.check, lml, local_dev=config.local_dev, github=github)
    queue, connect = RefreshQueue(sqs, config.refresh_queue_url), partial(rotation.connect, config.database)
    return FanOut(keeper, queue, connect, gate, config.batch_size)


@cache
def refresh() -> Receiver:
    config = settings.refresh(os.environ, _secret)
    desk = _desk(config)
    keeper, lml = desk.keeper, Lml(config.lml, desk.keeper.clock)
    throttle = Throttle(keeper.ledger.pace, lml, keeper.clock, config.pacing, SystemRandom())
    worker = Worker(lml, throttle, keeper.clock, keeper.telemetry, config.max_attempts)
    return Receiver(desk, worker, config.max_error_percent)


@cache
def dead_letter() -> Undertaker:
    return Undertaker(_desk(settings.dead_letter(os.environ, _secret)))
