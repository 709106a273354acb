"""What one slice may hold, how long it may take, what it has cost, and the wait after one that failed (DESIGN §6).

Pure. Times are paced seconds, costs are Discogs calls.
"""

from typing import Final

import msgspec

from core.settings import LML_REFRESH_BATCH_CAP

FIRST_COST: Final = 4.0
LEAST_COST: Final = 0.1
DEAREST_COST: Final = 20.0
SMOOTHING: Final = 0.2
"""Weight of the newest slice in the smoothed cost of an id."""
CALLS_OF_AN_ID: Final = 21
"""The most that one identity costs: a release and its artists (LML.md)."""
CALLS_AT_ONCE: Final = 2
"""Discogs calls that LML makes side by side for this kind of request."""
FASTEST_CALL: Final = 0.15
"""Seconds of Discogs' fastest answer."""
LONGEST_BACKOFF: Final = 300.0
"""Seconds of the longest wait after failed requests."""


class SliceSize(msgspec.Struct):
    """How many ids a slot asks for next, and what it expects each to cost: learned from its last slices."""

    most: int
    cost_per_id: float = FIRST_COST
    _ids: int = 1

    @property
    def ids(self) -> int:
        """One while the cache is cold, two, then the maximum; always the maximum where that is a full message."""
        return self.most if self.most == LML_REFRESH_BATCH_CAP else min(self._ids, self.most)

    def learn(self, *, ids: int, cost: float) -> None:
        """Take in a slice that counted outcomes: less than one call an id makes the next larger, else it is one."""
        each = cost / ids
        self.cost_per_id += SMOOTHING * (min(DEAREST_COST, max(LEAST_COST, each)) - self.cost_per_id)
        self._ids = 1 if each >= 1 else (2 if self._ids == 1 else self.most)


def slice_cost(*, ids: int, outcomes: int | None, elapsed: float, round_trip: float, rate_limit: float) -> float:
    """Discogs calls of a slice: the lowest of its bounds; `outcomes` is None when no usable body came.

    LML does not say what was a cache hit. It cannot have made more calls than the outcomes that it lists, than its two
    slots have time for (`elapsed` less the `round_trip` of an empty request), or than its limiter lets through. What
    took less time than Discogs' fastest answer made no call.
    """
    worked = max(0.0, elapsed - round_trip)
    by_time = worked * CALLS_AT_ONCE / FASTEST_CALL if worked >= FASTEST_CALL else 0.0
    limiter = min(ids * CALLS_OF_AN_ID, _let_through(max(0.0, elapsed), rate_limit))
    if outcomes is None:
        return max(float(ids), min(by_time, limiter))
    return min(float(outcomes), by_time, limiter)


def back_off(failures: int, retry_after: float | None, fraction: float) -> float:
    """Seconds to wait after `failures` failed requests in a row; `fraction` is random in 0..1 (full jitter)."""
    return max(fraction * min(LONGEST_BACKOFF, 2.0 * 2.0 ** min(failures, 30)), retry_after or 0.0)


def request_limit(ids: int) -> float:
    """Seconds that a request of `ids` may take, body included: below LML's own end only where it cannot matter."""
    return min(330.0, max(60.0, ids * 30.0))


def _let_through(seconds: float, rate_limit: float) -> float:
    """The most calls that LML's bucket, full at the start, lets through in a time."""
    return rate_limit * (1 + seconds / 60)
