"""Several slots of the job at work in virtual time, beside an LML that behaves as a test says."""

import asyncio
import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from random import Random
from typing import Any

from core.budget.pacing import EXPECTED_COST, Pace
from core.budget.throttle import OutOfTime, Permit, Stopped, Throttle
from core.clock import Clock
from core.lml.client import Health, RefreshAnswer, RefreshError
from core.refresh.result import PartResult
from core.refresh.worker import Worker
from core.runs.plan import RefreshMessage
from core.runs.totals import Totals
from core.settings import Pacing
from local import deploy
from ops.loadtest.slots import MemoryPace
from ops.loadtest.virtual import Blocking, VirtualLoop

_PARAMETERS = deploy.read()["Parameters"]
FUNCTION_SECONDS = float(_PARAMETERS["RefreshTimeoutSeconds"]["Default"])
REDELIVERED_AFTER = float(_PARAMETERS["RefreshVisibilitySeconds"]["Default"])


class KilledError(BaseException):
    """The slot is gone in the middle of what it did, as after SIGKILL: nothing runs any more, no settling either."""


def warmed(identity: int, artists: int = 3) -> dict[str, object]:
    """LML's result for a release with so many artists."""
    artist_results = [{"external_id": str(n), "outcome": "success", "message": None} for n in range(artists)]
    source = {"release_outcome": "success", "artists": artist_results, "message": None}
    return {"identity_id": identity, "status": "warmed", "sources": {"discogs_release": source}, "message": None}


@dataclass
class Script:
    """LML as a test wants it: `answer` makes the body for some ids or raises, `seconds` says how long that takes."""

    answer: Callable[[Sequence[int]], object] = lambda ids: {"results": [warmed(identity) for identity in ids]}
    seconds: Callable[[Sequence[int]], float] = lambda ids: 1.0 * len(ids)
    health: Callable[[], dict[str, object]] = dict
    asked: list[tuple[float, list[int]]] = field(default_factory=list)
    sampled: list[float] = field(default_factory=list)


class ScriptedLml:
    def __init__(self, script: Script, clock: Clock) -> None:
        self._script = script
        self._clock = clock

    def refresh(self, ids: Sequence[int], *, limit: float) -> RefreshAnswer:
        self._script.asked.append((self._clock.pace(), list(ids)))
        started, seconds = self._clock.pace(), self._script.seconds(ids)
        self._clock.sleep(min(seconds, limit))
        if seconds > limit:
            raise failure(cause="timeout", elapsed=limit)
        try:
            body = self._script.answer(ids)
        except RefreshError as error:
            error.elapsed = seconds
            raise
        return RefreshAnswer(body, self._clock.pace() - started)

    def round_trip(self) -> float:
        return 0.0

    def health(self) -> Health:
        self._script.sampled.append(self._clock.pace())
        self._clock.sleep(0.2)
        return Health(200, self._script.health())


def failure(
    status: int | None = None,
    *,
    retry_after: float | None = None,
    cause="status",
    elapsed=0.0,
    detail="as the test says",
) -> RefreshError:
    """What the client raises for an answer of this status, or for none."""
    return RefreshError(
        request="POST",
        kind="permanent_error" if status in {400, 401, 403, 404, 405, 413, 422} else "retryable_error",
        cause=cause,
        elapsed=elapsed,
        status=status,
        retry_after=retry_after,
        detail=detail,
    )


class MemoryStore(MemoryPace):
    """The load test's `PACE` in memory, which here keeps every state that was written."""

    def __init__(self) -> None:
        super().__init__()
        self.written: list[Pace] = []

    def write_pace(self, pace: Pace, revision: int) -> bool:
        if not super().write_pace(pace, revision):
            return False
        self.written.append(pace)
        return True


@dataclass
class Booked:
    """A slice: when it started, on a clock that nobody steps, its expected calls, and those that it cost."""

    started: float
    expected: int
    cost: int
    known_from: float = math.inf
    """The number of the first slice that started after its cost was settled."""


class BookedThrottle(Throttle):
    """The job's throttle, which books each slice; one that was killed stays at what it was expected to cost."""

    fleet: "Fleet"

    def acquire(self, wanted: int, **asked: Any) -> Permit | OutOfTime | Stopped:
        answer = super().acquire(wanted, **asked)
        if isinstance(answer, Permit):
            expected = answer.ids * EXPECTED_COST
            self.fleet.booked[answer.revision] = Booked(self.fleet.time(), expected, expected)
        return answer

    def settle(self, permit: Permit, **answer: Any) -> int:
        cost = super().settle(permit, **answer)
        slice_ = self.fleet.booked[permit.revision]
        slice_.cost, slice_.known_from = cost, len(self.fleet.booked)
        return cost


