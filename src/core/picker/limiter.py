"""The way to LML for a DJ's request and for the walk: permits, a bucket of calls, two breakers; seconds are paced."""

import random
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final, Literal, Protocol, TypeAlias

from core.clock import Clock
from core.picker.lookup import AnswerError

AT_ONCE: Final = 5
CALLS: Final = 50  # a minute
WALK_LEAVES: Final = 10  # calls of the bucket that are for DJs alone
QUEUE_SECONDS: Final = 5.0
BREAKER_TIMEOUTS: Final = 5  # in a row
BREAKER_SECONDS: Final = 30.0
WALK_SECONDS_APART: Final = 60 / (CALLS - WALK_LEAVES)
"""Between two calls of the walk: a burst of 40 on top of a minute's refill would be more than Discogs' 60."""
_MINUTE_MS: Final = 60_000
_CALL_MS: Final = _MINUTE_MS // CALLS
_LOST_RACE: Final = 0.05  # seconds, at most, before a call tries again that lost the bucket to another process
_LOOK_AGAIN: Final = 0.25  # seconds until the walk looks whether permits are free


_TRIAL_LOOK: Final = 1.0  # seconds until the walk looks whether the breaker's trial has ended

LmlRequest: TypeAlias = Literal["lookup", "release"]
"""What is asked of LML; each has a breaker of its own, so that slow lookups never keep a release away."""


class LmlBusyError(Exception):
    """A refusal of our own: the way to LML is full for longer than a caller may wait, or a breaker is open.

    `retry_after` is in how many seconds it is worth to ask again.
    """

    def __init__(self, message: str, retry_after: float = QUEUE_SECONDS) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class StillFetchingError(LmlBusyError):
    """A DJ could not wait for LML any longer; the call goes on, and what comes of it is kept."""


class YieldError(Exception):
    """The walk stands back for DJs, or while the breaker is open; `wait` seconds from now it may try again."""

    def __init__(self, wait: float) -> None:
        super().__init__(f"the walk stands back for {wait:.1f} s")
        self.wait = wait


class Meter(Protocol):
    """The store of the bucket's one number: the paced milliseconds at which it will be full again."""

    def read(self) -> int: ...

    def write(self, full_at: int, seen: int) -> bool:
        """Replace the number that was read; False when another caller was faster."""
        ...


class OwnMeter:
    """The bucket of a process that shares it with no other."""

    def __init__(self) -> None:
        self._full_at = 0
        self._lock = threading.Lock()

    def read(self) -> int:
        return self._full_at

    def write(self, full_at: int, seen: int) -> bool:
        with self._lock:
            if self._full_at != seen:
                return False
            self._full_at = full_at
            return True


def spend(full_at: int, now: int, *, leave: int) -> tuple[int, int]:
    """Take a call out of a bucket of 50 that refills at 50 a minute, unless fewer than `leave` would be left.

    All in paced milliseconds. Returns when the bucket will be full again, and how long this call has to wait for
    that; only at 0 may it start. The bucket holds CALLS - (full_at - now) / 1200 calls.
    """
    after = min(max(full_at, now), now + _MINUTE_MS) + _CALL_MS  # no debt is above a bucket, should the clock step back
    return after, max(0, after - now - (CALLS - leave) * _CALL_MS)


class CircuitBreaker:
    """Closed until 5 time-outs in a row; then open for 30 s, and then half-open: one call is the trial.

    Not safe for threads by itself; the limiter holds its lock around every method.
    """

    def __init__(self) -> None:
        self._timeouts = 0
        self._open_until: float | None = None
        self._trial = False

    def refuses(self, now: float) -> float:
        """Return the seconds for which it lets no call pass; 0 when it lets one."""
        if self._open_until is None:
            return 0.0
        return max(self._open_until - now, _TRIAL_LOOK if self._trial else 0.0)

    def let_through(self) -> None:
        """Note a call that starts: the trial, if the breaker was open."""
        self._trial = self._open_until is not None

    def note(self, now: float, *, timed_out: bool) -> None:
        """Note how a call ended; any answer, a bad one too, ends the row of time-outs."""
        self._trial = False
        self._timeouts = self._timeouts + 1 if timed_out else 0
        self._open_until = now + BREAKER_SECONDS if self._timeouts >= BREAKER_TIMEOUTS else None


