"""The job's slots without AWS: a queue and a `PACE` in memory, and notes of what the slots did."""

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from random import Random
from typing import Final, Literal, Protocol

from core.budget import throttle
from core.budget.pacing import Pace
from core.budget.throttle import Permit, Throttle
from core.clock import Clock
from core.lml.client import LML_REFRESH_BATCH_CAP
from core.refresh import worker as refreshing
from core.refresh.worker import Worker
from core.runs.plan import RefreshMessage, batches
from core.runs.totals import Totals
from core.settings import Pacing
from core.telemetry import LogStep
from local.lml.breaker import Opening
from local.lml.library import Stored
from local.lml.records import DiscogsCall, ReaderCall

SLOTS: Final = 2
MAX_ATTEMPTS: Final = 3
FUNCTION_SECONDS: Final = 900.0
_POLL: Final = 1.0
"""Seconds after which an idle slot looks for a message again."""


@dataclass(slots=True)
class Day:
    """What happened, in paced seconds from the start; Discogs' calls are those of all callers."""

    seconds: float = 0.0
    """How long it was watched."""
    makespan: float = 0.0
    """When the job had ended."""
    totals: Totals = field(default_factory=Totals)
    calls: list[DiscogsCall] = field(default_factory=list)
    readings: list[ReaderCall] = field(default_factory=list)
    openings: list[Opening] = field(default_factory=list)
    stored: Stored | None = None
    """What LML holds at the end, where that can be known."""
    charges: list[tuple[float, float]] = field(default_factory=list)
    """When a slice ended, and the calls that the job was charged for it."""

    @property
    def rests(self) -> float:
        """Seconds for which the job rested because of the breaker or of Discogs."""
        return self.totals.breaker_rest_seconds + self.totals.discogs_rest_seconds


class MemoryPace:
    """`throttle.PaceStore` for slots that are threads of one process."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._revision = 0
        self.pace = Pace()

    def read_pace(self) -> tuple[Pace, int]:
        with self._lock:
            return self.pace, self._revision

    def write_pace(self, pace: Pace, revision: int) -> bool:
        with self._lock:
            if revision != self._revision:
                return False
            self.pace, self._revision = pace, revision + 1
            return True


class RefusedError(Exception):
    """LML refuses every request: it does not know the key, or does not have the endpoint."""


class Deliveries:
    """The refresh queue: messages of 50, each delivered until nothing of it is left."""

    def __init__(self, ids: Sequence[int]) -> None:
        self._lock = threading.Lock()
        self._due = [
            (0.0, RefreshMessage(version=1, run_id="loadtest", message=number, identity_ids=batch))
            for number, batch in enumerate(batches(ids, LML_REFRESH_BATCH_CAP))
        ]
        self._unfinished = len(self._due)

    def work_off(self, worker: Worker, day: Day) -> None:
        """Work as one slot: take what is due, as the refresh function does, until every message is finished.

        What a slot raises ends the others too; raises RefusedError where LML lets nobody in.
        """
        try:
            while self._unfinished > 0:
                message = self._take(worker.clock.pace())
                if isinstance(message, float):
                    worker.clock.sleep(message)
                else:
                    self._work(worker, message, day)
        except BaseException:
            self.end()
            raise

    def end(self) -> None:
        """Deliver no more, and have the slots send no more of what they have."""
        self._unfinished = 0

    def _work(self, worker: Worker, message: RefreshMessage, day: Day) -> None:
        result = worker.part(
            message, time_left=_time_left(worker.clock), run_goes_on=lambda: self._unfinished > 0
        ).work()
        if result.stop:
            raise RefusedError(result.stop.reason)
        with self._lock:
            day.totals += result.totals
            if result.next_part is not None:
                self._due.append((worker.clock.pace() + result.delay, result.next_part))
            else:
                self._unfinished -= 1

    def _take(self, now: float) -> RefreshMessage | float:
        """Take a message that is due, or return the seconds after which to look again."""
        with self._lock:
            for position, (due, message) in enumerate(self._due):
                if due <= now:
                    del self._due[position]
                    return message
            return min((due - now for due, _ in self._due), default=_POLL)


def _time_left(clock: Clock) -> Callable[[], float]:
    ends = clock.pace() + FUNCTION_SECONDS
    return lambda: ends - clock.pace()


class Upstream(refreshing.RefreshUpstream, throttle.ProbeUpstream, Protocol):
    """All that a slot asks of LML."""


class WatchedThrottle(Throttle):
    """The job's throttle, and a note of what its slices cost."""

    day: Day

    def settle(
        self, permit: Permit, *, outcomes: int | None, elapsed: float, is_shed: bool = False, trial: int | None = None
    ) -> int:
        cost = super().settle(permit, outcomes=outcomes, elapsed=elapsed, is_shed=is_shed, trial=trial)
        self.day.charges.append((self._clock.pace(), cost))
        return cost


class Silent:
    """`refreshing.Reporter` for a job whose report is the load test's own."""

    def metric(self, name: str, value: float) -> None: ...

    def warning(self, step: LogStep, message: str, **fields: object) -> None: ...

    @contextmanager
    def request_span(self, *, batch_size: int, timeout_ms: int) -> Iterator["Silent"]:  # noqa: ARG002 - named by callers
        yield self

    def failed(self, kind: Literal["retryable_error", "permanent_error"]) -> None: ...


def worker(store: MemoryPace, lml: Upstream, clock: Clock, *, limits: Pacing, seed: str, day: Day) -> Worker:
    """What one slot works with, watched."""
    pacer = WatchedThrottle(store, lml, clock, limits, Random(seed))  # noqa: S311  reproducible, not secret
    pacer.day = day
    return Worker(lml, pacer, clock, Silent(), MAX_ATTEMPTS)
