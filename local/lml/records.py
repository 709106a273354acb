"""The stand-in's record of each call, for `/_discogs`: the audit and the load test measure a run's harm with it."""

from bisect import bisect_right
from typing import Final, Literal, NamedTuple

MINUTE: Final = 60.0

Caller = Literal["refresh", "runtime", "health", "other", "staging"]
"""On whose behalf: the job, DJs, the check of `/health`, another job, or another LML with the same token."""


class DiscogsCall(NamedTuple):
    """A call that Discogs saw: paced time, on whose behalf, and the status; None where no answer came in time."""

    at: float
    kind: Caller
    status: int | None


class ReaderCall(NamedTuple):
    """One call of a reader: paced time of arrival, seconds until the answer, and its outcome."""

    at: float
    seconds: float
    outcome: Literal["answered", "shed", "failed"]


def busiest_minute(times: list[float]) -> int:
    """Return the most of these ascending times that lie within any 60 seconds."""
    return max((i + 1 - bisect_right(times, at - MINUTE) for i, at in enumerate(times)), default=0)
