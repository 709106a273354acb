"""The numbers of LML and Discogs, and the one clock that all of the stand-in's waits go through.

Each comes from docs/design/lml.md, which has it from LML's own documents; nobody has measured it.
"""

import asyncio
import math
import time
from dataclasses import dataclass
from typing import Final

SHORTEST_TIMER: Final = (
    0.0005  # wall seconds: an event loop's timers are a millisecond wide, less than half rounds to 0
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What LML and Discogs allow and cost; seconds are paced seconds. A field that no document gives is marked."""

    # A process of LML.
    workers: int = 1
    """Processes behind one address; three are said to have run, with 16 calls a minute each."""
    per_minute: float = 50
    at_once: int = 5
    refresh_at_once: int = 2
    """Of the calls at once, those of the low-priority lane."""
    bulk_permits: int = 5
    """Identities at work at once in a process, all requests together; production is said to have 2."""
    identities_at_once: int = 10
    retries: int = 5
    """Of a call that Discogs answered 429."""
    call_seconds: float = 10
    check_seconds: float = 3
    """How long the check of `/health` waits for Discogs. No document says it; LML's code had this number."""
    breaker_floor: int = 3
    breaker_failures: int = 4
    breaker_seconds: float = 20
    ingress_seconds: float = 300
    identity_seconds: float = 0.010
    round_trip_seconds: float = 0
    lookup_calls: int = 4
    """Discogs calls of a cold lookup of artist and album, one after another."""
    lookup_seconds: float = 0
    """What a cold lookup takes beside its calls: 4 to 20 s where the release is not in the library."""
    release_seconds: float = 0
    """What a cold release takes beside its call: 2 to 9 s are said."""

    # Discogs.
    discogs_per_minute: float = 60
    discogs_median_seconds: float = 0.33
    discogs_sigma: float = 0.4
    discogs_fastest_seconds: float = 0.15

    @classmethod
    def instant(cls) -> "Limits":
        """Return limits of an LML whose work takes no time, for tests of load."""
        return cls(
            per_minute=math.inf,
            at_once=10_000,
            refresh_at_once=10_000,
            bulk_permits=10_000,
            identity_seconds=0,
            ingress_seconds=math.inf,
            discogs_per_minute=math.inf,
            discogs_median_seconds=0,
            discogs_fastest_seconds=0,
        )


class LmlClock:
    """Paced time: wall time times `speed`, on the scale of `core.clock`, the same in every process of the machine."""

    def __init__(self, speed: float = 1) -> None:
        self.speed = speed

    def now(self) -> float:
        return time.time() * self.speed

    def wall(self, seconds: float) -> float:
        return seconds / self.speed

    async def sleep(self, seconds: float) -> None:
        wall = self.wall(seconds)
        await asyncio.sleep(wall if wall >= SHORTEST_TIMER else 0)