class RecordedReports:
    """A `Reporter` that keeps what it is told."""

    def __init__(self) -> None:
        self.warnings: list[tuple[str, dict[str, object]]] = []
        self.metrics: list[tuple[str, float]] = []
        self.failed_spans: list[str] = []

    def metric(self, name: str, value: float) -> None:
        self.metrics.append((name, value))

    def warning(self, step: str, message: str, **fields: object) -> None:
        self.warnings.append((step, fields | {"message": message}))

    @contextmanager
    def request_span(self, **_: int) -> Iterator["RecordedReports"]:
        yield self

    def failed(self, kind: str) -> None:
        self.failed_spans.append(kind)


class SteppingClock(Blocking):
    """A slot's clock that a test can set: all slots of a fleet see the same steps."""

    def __init__(self, loop: VirtualLoop, fleet: "Fleet") -> None:
        super().__init__(loop)
        self._fleet = fleet

    def pace(self) -> float:
        return super().pace() + self._fleet.clock_is_off_by


class Fleet:
    """Slots that work messages off, as SQS would deliver them, until nothing is left or patience ends."""

    def __init__(self, script: Script, messages: Sequence[RefreshMessage], *, slots: int = 2, limits: Pacing, seed=0):
        self.script = script
        self._loop = VirtualLoop()
        self.store = MemoryStore()
        self.booked: dict[int, Booked] = {}
        """By revision, in the order of their starts."""
        self.verdicts: dict[int, str] = {}
        self.totals = Totals()
        self.left: list[RefreshMessage] = list(messages)
        self.seconds = 0.0
        self.clock_is_off_by = 0.0
        self._due = [(0.0, message) for message in messages]
        self._slots = slots
        self._limits = limits
        self._seed = seed

    def run(self, *, patience: float, steps: Sequence[tuple[float, float]] = ()) -> None:
        """Let time pass; `steps` are moments at which the clock jumps by some seconds."""
        try:
            self._loop.run_until_complete(self._run(patience, steps))
        finally:
            self._loop.close()

    def time(self) -> float:
        """Seconds since the fleet began, whatever the slots' clocks say."""
        return self._loop.time()

    async def _run(self, patience: float, steps: Sequence[tuple[float, float]]) -> None:
        for at, seconds in steps:
            self._loop.call_at(at, self._step, seconds)
        clocks = [SteppingClock(self._loop, self) for _ in range(self._slots)]
        await asyncio.gather(*(clock.run(lambda c=clock: self._slot(c, patience)) for clock in clocks))
        self.seconds = self._loop.time()

    def _step(self, seconds: float) -> None:
        self.clock_is_off_by += seconds

    def _slot(self, clock: SteppingClock, patience: float) -> None:
        number = 0
        while self.left and self._loop.time() < patience:
            message = self._next()
            if message is None:
                clock.sleep(self._idle())
                continue
            number += 1
            luck = Random(f"{self._seed}/{number}")  # noqa: S311
            lml = ScriptedLml(self.script, clock)
            throttle = BookedThrottle(self.store, lml, clock, self._limits, luck)
            throttle.fleet = self
            worker = Worker(lml, throttle, clock, RecordedReports(), 3)
            ends = self._loop.time() + FUNCTION_SECONDS
            try:
                result = worker.part(
                    message,
                    time_left=lambda ends=ends: ends - self._loop.time(),
                    run_goes_on=lambda: self._loop.time() < patience,
                ).work()
            except KilledError:
                self._due.append((self._loop.time() + REDELIVERED_AFTER, message))
                continue
            self._commit(message, result)

    def _next(self) -> RefreshMessage | None:
        for position, (due, message) in enumerate(self._due):
            if due <= self._loop.time():
                del self._due[position]
                return message
        return None

    def _idle(self) -> float:
        """Seconds until there may be a message: the next one that is due, or one that another slot hands on."""
        soonest = min((due for due, _ in self._due), default=self._loop.time() + 10)
        return max(1.0, soonest - self._loop.time())

    def _commit(self, message: RefreshMessage, result: PartResult) -> None:
        self.left.remove(message)
        rest = result.next_part
        for identity in set(message.identity_ids) - set(rest.identity_ids if rest else ()):
            assert identity not in self.verdicts, "two verdicts"
            self.verdicts[identity] = "failed" if identity in result.failed else "resolved"
        self.totals += result.totals
        if rest is not None:
            self.left.append(rest)
            if not result.ended:
                self._due.append((self._loop.time() + result.delay, rest))
