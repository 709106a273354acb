"""Discogs as LML reaches it: slots, a leaky bucket, a breaker, and a record of every call."""

import asyncio
import math
from bisect import bisect_right
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from random import Random
from typing import Final, Literal, NamedTuple

from local.lml.limits import Clock, Limits

MINUTE: Final = 60.0
ROUNDING: Final = 1e-9  # of a call: what floating point leaves of a wait that is over

Kind = Literal["refresh", "runtime", "health"]
State = Literal["closed", "open", "half_open"]


class DiscogsError(Exception):
    """Discogs was not asked, or gave no answer; LML tells its caller the name of the class."""


class DiscogsBreakerOpenError(DiscogsError):
    """LML's breaker is open: Discogs was not asked."""


class DiscogsRateLimitedError(DiscogsError):
    """Discogs answered 429."""


class Call(NamedTuple):
    """A call that Discogs saw: paced time, on whose behalf, and whether the answer was 429."""

    at: float
    kind: Kind
    refused: bool


class LeakyBucket:
    """Lets `per_minute` calls pass at once after a quiet minute and then as many a minute, in order of arrival."""

    def __init__(self, clock: Clock, per_minute: float) -> None:
        self._clock = clock
        self._size = per_minute
        self._level = 0.0
        self._at = clock.now()
        self._turn = asyncio.Lock()

    async def acquire(self) -> None:
        """Wait for a turn; a caller that gives up while it waits takes nothing."""
        if math.isinf(self._size):
            return
        async with self._turn:
            while (excess := self._leak() + 1 - self._size) > ROUNDING:
                await self._clock.sleep(excess * MINUTE / self._size)
            self._level += 1

    def _leak(self) -> float:
        now = self._clock.now()
        self._level = max(0.0, self._level - (now - self._at) * self._size / MINUTE)
        self._at = now
        return self._level


class Breaker:
    """Closed, open for a while, then half open: one trial call closes it or, answered 429, opens it again."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._open_until: float | None = None
        self._trial = False
        self.opened = 0

    @property
    def state(self) -> State:
        if self._open_until is None:
            return "closed"
        return "open" if self._clock.now() < self._open_until else "half_open"

    def open(self, seconds: float) -> None:
        self._open_until = self._clock.now() + seconds
        self.opened += 1

    def check(self) -> None:
        if self.state == "open" or self._trial:
            raise DiscogsBreakerOpenError

    @contextmanager
    def attempt(self) -> Iterator[None]:
        """Guard one call: in the half-open state it is the trial."""
        self.check()
        self._trial = self.state == "half_open"
        trial = self._trial
        try:
            yield
            if trial:
                self._open_until = None
        finally:
            if trial:
                self._trial = False


class Discogs:
    """All callers' way to Discogs: 5 calls at once, 2 of them for a refresh, behind one bucket and one breaker."""

    def __init__(self, clock: Clock, limits: Limits, seed: int) -> None:
        self._clock = clock
        self._limits = limits
        self._slots = asyncio.Semaphore(limits.at_once)
        self._refresh_slots = asyncio.Semaphore(limits.refresh_at_once)
        self._bucket = LeakyBucket(clock, limits.per_minute)
        # A generator for each kind: readers meet the same latencies whether or not a refresh runs beside them.
        kinds: tuple[Kind, ...] = ("refresh", "runtime", "health")
        self._luck = {kind: Random(f"{seed}/{kind}") for kind in kinds}  # noqa: S311  reproducible, not secret
        self.breaker = Breaker(clock)
        self.calls: list[Call] = []
        self.live_requests = 0

    async def call(self, kind: Kind) -> None:
        """Make one call.

        Raises DiscogsError when the breaker sheds it or Discogs answers 429, which opens the breaker for everybody.
        """
        latency = self._latency(kind)
        async with self._refresh_slots if kind == "refresh" else nullcontext(), self._slots:
            self.breaker.check()
            await self._bucket.acquire()
            with self.breaker.attempt():
                refused = self._attempt(kind)
                await self._clock.sleep(latency)
                if refused:
                    self.breaker.open(self._limits.breaker_seconds)
                    raise DiscogsRateLimitedError

    def _attempt(self, kind: Kind) -> bool:
        now = self._clock.now()
        last_minute = len(self.calls) - bisect_right(self.calls, now - MINUTE, key=lambda call: call.at)
        refused = last_minute >= self._limits.discogs_per_minute
        self.calls.append(Call(now, kind, refused))
        self.live_requests += 1
        return refused

    def _latency(self, kind: Kind) -> float:
        if self._limits.discogs_median_seconds == 0:
            return 0.0
        drawn = self._luck[kind].lognormvariate(
            math.log(self._limits.discogs_median_seconds), self._limits.discogs_sigma
        )
        return max(self._limits.discogs_fastest_seconds, drawn)


def busiest_minute(times: list[float]) -> int:
    """Return the most of these ascending times that lie within any 60 seconds."""
    return max((i + 1 - bisect_right(times, at - MINUTE) for i, at in enumerate(times)), default=0)
