"""A clock for tests: a sleep takes no time and moves the clock on."""

from datetime import UTC, datetime, timedelta

from core.clock import Clock


class VirtualClock(Clock):
    """Starts at a fixed moment; `sleeps` lists every wait in paced seconds."""

    def __init__(self, start: datetime = datetime(2026, 2, 3, 4, 30, tzinfo=UTC), speed: float = 1.0) -> None:
        self.speed = speed
        self.sleeps: list[float] = []
        self._now = start

    def utc(self) -> datetime:
        return self._now

    def pace(self) -> float:
        return self._now.timestamp() * self.speed

    def sleep(self, seconds: float) -> None:
        self.sleeps.append(seconds)
        self.advance(max(0.0, seconds))

    def advance(self, seconds: float) -> None:
        """Move on by paced seconds, as other people's time does; below zero is a clock that steps back."""
        self._now += timedelta(seconds=self.wall(seconds))
