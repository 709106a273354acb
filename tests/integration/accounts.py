"""A whole job to keep accounts of: emulated AWS, a real PostgreSQL, the stand-in LML, a clock that costs no time."""

import random
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from functools import partial
from types import SimpleNamespace

import msgspec
import pytest

from core import settings
from core.aws.queues import ParkedQueue, RefreshQueue
from core.aws.table import Table
from core.budget.throttle import Throttle
from core.lml.client import RefreshClient
from core.lml.gate import Gate
from core.refresh.consumer import RefreshConsumer
from core.refresh.dead_letter import DeadLetterConsumer
from core.refresh.worker import Worker
from core.rotation import table as rotation
from core.runs.fan_out import FanOut
from core.runs.ledger import Ledger, Run
from core.runs.ledger._lock import Lock
from core.runs.ledger._messages import Message, Messages
from core.runs.ledger._pace import PaceItem
from core.runs.ledger._progress import ProgressItems
from core.runs.ledger._runs import Runs
from core.runs.lifecycle import RunLifecycle
from core.runs.messages import MessageStore, read_deliveries
from local import postgres
from local.world import World
from tests.fleet import FUNCTION_SECONDS, REDELIVERED_AFTER
from tests.integration import build
from tests.integration.build import KEY, TABLE, secret
from tests.virtual import VirtualClock

WORLD = World.seeded(identities=125, seed=7)
IDS = WORLD.identity_ids()
SCHEDULED = {"scheduled_time": "2026-02-03T04:30:00Z"}
RUN = "scheduled-2026-02-03T04:30:00Z"
TIMEOUT = FUNCTION_SECONDS
"""Seconds that an invocation has."""


class Crash(BaseException):
    """The worker is killed: nothing of ours catches this."""


class Sdk:
    """The clients of DynamoDB and SQS, and what happens to their requests on the way."""

    def __init__(self, dynamodb, sqs) -> None:
        self.dynamodb, self.sqs = dynamodb, sqs
        self._events = [client.meta.events for client in (dynamodb, sqs)]

    @contextmanager
    def killed(self, operation: str, *, when: str, holding: str = "", nth: int = 1) -> Iterator[None]:
        """Kill the worker `before` or `after` the nth request of an operation whose body holds a text."""
        seen, armed = 0, False

        def before(model, params, **_):
            nonlocal seen, armed
            if model.name == operation and holding in str(params["body"]):
                seen += 1
                armed = seen == nth
                if armed and when == "before":
                    raise Crash

        def after(model, **_):
            if armed and model.name == operation:
                raise Crash

        with self._hooked(("before-call", before), ("after-call", after)), pytest.raises(Crash):
            yield

    @contextmanager
    def refused(self, operation: str, *answers: dict | None, holding: str = "") -> Iterator[list[str]]:
        """Answer the first requests of an operation with errors instead (None: pass on); yields what was sent."""
        sent: list[str] = []

        def before(model, params, **_):
            body = str(params["body"])
            if model.name != operation or holding not in body:
                return None
            sent.append(body)
            error = answers[len(sent) - 1] if len(sent) <= len(answers) else None
            if error is None:
                return None
            return SimpleNamespace(status_code=400), {"ResponseMetadata": {}, **error}

        with self._hooked(("before-call", before)):
            yield sent

    @contextmanager
    def interrupted(self, operation: str, act: Callable[[], object], *, holding: str = "") -> Iterator[None]:
        """Do something just before the first request of an operation, as another worker might."""
        done = False

        def before(model, params, **_):
            nonlocal done
            if not done and model.name == operation and holding in str(params["body"]):
                done = True
                act()

        with self._hooked(("before-call", before)):
            yield
        assert done

    @contextmanager
    def unanswered(self, operation: str) -> Iterator[None]:
        """Lose the answer to the first request of an operation, so that the SDK sends it again."""
        lost = False

        def again(operation, **_):
            nonlocal lost
            if operation.name != name or lost:
                return None
            lost = True
            return 0  # seconds to wait

        name = operation
        with self._hooked(("needs-retry", again)):
            yield
        assert lost

    @contextmanager
    def _hooked(self, *hooks) -> Iterator[None]:
        for events in self._events:
            for name, hook in hooks:
                events.register(name, hook)
        try:
            yield
        finally:
            for events in self._events:
                for name, hook in hooks:
                    events.unregister(name, hook)


class StandIn(build.StandIn):
    """The stand-in LML, and the refresh requests that it saw."""

    def asked(self) -> list[list[int]]:
        """The ids of every request, in their order; [] for one that only measured the round trip."""
        return [call["ids"] for call in self.http.get("/_calls").json()]

    def asked_for(self) -> list[int]:
        """Every id as often as it was asked for, ascending."""
        return sorted(identity for ids in self.asked() for identity in ids)


