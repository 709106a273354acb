"""The shortest possible day, as if every reader's next call were known: no pace can be faster."""

from bisect import bisect_left, bisect_right, insort
from collections.abc import Sequence
from typing import Final

from local.lml.records import MINUTE

MOST: Final = 56
"""The most calls in any minute: with one more, Discogs' header has 3 left, and LML's breaker opens."""
BETWEEN: Final = MINUTE / 50
"""Seconds between two of the job's calls: LML's limiter lets 50 a minute through."""
_ROUNDING: Final = 1e-6


def finish(others: Sequence[float], calls: int) -> float:
    """Return when so many calls are made."""
    return schedule(others, calls)[-1] + BETWEEN if calls else 0.0


def schedule(others: Sequence[float], calls: int) -> list[float]:
    """Return when each of so many calls is made, as early as no minute gets too full by it; `others` are ascending.

    Minutes that others fill by themselves are left to them. After the last of `others` nobody calls.
    """
    times, made, at = list(others), list[float](), 0.0
    for _ in range(calls):
        while (wait_until := _too_full(times, at)) is not None:
            at = wait_until
        insort(times, at)
        made.append(at)
        at += BETWEEN
    return made


def _too_full(times: Sequence[float], at: float) -> float | None:
    """Return the earliest time worth a try where a call at `at` would overfill a minute, or None where it would not."""
    first, after = bisect_right(times, at - MINUTE), bisect_left(times, at + MINUTE)
    for oldest in range(after - MOST, first - 1, -1):
        # With this call, these 56 are one too many if they all lie within a minute.
        if max(times[oldest + MOST - 1], at) - min(times[oldest], at) < MINUTE:
            return times[oldest] + MINUTE + _ROUNDING
    return None
