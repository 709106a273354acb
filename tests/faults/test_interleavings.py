"""The ledger under random interleavings of deliveries, duplicates, crashes, stops, clock steps (docs/design/ledger.md).

Everything is real but DynamoDB's machines (moto), SQS (a list: the model needs to hold messages back) and LML's work
(drawn). The oracle is at the end: ten lines that know nothing of parts, claims or commits.
"""

import uuid
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from types import SimpleNamespace
from typing import Any

import boto3
import pytest
from botocore.model import OperationModel
from hypothesis import HealthCheck, event, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule
from moto import mock_aws

from core import settings as core_settings
from core.aws.queues import ParkedQueue, RefreshQueue
from core.lml.gate import Gate
from core.refresh.consumer import RefreshConsumer
from core.refresh.dead_letter import DeadLetterConsumer
from core.refresh.result import PartResult
from core.rotation.table import Coverage
from core.runs.fan_out import FanOut, RunRefusedError
from core.runs.ledger import Message, open_ledger
from core.runs.lifecycle import RunLifecycle
from core.runs.messages import ClaimedError, Delivery, MessageStore
from core.runs.plan import RefreshMessage
from core.runs.totals import Totals, errors, resolved
from core.telemetry import Telemetry
from tests.faults.worker import name_of
from tests.integration.accounts import Crash, secret
from tests.integration.build import create_table
from tests.virtual import VirtualClock

IDS = tuple(range(1, 8))
BATCH = 3
SESSION = boto3.Session("test", "test", region_name="us-east-1")
DYNAMODB = SESSION.client("dynamodb")


class Sqs:
    """A queue that never loses a message, and delivers when and as often as the model says."""

    def __init__(self) -> None:
        self.bodies: list[str] = []

    def send_message(self, *, MessageBody: str, **_: object) -> None:  # noqa: N803 - the SDK's name
        self.bodies.append(MessageBody)

    def send_message_batch(self, *, Entries: list[dict[str, str]], **_: object) -> dict[str, object]:  # noqa: N803
        self.bodies += [entry["MessageBody"] for entry in Entries]
        return {}


class Heard(Telemetry):
    """Keeps the totals that it tells."""

    def __init__(self) -> None:
        super().__init__(
            core_settings.Sentry(dsn=secret("SENTRY_DSN", None), release=None, environment="test", traces_sample_rate=1)
        )
        self.reported: dict[str, list[Mapping[str, int]]] = defaultdict(list)

    def report_totals(self, headers: Mapping[str, str], **reported: object) -> None:
        self.reported[str(reported["run_id"])].append(reported["totals"])
        super().report_totals(headers, **reported)


class Lml:
    """Gives the verdicts that the model draws; an id without one is left for the next part."""

    def __init__(self, clock: VirtualClock) -> None:
        self.clock = clock
        self.verdicts: Mapping[int, str] = {}
        self.meanwhile: Callable[[], None] = lambda: None
        self.answered: dict[int, set[str]] = defaultdict(set)

    def part(self, message: RefreshMessage, **terms: Any) -> SimpleNamespace:
        return SimpleNamespace(work=partial(self.work, message, **terms))

    def work(
        self,
        message: RefreshMessage,
        *,
        time_left: Callable[[], float],  # noqa: ARG002 - the model's time does not run out
        run_goes_on: Callable[[], bool],
        note: Callable[[object], None],  # noqa: ARG002 - nobody watches it
        lml_is_known: bool,  # noqa: ARG002 - and it has no wrong address
    ) -> PartResult:
        left, result = message.attempts, PartResult(next_part=message)
        self.clock.advance(1)
        self.meanwhile()
        if not run_goes_on():
            result.ended = True
            return result
        for identity in message.identity_ids:
            verdict = self.verdicts.get(identity % BATCH, "left")
            if verdict == "left":
                continue
            self.answered[identity].add(verdict)
            del left[identity]
            if verdict == "failed":
                result.failed[identity] = "drawn"
                result.totals += errors(1)
            else:
                result.totals += resolved("warmed")
        result.next_part = message.next_part(left) if left else None
        return result


class Rows:
    def unusable_ids(self) -> int:
        return 0

    def identity_ids(self) -> Iterator[int]:
        return iter(IDS)

    def coverage(self) -> Coverage:
        return Coverage(0, 0, 0, 0)


@contextmanager
def connected() -> Iterator[Rows]:
    yield Rows()


