"""Discogs as every caller with the station's token sees it.

docs/design/lml.md#the-way-of-one-discogs-call: it allows 60 calls in a moving minute and says in each answer
what is left. It may also be down, slow, or refuse.
"""

import math
from collections import deque
from random import Random
from typing import Final, Literal, NamedTuple, get_args

import msgspec

from local.lml.limits import Limits, LmlClock
from local.lml.records import MINUTE, Caller, DiscogsCall

Condition = Literal["well", "down", "unauthorized", "rate-limited", "unreachable", "slow"]


class DiscogsTrouble(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How Discogs answers for `seconds` from now (null: until it is changed)."""

    condition: Condition
    seconds: float | None = None
    header: bool = False
    """True if a 5xx or 429 has the header of what is left (not known); the breaker then opens sooner."""
    retry_after: float | None = None
    """Seconds that a 429 asks for; without it LML backs off."""
    latency: float = 30.0
    """Seconds until a slow answer: LML gives up after 10."""


class DiscogsAnswer(NamedTuple):
    """What came back: an HTTP status and what is left of the minute; without a status why none came."""

    status: int | None
    remaining: int | None = None
    retry_after: float | None = None
    lost: Literal["timeout", "network"] | None = None


_WELL: Final = DiscogsTrouble(condition="well")
_STATUS: Final = {"well": 200, "slow": 200, "down": 503, "unauthorized": 401, "rate-limited": 429}


class Discogs:
    """One token's Discogs, with a record of every call. A call that is refused counts in the minute too (not known)."""

    def __init__(self, clock: LmlClock, limits: Limits, seed: int) -> None:
        self._clock = clock
        self._limits = limits
        self._minute: deque[float] = deque()
        self._unlimited = math.isinf(limits.discogs_per_minute)
        self._trouble = _WELL
        self._until = math.inf
        self._mu = math.log(limits.discogs_median_seconds) if limits.discogs_median_seconds else -math.inf
        # A generator for each kind: readers meet the same latencies whether or not a refresh runs beside them.
        self._luck = {kind: Random(f"{seed}/{kind}") for kind in get_args(Caller)}  # noqa: S311  reproducible, not secret
        self.calls: list[DiscogsCall] = []

    def be(self, trouble: DiscogsTrouble) -> None:
        """Answer with this trouble from now on, for its `seconds`."""
        self._trouble = trouble
        self._until = math.inf if trouble.seconds is None else self._clock.now() + trouble.seconds

    @property
    def trouble(self) -> DiscogsTrouble:
        return self._trouble if self._clock.now() < self._until else _WELL

    async def ask(self, kind: Caller, *, patience: float, missing: bool = False) -> DiscogsAnswer:
        """Answer a call within the caller's `patience` (seconds), or not at all; `missing`: there is no such thing."""
        now, trouble = self._clock.now(), self.trouble
        used = self._used(now)
        latency = trouble.latency if trouble.condition == "slow" else self._latency(kind)
        status = _STATUS.get(trouble.condition)
        if status == 200:
            status = 429 if used > self._limits.discogs_per_minute else 404 if missing else 200
        silent = trouble.condition in {"down", "rate-limited"} and not trouble.header
        remaining = None if silent or self._unlimited else int(max(0, self._limits.discogs_per_minute - used))
        if latency > patience:
            status = None
        self.calls.append(DiscogsCall(now, kind, status))
        await self._clock.sleep(min(latency, patience))
        if status is None:
            return DiscogsAnswer(None, lost="timeout" if latency > patience else "network")
        return DiscogsAnswer(status, remaining, trouble.retry_after)

    def _used(self, now: float) -> int:
        """Count a call, and return how many lie in its minute."""
        minute = self._minute
        while minute and minute[0] <= now - MINUTE:
            minute.popleft()
        minute.append(now)
        return len(minute)

    def _latency(self, kind: Caller) -> float:
        if self._limits.discogs_median_seconds == 0:
            return 0.0
        drawn = self._luck[kind].lognormvariate(self._mu, self._limits.discogs_sigma)
        return max(self._limits.discogs_fastest_seconds, drawn)
