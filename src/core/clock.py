"""Time, passed in: real for ids, leases and deadlines; paced for pace and every wait (docs/design/settings.md)."""

import time
from datetime import UTC, datetime
from typing import Protocol


class Clock(Protocol):
    """What the job knows of time; paced seconds are wall seconds times `speed`, which is 1 outside demos."""

    speed: float

    def utc(self) -> datetime:
        """Return the real time, aware, in UTC: for ids, leases, claims and the table's TTL."""
        ...

    def pace(self) -> float:
        """Return paced seconds on the one scale that every process of this machine shares."""
        ...

    def sleep(self, seconds: float) -> None:
        """Wait that many paced seconds; zero or less is no wait."""
        ...

    def wall(self, seconds: float) -> float:
        """Translate paced seconds into wall seconds."""
        return seconds / self.speed


class SystemClock(Clock):
    def __init__(self, speed: float = 1.0) -> None:
        self.speed = speed

    def utc(self) -> datetime:
        return datetime.now(UTC)

    def pace(self) -> float:
        # Not the monotonic clock: the ledger's PACE item is written by one machine and read by another.
        return time.time() * self.speed

    def sleep(self, seconds: float) -> None:
        time.sleep(max(0.0, self.wall(seconds)))