class Rows:
    """The rotation table of a real PostgreSQL."""

    def __init__(self, server: postgres.Postgres) -> None:
        self._server = server
        self._loaded: World | None = None
        self.settings = build.database_of(server)
        self.environment = server.environment()

    def hold(self, world: World) -> None:
        if self._loaded is not world:
            postgres.load(self._server, world)
            self._loaded = world


class Book:
    """The functions, wired as their handlers do it, and what a test does to them."""

    def __init__(self, sdk: Sdk, lml: StandIn, rows: Rows, sentry_dsn: str | None = None) -> None:
        self.sdk, self.sqs, self.lml, self.rows = sdk, sdk.sqs, lml, rows
        self.delays: list[int] = []
        self.allowed = Gate(allowed=True, reason="tested")
        self.gate: Callable[[], Gate] = lambda: self.allowed
        self.clock = VirtualClock()
        self.table = Table(sdk.dynamodb, TABLE, self.clock.advance)
        self.ledger = ledger_in(self.table)
        self.telemetry = build.telemetry(sentry_dsn)
        self.lifecycle = RunLifecycle(self.ledger, self.telemetry, self.clock)
        self.urls = {name: sdk.sqs.get_queue_url(QueueName=name)["QueueUrl"] for name in ("refresh", "dead", "parked")}
        self.queue = RefreshQueue(sdk.sqs, self.urls["refresh"], self.clock.advance)
        self.store = MessageStore(self.lifecycle, self.queue, ParkedQueue(sdk.sqs, self.urls["parked"]))
        self.dead_letters = DeadLetterConsumer(self.store, 50)
        self._clients: dict[str, RefreshClient] = {}
        self.consumer = self.consumer_with()

    def close(self) -> None:
        for client in self._clients.values():
            client.close()

    def consumer_with(self, *, budget: int = 9_000, slice_max: int = 50, key: str = KEY) -> RefreshConsumer:
        """The refresh function with settings of its own; a message is one request unless they say otherwise.

        The `budget` is one that nobody exhausts: each second of waiting is two reads here.
        """
        client = settings.Lml(url=self.lml.url, api_key=secret("LML_API_KEY", key))
        lml = self._clients.get(key) or self._clients.setdefault(key, RefreshClient(client, self.clock))
        limits = settings.Pacing(budget=budget, slice_max=slice_max)
        throttle = Throttle(self.ledger.pace, lml, self.clock, limits, random.Random(1))  # noqa: S311 - reproducible
        worker = Worker(lml, throttle, self.clock, self.telemetry, max_attempts=3)
        return RefreshConsumer(self.store, 50, worker)

    def environment(self) -> dict[str, str]:
        """What the template sets for functions that work beside this book."""
        return {
            "AWS_ACCESS_KEY_ID": "test",
            "AWS_SECRET_ACCESS_KEY": "test",
            "AWS_DEFAULT_REGION": "us-east-1",
            "LEDGER_TABLE": TABLE,
            "REFRESH_QUEUE_URL": self.urls["refresh"],
            "PARKED_QUEUE_URL": self.urls["parked"],
            "LIBRARY_METADATA_URL": self.lml.url,
            "LOCAL_DEV": "1",
            **self.rows.environment,
        }

    # What people and AWS do

    def start(self, event: object, *, request_id: str | None = None, batch_size: int = 50) -> dict[str, object]:
        """Invoke fan-out."""
        fan_out = FanOut(
            lifecycle=self.lifecycle,
            queue=self.queue,
            connect=partial(rotation.connect, self.rows.settings),
            gate=self.gate,
            batch_size=batch_size,
        )
        return fan_out.start(event, request_id or str(uuid.uuid4()))

    def waiting(self, queue: str = "refresh") -> list[str]:
        """The bodies in a queue, which stay there."""
        found = []
        while took := self._receive(queue):
            found.append(took)
        for message in found:
            self._put_back(queue, message)
        return [message["Body"] for message in found]

    def reasons(self) -> list[str]:
        """Why bodies are parked."""
        found = []
        while took := self._receive("parked"):
            found.append(took["MessageAttributes"]["reason"]["StringValue"])
        return found

    def deliver(self, *, to: RefreshConsumer | None = None, keep: bool = False, timeout: float = TIMEOUT) -> str | None:
        """Let SQS deliver one message to the refresh function; returns its body, None when there is none.

        With `keep` the message stays, as when SQS delivers it twice; it stays too when the function fails.
        """
        message = self._receive("refresh")
        if message is None:
            return None
        try:
            self.work_on(message["Body"], to=to, timeout=timeout, message=message)
        except BaseException:
            self._put_back("refresh", message)
            raise
        if keep:
            self._put_back("refresh", message)
        else:
            self._delete("refresh", message)
        return str(message["Body"])

    def work_on(
        self,
        body: str,
        *,
        to: RefreshConsumer | None = None,
        request_id: str | None = None,
        timeout: float = TIMEOUT,
        message: dict | None = None,
    ) -> None:
        """Invoke the refresh function with a body."""
        ends = self.clock.utc() + timedelta(seconds=timeout)

        def time_left() -> float:
            return (ends - self.clock.utc()).total_seconds()

        for delivery in read_deliveries(event_of(body, message), request_id or str(uuid.uuid4())):
            (to or self.consumer).handle(delivery, time_left)

    def deliver_all(self, **how) -> int:
        """Deliver until the queue is empty; returns how many deliveries that took."""
        count = 0
        while self.deliver(**how) is not None:
            count += 1
            assert count < 1000, "the queue never empties"
        return count

    def handle(self, body: str, request_id: str | None = None) -> None:
        """Invoke the dead-letter function with a body."""
        for delivery in read_deliveries(event_of(body), request_id or str(uuid.uuid4())):
            self.dead_letters.handle(delivery)

    # What the ledger says

    def run(self, run_id: str = RUN) -> Run:
        run = self.ledger.runs.read(run_id)
        assert run is not None
        return run

    def message(self, number: int = 0, run_id: str = RUN) -> Message:
        message = self.ledger.messages.read(run_id, number)
        assert message is not None
        return message

    def totals(self, run_id: str = RUN) -> dict[str, int]:
        return msgspec.structs.asdict(self.run(run_id).totals)

    def causes_reported(self, run_id: str = RUN) -> set[str]:
        """The causes of which Sentry was told."""
        item = self.table.read(f"RUN#{run_id}", "RUN") or {}
        return set(item.get("said", ()))

    def assert_balanced(self, run_id: str = RUN) -> None:
        """The run is over, its accounts are exact, reported once, agree with its messages, and the lock is free."""
        run = self.run(run_id)
        totals = run.totals
        assert run.status in {"complete", "stopped"}
        assert run.planned == totals.accounted
        assert totals.balanced
        assert run.emitted_at is not None
        held = self.ledger.lock.holder(self.clock.utc())
        assert held is None or held.run_id != run_id
        messages = list(self.ledger.messages.all(run_id, run.messages_planned))
        assert [message.number for message in messages] == list(range(run.messages_planned))
        assert sum(len(message.planned) for message in messages) == run.planned
        assert sum(len(message.failed) for message in messages) == totals.lml_error
        assert sum(len(message.not_found) for message in messages) == totals.not_found
        left = sum(len(message.left.identity_ids) for message in messages if message.left)
        assert sum(len(message.not_attempted) for message in messages) + left == totals.not_attempted

    def asked_twice(self, run_id: str = RUN) -> list[int]:
        """The ids whose release came without any artist: an answer in doubt, for which LML is asked once more."""
        messages = self.ledger.messages.all(run_id, self.run(run_id).messages_planned)
        return [identity for message in messages for identity in message.without_artists]

    def assert_world(self, ids: Sequence[int] = IDS, run_id: str = RUN) -> None:
        """The totals are what the stand-in's world holds of these ids."""
        expected = WORLD.expected(ids)
        del expected["discogs_calls"]  # an estimate, and the stand-in's cache stays warm between tests
        totals = self.totals(run_id)
        assert {name: totals[name] for name in expected} == expected

    def _receive(self, queue: str) -> dict | None:
        took = self.sqs.receive_message(
            QueueUrl=self.urls[queue],
            AttributeNames=["All"],
            MessageAttributeNames=["All"],
            VisibilityTimeout=int(REDELIVERED_AFTER),
        )
        return took.get("Messages", [None])[0]

    def _put_back(self, queue: str, message: dict) -> None:
        self.sqs.change_message_visibility(
            QueueUrl=self.urls[queue], ReceiptHandle=message["ReceiptHandle"], VisibilityTimeout=0
        )

    def _delete(self, queue: str, message: dict) -> None:
        self.sqs.delete_message(QueueUrl=self.urls[queue], ReceiptHandle=message["ReceiptHandle"])


def ledger_in(table: Table) -> Ledger:
    return Ledger(Runs(table), Messages(table), Lock(table), PaceItem(table), ProgressItems(table))


def event_of(body: str, message: dict | None = None) -> dict[str, object]:
    """An SQS event as Lambda hands it over."""
    message = message or {}
    return {
        "Records": [
            {
                "messageId": message.get("MessageId", "m"),
                "receiptHandle": "h",
                "body": body,
                "attributes": message.get("Attributes", {"ApproximateReceiveCount": "1"}),
                "messageAttributes": {
                    name: {"stringValue": value["StringValue"], "dataType": "String"}
                    for name, value in message.get("MessageAttributes", {}).items()
                },
                "eventSource": "aws:sqs",
                "awsRegion": "us-east-1",
            }
        ]
    }


def canceled(*codes: str) -> dict[str, object]:
    """A canceled transaction, with a reason for each action."""
    return {
        "Error": {"Code": "TransactionCanceledException", "Message": "Transaction cancelled"},
        "CancellationReasons": [{"Code": code} for code in codes],
    }


def error(code: str) -> dict[str, object]:
    return {"Error": {"Code": code, "Message": "not now"}}