MEANWHILE = (*["nothing"] * 4, *["duplicate"] * 2, *["wait"] * 2, *["overtaken"] * 3, "dead letter", "stop", "force")
verdicts = st.dictionaries(st.integers(0, BATCH - 1), st.sampled_from(("warmed", "failed", "left")))
SIDES = ("before", "after")
STARTING = ("open run", "lock", "plan messages", "begin sending", "mark sent", "finish sending", "close", "emission")
WORKING = ("claim", "commit", "mark sent", "renew lock", "close", "emission", "mark emitted")
crashes_in_fan_out = st.none() | st.tuples(st.sampled_from(STARTING), st.sampled_from(SIDES))
crashes = st.none() | st.tuples(st.sampled_from(WORKING), st.sampled_from(SIDES))
Crashing = tuple[str, str] | None
which = st.integers(0, 20)


class Interleavings(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.aws = mock_aws()
        self.aws.start()
        create_table(DYNAMODB)
        self.clock, self.sqs, self.telemetry = VirtualClock(), Sqs(), Heard()
        self.ledger = open_ledger(DYNAMODB, "ledger")
        self.lifecycle = RunLifecycle(self.ledger, self.telemetry, self.clock)
        queue = RefreshQueue(self.sqs, "refresh", self.clock.advance)
        self.parked = Sqs()
        store = MessageStore(self.lifecycle, queue, ParkedQueue(self.parked, "parked"))
        self.lml = Lml(self.clock)
        self.consumer = RefreshConsumer(store, 100, self.lml)
        self.dead_letters = DeadLetterConsumer(store, 100)
        gate = partial(Gate, allowed=True, reason="drawn")
        self.fan_out = FanOut(self.lifecycle, queue, connected, gate, BATCH)
        self.runs: set[str] = set()
        self.starts: dict[str, str] = {}
        self.unfinished: set[str] = set()
        self.seen: list[str] = []

    def teardown(self) -> None:
        try:
            self._settle()
            for run_id in self.runs:
                self._check(run_id)
        finally:
            self.aws.stop()

    # What happens

    @initialize(crash=crashes_in_fan_out)
    def first_start(self, crash: Crashing) -> None:
        self.start("2026-02-03T04:30:00Z", crash, force=False)

    @rule(day=st.sampled_from(("03", "03", "03", "04")), crash=crashes_in_fan_out, force=st.booleans())
    def start_again(self, *, day: str, crash: Crashing, force: bool) -> None:
        self.start(f"2026-02-{day}T04:30:00Z", crash, force=force and day == "04")

    @precondition(lambda self: self.sqs.bodies)
    @rule(at=which, drawn=verdicts, crash=crashes, meanwhile=st.sampled_from(MEANWHILE), keep=st.booleans())
    def deliver(self, *, at: int, drawn: dict[int, str], crash: Crashing, meanwhile: str, keep: bool) -> None:
        body = self.sqs.bodies.pop(at % len(self.sqs.bodies))
        self.seen.append(body)
        self.lml.verdicts = drawn
        self.lml.meanwhile = partial(self._meanwhile, meanwhile, body)
        if not self._killed(crash, partial(self._receive, body)) or keep:
            self.sqs.bodies.append(body)
        self.lml.meanwhile = lambda: None

    @precondition(lambda self: self.sqs.bodies)
    @rule(at=which, drawn=verdicts, crash=crashes)
    def deliver_undisturbed(self, at: int, drawn: dict[int, str], crash: Crashing) -> None:
        self.deliver(at=at, drawn=drawn, crash=crash, meanwhile="nothing", keep=False)

    @precondition(lambda self: self.seen)
    @rule(at=which, drawn=verdicts)
    def deliver_something_old(self, at: int, drawn: dict[int, str]) -> None:
        self.lml.verdicts = drawn
        self._killed(None, partial(self._receive, self.seen[at % len(self.seen)]))

    @precondition(lambda self: self.sqs.bodies)
    @rule(at=which, crash=crashes)
    def die(self, at: int, crash: Crashing) -> None:
        body = self.sqs.bodies.pop(at % len(self.sqs.bodies))
        self.seen.append(body)
        self.clock.advance(61)
        if not self._killed(crash, partial(self._dead_letter, body)):
            self.sqs.bodies.append(body)

    @rule(really=st.sampled_from((False,) * 9 + (True,)))
    def stop(self, *, really: bool) -> None:  # a run that is stopped is a dull one
        if really:
            for run_id in self.runs:
                self.ledger.runs.stop(run_id, "drawn")

    @rule(seconds=st.sampled_from((-120, -5, 5, 35, 1000, 4 * 3600)))
    def time_passes(self, seconds: int) -> None:
        self.clock.advance(seconds)

    # How

    def start(self, time: str, crash: Crashing, *, force: bool) -> None:
        event = {"scheduled_time": time, "force": force}
        self.runs.add(f"scheduled-{time}")
        request_id = self.starts.setdefault(time, str(uuid.uuid4()))
        self.unfinished.add(time)
        if self._killed(crash, partial(self.fan_out.start, event, request_id)):
            self.unfinished.remove(time)

    def _meanwhile(self, what: str, body: str) -> None:
        self.lml.meanwhile = lambda: None
        event(f"meanwhile {what}")
        match what:
            case "duplicate":
                self._killed(None, partial(self._receive, body))
            case "dead letter":
                self._killed(None, partial(self._dead_letter, body))
            case "stop":
                self.stop(really=True)
            case "force":
                self.start("2026-02-04T04:30:00Z", None, force=True)
            case "wait":
                self.clock.advance(1000)
            case "overtaken":
                self.clock.advance(1000)
                self._killed(None, partial(self._receive, body))

    def _receive(self, body: str) -> None:
        self.consumer.handle(self._delivery(body), lambda: 900.0)

    def _dead_letter(self, body: str) -> None:
        for identity in IDS:
            self.lml.answered[identity].add("failed")
        self.dead_letters.handle(self._delivery(body))

    def _delivery(self, body: str) -> Delivery:
        return Delivery(body=body, headers={}, receive_count=1, request_id=str(uuid.uuid4()))

    def _killed(self, crash: Crashing, act: Callable[[], object]) -> bool:
        """Do something that is killed at a request, if at all; whether it came to its end."""
        name = ""

        def before(model: OperationModel, params: Mapping[str, object], **_: object) -> None:
            nonlocal name
            name = name_of(model.name, str(params["body"]))
            reached("before")

        def after(**_: object) -> None:
            reached("after")

        def reached(side: str) -> None:
            if crash == (name, side):
                event(f"killed {side} {name}")
                raise Crash

        events = DYNAMODB.meta.events
        events.register("before-call.dynamodb", before)
        events.register("after-call.dynamodb", after)
        try:
            act()
        except Crash:
            return False
        except (ClaimedError, RunRefusedError):
            return False
        finally:
            events.unregister("before-call.dynamodb", before)
            events.unregister("after-call.dynamodb", after)
        return True

    def _settle(self) -> None:
        """Let Lambda and SQS do what they do: try again, later, until nothing is left."""
        self.lml.verdicts = dict.fromkeys(range(BATCH), "warmed")
        for time in self.unfinished.copy():
            self.clock.advance(60)
            self.start(time, None, force=False)
            assert time not in self.unfinished
        self._drain()

    def _drain(self) -> None:
        for _ in range(200):
            if not self.sqs.bodies:
                return
            self.clock.advance(120)
            body = self.sqs.bodies.pop(0)
            if not self._killed(None, partial(self._receive, body)):
                self.sqs.bodies.append(body)
        raise AssertionError(self.sqs.bodies)

    def _check(self, run_id: str) -> None:
        """The oracle: every id has one outcome, the totals count them, and the totals were reported."""
        run = self.ledger.runs.read(run_id)
        assert run is not None
        if run.status == "refused":  # another one held the lock
            return
        assert run.status in {"complete", "stopped"}
        if not run.is_planned:  # a start of another run by force ended it before its plan was fixed: nothing was sent
            assert (run.status, run.totals, run.emitted_at is not None) == ("stopped", Totals(), True)
            return
        messages = list(self.ledger.messages.all(run_id, run.messages_planned))
        planned = [identity for message in messages for identity in message.planned]
        failed = [identity for message in messages for identity in message.failed]
        assert sorted(planned) == list(IDS) == sorted(set(planned))
        totals = run.totals
        assert run.planned == len(IDS) == totals.accounted
        assert totals.balanced
        assert totals.lml_error == len(failed) == len(set(failed))
        assert all("failed" in self.lml.answered[identity] for identity in failed)
        left = {identity for message in messages for identity in (*message.not_attempted, *_waiting(message))}
        resolved = set(planned) - set(failed) - left
        assert totals.identities_resolved == len(resolved)
        assert all("warmed" in self.lml.answered[identity] for identity in resolved)
        assert run.emitted_at is not None
        assert self.telemetry.reported[run_id]
        assert all(reported == self.telemetry.reported[run_id][0] for reported in self.telemetry.reported[run_id])
        holder = self.ledger.lock.holder(self.clock.utc())
        assert holder is None or holder.run_id not in self.runs


def _waiting(message: Message) -> tuple[int, ...]:
    return message.left.identity_ids if message.left else ()


Interleavings.TestCase.settings = settings(
    max_examples=12, stateful_step_count=20, deadline=None, suppress_health_check=list(HealthCheck)
)
TestInterleavings = Interleavings.TestCase


@pytest.mark.long
class TestManyInterleavings(Interleavings.TestCase):
    settings = settings(
        max_examples=500, stateful_step_count=40, deadline=None, suppress_health_check=list(HealthCheck)
    )
