"""One process of LML: its counter, breaker, lanes and limiter, and the way of a Discogs call through them.

docs/design/lml.md#the-way-of-one-discogs-call: counter + 1, breaker, low-priority slot, shared slot,
limiter, Discogs, and back. Several processes behind one address share only what PostgreSQL holds.
"""

import asyncio
import math
from random import Random
from typing import Final, NamedTuple

from local.lml.breaker import Breaker
from local.lml.discogs import Discogs, DiscogsAnswer
from local.lml.limits import Limits, LmlClock
from local.lml.records import MINUTE, Caller

ROUNDING: Final = 1e-9  # of a call: what floating point leaves of a wait that is over
LONGEST_RETRY: Final = 60.0
_HEALTH_WORDS: Final = {200: "ok", 401: "auth-error", 403: "auth-error", 429: "rate-limited"}


class DiscogsBreakerOpenError(Exception):
    """LML's breaker is open, and Discogs was not asked. LML's answer holds the name of this class."""


class Shed(NamedTuple):
    """A call that the breaker turned away: paced time, and on whose behalf it was made."""

    at: float
    kind: Caller


class LeakyBucket:
    """Lets `per_minute` calls pass at once after a quiet minute and then as many a minute, in order of arrival."""

    def __init__(self, clock: LmlClock, per_minute: float) -> None:
        self._clock = clock
        self._size = per_minute
        self._level = 0.0
        self._at = clock.now()
        self._turn = asyncio.Lock()

    async def acquire(self) -> None:
        """Wait for a turn, however long; a caller that gives up while it waits takes nothing."""
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


class LmlProcess:
    """What one process of LML keeps in its memory."""

    def __init__(self, discogs: Discogs, clock: LmlClock, limits: Limits, seed: str) -> None:
        self._discogs = discogs
        self._clock = clock
        self._limits = limits
        self._luck = Random(f"{seed}/retries")  # noqa: S311  reproducible, not secret
        self.latched = False
        """PostgreSQL was away at the first refresh: 503 until the next start, while `/health` is healthy."""
        self.sheds: list[Shed] = []
        self.restart()

    def restart(self) -> None:
        """Start anew, as after a deploy: the counter is 0, the breaker is closed, the limiter is free."""
        limits = self._limits
        self.live_requests = 0
        self.latched = False
        self.breaker = Breaker(
            floor=limits.breaker_floor, failures=limits.breaker_failures, seconds=limits.breaker_seconds
        )
        self.bulk_permits = asyncio.Semaphore(limits.bulk_permits)
        self._slots = asyncio.Semaphore(limits.at_once)
        self._low_slots = asyncio.Semaphore(limits.refresh_at_once)
        self._bucket = LeakyBucket(self._clock, limits.per_minute)

    async def call(self, kind: Caller, *, low: bool = False, missing: bool = False) -> DiscogsAnswer:
        """Make one live call, in the low-priority lane or not, and return Discogs' last answer to it.

        Raises DiscogsBreakerOpenError where the breaker sheds it, at once or while it waits to be tried again.
        """
        self.live_requests += 1
        ticket = self.breaker.admit(self._clock.now())
        if ticket is None:
            raise self._shed(kind)
        answered = False
        try:
            answer = await self._attempt(kind, low=low, missing=missing)
            for number in range(self._limits.retries):
                if answer.status != 429:
                    break
                await self._clock.sleep(self._delay(number, answer.retry_after))
                if self.breaker.sheds(ticket):
                    raise self._shed(kind)
                answer = await self._attempt(kind, low=low, missing=missing)
            if answer.status is not None:
                answered = True
                self.breaker.note_answer(self._clock.now(), ticket, answer.status, answer.remaining)
            return answer
        finally:
            if not answered:
                self.breaker.abandon(self._clock.now(), ticket)

    async def check(self) -> str:
        """Ask Discogs for `/health`, and return the state that `/health` reports.

        The check counts in Discogs' 60 calls a minute, but not in the counter, the limiter or the breaker.
        """
        answer = await self._discogs.ask("health", patience=self._limits.check_seconds)
        if answer.status is None:
            return "timeout" if answer.lost == "timeout" else "network-error"
        return _HEALTH_WORDS.get(answer.status, "upstream-error" if answer.status >= 500 else "error")

    async def _attempt(self, kind: Caller, *, low: bool, missing: bool) -> DiscogsAnswer:
        if low:
            async with self._low_slots, self._slots:
                await self._bucket.acquire()
                return await self._discogs.ask(kind, patience=self._limits.call_seconds, missing=missing)
        async with self._slots:
            await self._bucket.acquire()
            return await self._discogs.ask(kind, patience=self._limits.call_seconds, missing=missing)

    def _delay(self, number: int, retry_after: float | None) -> float:
        """Seconds before the next attempt after a 429; the slots are free meanwhile."""
        drawn = float(2**number) * self._luck.uniform(0.5, 1.5)
        return min(LONGEST_RETRY, drawn if retry_after is None else retry_after)

    def _shed(self, kind: Caller) -> DiscogsBreakerOpenError:
        self.sheds.append(Shed(self._clock.now(), kind))
        return DiscogsBreakerOpenError()
