"""LML's other callers: DJs whose lookups cost several Discogs calls each, and jobs that come at fixed times.

docs/design/lml.md#what-readers-do: a cold lookup makes about five calls, mostly one after
another; one of artist and song some 26, five at once.
"""

import asyncio
import math
from collections.abc import Coroutine, Iterator, Sequence
from random import Random
from typing import Literal, NamedTuple

import msgspec

from local.lml.discogs import MINUTE, Caller
from local.lml.limits import LmlClock
from local.lml.process import DiscogsBreakerOpenError, LmlProcess


class Order(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How many Discogs calls readers make a minute, on average, and how these come together."""

    per_minute: float
    seed: int = 1
    calls: int = 5
    """Of one lookup."""
    at_once: int = 1
    """Calls of a lookup side by side; 1 is one after another."""
    geometric: bool = False
    """Lookups differ: `calls` is the mean."""
    steady: bool = False
    """Lookups come at fixed intervals; else at random (Poisson)."""
    quiet_per_minute: float | None = None
    """Where given, half-hours of `per_minute` and of this take turns."""

    def arrivals(self) -> Iterator[tuple[float, int]]:
        """Yield the seconds at which lookups come, and how many calls each makes; without end unless nobody comes."""
        rng = Random(self.seed)  # noqa: S311  reproducible, not secret
        at = 0.0
        while self.per_minute > 0:
            at = at + self._gap(1.0) if self.steady else self._next(at, rng.expovariate(1.0))
            yield at, self._geometric(rng) if self.geometric else self.calls

    def _gap(self, lookups: float) -> float:
        return lookups * self.calls * MINUTE / self.per_minute

    def _next(self, at: float, lookups: float) -> float:
        """Seconds after which `lookups` more are due, on average."""
        if self.quiet_per_minute is None:
            return at + self._gap(lookups)
        while True:
            turn, ends = divmod(at, _TURN)
            rate = (self.quiet_per_minute if turn % 2 else self.per_minute) / self.calls / MINUTE
            left = (_TURN - ends) * rate
            if lookups <= left:
                return at + lookups / rate
            at, lookups = (turn + 1) * _TURN, lookups - left

    def _geometric(self, rng: Random) -> int:
        if self.calls == 1:
            return 1
        return 1 + int(math.log(1.0 - rng.random()) / math.log(1.0 - 1.0 / self.calls))


_TURN = 1800.0


class ReaderCall(NamedTuple):
    """One call of a reader: paced time of arrival, seconds until the answer, and what came."""

    at: float
    seconds: float
    outcome: Literal["answered", "shed", "failed"]


class Readers:
    """The callers of an order; the same seed gives the same arrivals whatever else LML does."""

    def __init__(self, processes: Sequence[LmlProcess], clock: LmlClock, kind: Caller = "runtime") -> None:
        self._processes = processes
        self._clock = clock
        self._kind: Caller = kind
        self._tasks: set[asyncio.Task[None]] = set()
        self.readings: list[ReaderCall] = []

    def start(self, order: Order) -> None:
        """Have these readers instead of those before; none at 0 a minute."""
        self.stop()
        if order.per_minute > 0:
            self._spawn(self._arrive(order))

    def stop(self) -> None:
        for task in self._tasks:
            task.cancel()

    def _spawn(self, work: Coroutine[None, None, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _arrive(self, order: Order) -> None:
        began = self._clock.now()
        luck = Random(f"{order.seed}/process")  # noqa: S311  reproducible, not secret
        for at, calls in order.arrivals():
            await self._clock.sleep(max(0.0, began + at - self._clock.now()))
            process = self._processes[0] if len(self._processes) == 1 else luck.choice(self._processes)
            left = iter(range(calls))
            for _ in range(min(order.at_once, calls)):
                self._spawn(self._look_up(process, left))

    async def _look_up(self, process: LmlProcess, calls: Iterator[int]) -> None:
        """Make a lookup's calls one after another; a shed does not end it (its other calls are shed too: not known)."""
        for _ in calls:
            arrived = self._clock.now()
            outcome: Literal["answered", "shed", "failed"] = "answered"
            try:
                answer = await process.call(self._kind)
            except DiscogsBreakerOpenError:
                outcome = "shed"
            else:
                if answer.status not in {200, 404}:
                    outcome = "failed"
            self.readings.append(ReaderCall(arrived, self._clock.now() - arrived, outcome))
