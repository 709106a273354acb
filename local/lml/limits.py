"""The numbers of LML.md, and the one clock that all of the stand-in's waits go through."""

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
    """What LML and Discogs allow and cost; seconds are paced seconds."""

    per_minute: float = 50
    at_once: int = 5
    refresh_at_once: int = 2
    identities_at_once: int = 10
    ingress_seconds: float = 300
    identity_seconds: float = 0.010
    round_trip_seconds: float = 0
    discogs_per_minute: float = 60
    discogs_median_seconds: float = 0.33
    discogs_sigma: float = 0.4
    discogs_fastest_seconds: float = 0.15
    breaker_seconds: float = 60  # LML.md does not say; until one trial call may close it

    @classmethod
    def instant(cls) -> "Limits":
        """Return an LML that costs nothing, for tests of load."""
        return cls(
            per_minute=math.inf,
            at_once=10_000,
            refresh_at_once=10_000,
            identity_seconds=0,
            ingress_seconds=math.inf,
            discogs_per_minute=math.inf,
            discogs_median_seconds=0,
            discogs_fastest_seconds=0,
        )


class Clock:
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
