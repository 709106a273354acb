"""What the refresh's functions share, made from their settings; each wires the rest in its own file.

So none starts with what only another one needs, and all imports run while Lambda gives a start a whole processor.
"""

from core import settings
from core.aws import client as aws
from core.aws.queues import ParkedQueue, RefreshQueue
from core.clock import SystemClock
from core.redaction import Redaction
from core.runs.ledger import open_ledger
from core.runs.lifecycle import RunLifecycle
from core.runs.messages import MessageStore
from core.telemetry import Telemetry
from handlers import secrets
from handlers.init import ON_LAMBDA


def lifecycle(config: settings.FanOutSettings | settings.RefreshSettings | settings.DeadLetterSettings) -> RunLifecycle:
    redact = Redaction(secrets.hidden).text
    ledger = open_ledger(aws.create_client("dynamodb", rehearsed=ON_LAMBDA), config.ledger_table, redact)
    return RunLifecycle(ledger, Telemetry(config.sentry, secrets=secrets.hidden), SystemClock(config.clock_speed))


def queue(config: settings.FanOutSettings | settings.RefreshSettings | settings.DeadLetterSettings) -> RefreshQueue:
    return RefreshQueue(aws.create_client("sqs", rehearsed=ON_LAMBDA), config.refresh_queue_url)


def store(config: settings.RefreshSettings | settings.DeadLetterSettings) -> MessageStore:
    waiting = queue(config)
    return MessageStore(lifecycle(config), waiting, ParkedQueue(waiting.client, config.parked_queue_url))