class Limiter:
    """Admits calls: 5 at once, 50 a minute, after 5 s of queueing at most, past the breaker of their kind.

    The walk never takes the last permit, leaves 10 of the 50, in the bucket and in every minute, and does not queue
    here: it gets the time of its next try, so that no DJ who wants the same answer waits for a walk that waits for DJs.
    """

    def __init__(self, meter: Meter, clock: Clock) -> None:
        self._meter = meter
        self._clock = clock
        self._changed = threading.Condition()
        self._in_flight = 0
        self._breakers: dict[LmlRequest, CircuitBreaker] = {"lookup": CircuitBreaker(), "release": CircuitBreaker()}
        self._walk_from = 0.0

    @contextmanager
    def admitted(self, request: LmlRequest = "lookup", *, walk: bool = False) -> Iterator[None]:
        """Hold a permit and a call of the bucket while LML is asked; raises LmlBusyError, for the walk YieldError."""
        deadline = self._clock.pace() + QUEUE_SECONDS
        breaker = self._breakers[request]
        with self._changed:
            self._check(breaker, walk=walk)
        self._take_permit(deadline, walk=walk)
        try:
            self._take_call(deadline, walk=walk)
            with self._changed:  # others may have timed out meanwhile, and of those that waited one is the trial
                self._check(breaker, walk=walk)
                breaker.let_through()
            with self._watched(breaker):
                yield
        finally:
            with self._changed:
                self._in_flight -= 1
                self._changed.notify()

    def _take_permit(self, deadline: float, *, walk: bool) -> None:
        with self._changed:
            if walk and self._in_flight >= AT_ONCE - 1:
                raise YieldError(_LOOK_AGAIN)
            left = self._clock.wall(deadline - self._clock.pace())
            if not self._changed.wait_for(lambda: self._in_flight < AT_ONCE, left):
                raise LmlBusyError(f"{AT_ONCE} calls to LML were under way for {QUEUE_SECONDS:g} s")
            self._in_flight += 1

    def _take_call(self, deadline: float, *, walk: bool) -> None:
        while True:
            now = self._clock.pace()
            if walk and 0 < self._walk_from - now <= WALK_SECONDS_APART:
                raise YieldError(self._walk_from - now)
            seen = self._meter.read()
            full_at, wait = spend(seen, int(now * 1000), leave=WALK_LEAVES if walk else 0)
            if wait and walk:
                raise YieldError(wait / 1000)
            if now + wait / 1000 > deadline:
                raise LmlBusyError(f"{CALLS} calls to LML were made in the last minute", wait / 1000)
            if wait:
                self._clock.sleep(wait / 1000)
            elif self._meter.write(full_at, seen):
                self._walk_from = now + WALK_SECONDS_APART if walk else self._walk_from
                return
            else:
                self._clock.sleep(random.uniform(0, _LOST_RACE))  # noqa: S311 - jitter

    def _check(self, breaker: CircuitBreaker, *, walk: bool) -> None:
        left = breaker.refuses(self._clock.pace())
        if left > 0:
            if walk:
                raise YieldError(left)
            raise LmlBusyError(
                f"LML timed out {BREAKER_TIMEOUTS} times in a row; it is left alone for {left:.0f} s", left
            )

    @contextmanager
    def _watched(self, breaker: CircuitBreaker) -> Iterator[None]:
        timed_out = False
        try:
            yield
        except AnswerError as error:
            timed_out = error.cause == "timeout"
            raise
        finally:
            with self._changed:
                breaker.note(self._clock.pace(), timed_out=timed_out)
