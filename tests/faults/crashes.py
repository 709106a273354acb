"""One job on real processes: emulated AWS, PostgreSQL, the stand-in LML, and workers that can be killed anywhere."""

import json
import os
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from collections.abc import Set as AbstractSet
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import count
from pathlib import Path
from typing import Any, Final, Literal, NamedTuple, Self, get_args

import httpx

from core.runs.ledger import open_ledger
from core.runs.totals import SUMMARY_TOTALS
from core.settings import FASTEST_PACE
from core.telemetry import metric_of
from core.utc import utc_text
from local import cloud, deploy, postgres, serve
from local.lml import app
from local.lml.limits import Limits
from local.process import Process, end
from local.world import World
from tests.integration.accounts import event_of
from tests.integration.build import create_table

ROOT: Final = Path(__file__).parents[2]
HELD_BACK: Final = timedelta(seconds=61)
"""What the queue may have held a message back for: an answer in doubt is asked for again after a minute."""
WORLD: Final = World.seeded(identities=3, seed=3)
IDS: Final = WORLD.identity_ids()
TIMEOUT: Final = 130.0
"""Virtual seconds of an invocation: two slices, so that a message of three ids has two parts."""
LATER: Final = timedelta(seconds=1000)
"""Longer than a claim, a visibility time-out and the lease of an emission."""
FUNCTIONS: Final = ("fan_out", "refresh", "dead_letter")

Side = Literal["before", "after"]
Outcome = Literal["stopped", "killed", "returned", "gave back", "failed"]
"""`gave back`: the delivery is SQS's again, since another invocation is at it."""


class Point(NamedTuple):
    """The nth request of a kind in an invocation, and on which side of it the worker stops."""

    name: str
    nth: int
    side: Side


@dataclass(slots=True)
class Invocation:
    """An invocation that has ended, or one that has stopped itself (`pid`)."""

    outcome: Outcome
    trace: list[str]
    printed: str
    pid: int | None = None


@dataclass(slots=True)
class Scene:
    """One run of the job, on a day of its own."""

    run_id: str
    now: datetime
    printed: list[str] = field(default_factory=list)


