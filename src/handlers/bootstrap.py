"""What the refresh's functions share, made from their settings; each wires the rest in its own file.

So none starts with what only another one needs, and all imports run while Lambda gives a start a whole processor.
"""

import boto3

from core import settings
from core.aws.client import CLIENT
from core.aws.queues import ParkedQueue, RefreshQueue
from core.clock import SystemClock
from core.runs.ledger import open_ledger
from core.runs.lifecycle import Keeper
from core.runs.messages import Desk
from core.telemetry import Telemetry
from handlers import secrets


def keeper(config: settings.FanOut | settings.Refresh | settings.DeadLetter) -> Keeper:
    ledger = open_ledger(boto3.client("dynamodb", config=CLIENT), config.ledger_table)
    return Keeper(ledger, Telemetry(config.sentry, secrets=secrets.hidden), SystemClock(config.clock_speed))


def queue(config: settings.FanOut | settings.Refresh | settings.DeadLetter) -> RefreshQueue:
    return RefreshQueue(boto3.client("sqs", config=CLIENT), config.refresh_queue_url)


def desk(config: settings.Refresh | settings.DeadLetter) -> Desk:
    waiting = queue(config)
    return Desk(keeper(config), waiting, ParkedQueue(waiting.client, config.parked_queue_url))