class Stage:
    """The parts, and what SQS and Lambda would do with the worker's processes."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._exit = ExitStack()
        self._days = count()
        self._numbers = count()

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            self._build(stack)
            self._exit = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._exit.close()

    def _build(self, stack: ExitStack) -> None:
        processes: list[Process] = []
        stack.callback(end, processes)
        aws = cloud._emulator(self._directory / "aws", processes)
        database = postgres.start(self._directory)
        stack.callback(postgres.stop, database)
        postgres.load(database, WORLD)
        self.lml = stack.enter_context(serve.in_thread(app.build(WORLD, token="key", limits=Limits.instant())))
        self.http = stack.enter_context(httpx.Client(base_url=self.lml))
        url = aws.url()
        self.sqs, dynamodb = cloud._client("sqs", url), cloud._client("dynamodb", url)
        create_table(dynamodb)
        self.ledger = open_ledger(dynamodb, "ledger")
        self.queues = {name: self.sqs.create_queue(QueueName=name)["QueueUrl"] for name in ("refresh", "parked")}
        environment = {
            "AWS_ENDPOINT_URL": url,
            "AWS_DEFAULT_REGION": deploy.REGION,
            "AWS_ACCESS_KEY_ID": "test",
            "AWS_SECRET_ACCESS_KEY": "test",
            "LOCAL_DEV": "1",
            "LEDGER_TABLE": "ledger",
            "REFRESH_QUEUE_URL": self.queues["refresh"],
            "PARKED_QUEUE_URL": self.queues["parked"],
            "LIBRARY_METADATA_URL": self.lml,
            "LML_API_KEY": "key",
            # Room for everything: what a crash does to the budget is of no account here.
            "DISCOGS_BUDGET_PER_MINUTE": str(FASTEST_PACE),
            **database.environment(),
        }
        path = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
        self._worker = stack.enter_context(
            subprocess.Popen(
                [sys.executable, "-m", "tests.faults.worker"],
                cwd=ROOT,
                env=path | environment,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
            )
        )

    # What AWS does

    def scene(self) -> Scene:
        """The next day: nothing of the last one is left but its accounts."""
        now = datetime(2026, 2, 3, 4, 30, tzinfo=UTC) + timedelta(days=next(self._days))
        self.http.post("/_reset").raise_for_status()
        return Scene(f"scheduled-{utc_text(now)}", now)

    def invoke(
        self,
        scene: Scene,
        function: str,
        event: object,
        *,
        request_id: str | None = None,
        stop_at: Point | None = None,
    ) -> Invocation:
        """Run a function until it ends, or stops itself at a point."""
        number = next(self._numbers)
        out, trace = self._directory / f"{number}.out", self._directory / f"{number}.trace"
        trace.touch()
        outcome = self._ordered(
            function=function,
            event=event,
            request_id=request_id or f"request-{number}",
            now=scene.now.timestamp(),
            timeout=TIMEOUT,
            stop_at=stop_at,
            out=str(out),
            trace=str(trace),
        )
        printed = out.read_text()
        scene.printed.append(printed)
        invocation = Invocation(outcome["outcome"], trace.read_text().splitlines(), printed, outcome.get("pid"))
        out.unlink()
        trace.unlink()
        return invocation

    def kill(self, invocation: Invocation) -> None:
        assert self._ordered(pid=invocation.pid, signal=signal.SIGKILL)["outcome"] == "killed"

    def wake(self, invocation: Invocation) -> None:
        """Let a stopped invocation go on to its end, whatever that is."""
        assert self._ordered(pid=invocation.pid, signal=signal.SIGCONT)["outcome"] in {
            "returned",
            "gave back",
            "failed",
        }

    def start(self, scene: Scene, **how: Any) -> Invocation:
        event = {"scheduled_time": scene.run_id.removeprefix("scheduled-")}
        return self.invoke(scene, "fan_out", event, **how)

    def started(self, scene: Scene, request_id: str) -> None:
        """Start, and twice more if that fails, as Lambda does."""
        for _ in range(3):
            if self.start(scene, request_id=request_id).outcome == "returned":
                return
            scene.now += LATER
        raise AssertionError(scene.printed[-1])

    def receive(self) -> dict[str, Any] | None:
        """Take the next message off the queue for as long as it takes."""
        took = self.sqs.receive_message(
            QueueUrl=self.queues["refresh"], AttributeNames=["All"], MessageAttributeNames=["All"]
        )
        return took.get("Messages", [None])[0]

    def deliver(self, scene: Scene, message: dict[str, Any], **how: Any) -> Invocation:
        """Invoke the refresh function with a message, which is deleted if that works."""
        done = self.invoke(scene, "refresh", event_of(message["Body"], message), **how)
        if done.outcome == "returned":
            self.delete(message)
        return done

    def redeliver(self, scene: Scene, message: dict[str, Any]) -> None:
        """Deliver a message once its visibility has run out, until that works."""
        for _ in range(5):
            scene.now += LATER
            if self.deliver(scene, message).outcome == "returned":
                return
        raise AssertionError(scene.printed[-1])

    def handle(self, scene: Scene, message: dict[str, Any], **how: Any) -> Invocation:
        return self.invoke(scene, "dead_letter", event_of(message["Body"], message), **how)

    def dead_lettered(self, scene: Scene, message: dict[str, Any]) -> None:
        for _ in range(5):
            if self.handle(scene, message).outcome == "returned":
                return
            scene.now += LATER
        raise AssertionError(scene.printed[-1])

    def delete(self, message: dict[str, Any]) -> None:
        with suppress(self.sqs.exceptions.ReceiptHandleIsInvalid):  # SQS deletes twice without a word
            self.sqs.delete_message(QueueUrl=self.queues["refresh"], ReceiptHandle=message["ReceiptHandle"])

    def finish(self, scene: Scene) -> None:
        """Deliver what is in the queue, one message after the other, until nothing is."""
        while (message := self.receive()) is not None:
            scene.now += HELD_BACK
            if self.deliver(scene, message).outcome != "returned":
                self.redeliver(scene, message)

    # What must be true at the end

    def asked(self) -> Counter[int]:
        """How often LML was asked for each id."""
        return Counter(identity for call in self.http.get("/_calls").json() for identity in call["ids"])

    def problems(self, scene: Scene) -> Iterator[str]:
        """Say what is wrong with the accounts; nothing is if all is well."""
        run = self.ledger.runs.read(scene.run_id)
        if run is None or run.status not in {"complete", "stopped"}:
            yield f"the run is {run and run.status}"
            return
        messages = list(self.ledger.messages.all(run.run_id, run.messages_planned))
        planned = sorted(identity for message in messages for identity in message.planned)
        failed = {identity for message in messages for identity in message.failed}
        if planned != IDS or run.planned != len(IDS):
            yield f"planned {planned}"
        if run.planned != run.totals.accounted or not run.totals.balanced:
            yield f"{run.planned} planned, {run.totals}"
        if unasked := set(IDS) - self.asked().keys() - failed:
            yield f"nobody asked for {unasked}"
        expected = self._expected(failed)
        counted = {name: getattr(run.totals, name) for name in expected}
        if counted != expected:
            yield f"{counted} where the world says {expected}"
        if self.ledger.lock.holder(scene.now) is not None:
            yield "the lock is held"
        if run.emitted_at is None:
            yield "its totals are not marked as told"
        reported = list(self._reported(scene))
        wanted = {name: getattr(run.totals, name) for name in SUMMARY_TOTALS}
        if not reported or any(totals != wanted for totals in reported):
            yield f"told {reported} where the ledger holds {wanted}"
        if any(self.sqs.receive_message(QueueUrl=url).get("Messages") for url in self.queues.values()):
            yield "a message is left"

    def _expected(self, failed: set[int]) -> dict[str, int]:
        expected = WORLD.expected(identity for identity in IDS if identity not in failed)
        del expected["discogs_calls"]
        expected["identities_scanned"] += len(failed)
        expected["lml_error"] += len(failed)
        return expected

    def _reported(self, scene: Scene) -> Iterator[dict[str, int]]:
        """The totals in every metric line that closes a run."""
        for line in "".join(scene.printed).splitlines():
            if '"RunCompleted"' in line and line.startswith("{"):
                metrics = json.loads(line)
                pascal = {name: metric_of(name) for name in SUMMARY_TOTALS}
                yield {name: int(metrics[there][0]) for name, there in pascal.items()}

    def _ordered(self, **job: Any) -> dict[str, Any]:
        assert self._worker.stdin
        assert self._worker.stdout
        print(json.dumps(job), file=self._worker.stdin, flush=True)
        answer: dict[str, Any] = json.loads(self._worker.stdout.readline())
        return answer


def points(trace: Sequence[str], kinds: AbstractSet[str] | None = None) -> list[Point]:
    """Both sides of every request of an invocation, or of those of some kinds."""
    seen: Counter[str] = Counter()
    found = []
    for name in trace:
        seen[name] += 1
        if kinds is None or name in kinds:
            found += [Point(name, seen[name], side) for side in get_args(Side)]
    return found
