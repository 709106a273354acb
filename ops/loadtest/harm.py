"""What a day did to others: openings of LML's breaker, DJs' calls that it shed, and a full Discogs minute."""

from collections.abc import Callable, Iterable, Sequence
from statistics import fmean, median, stdev
from typing import Final

import msgspec

from local.lml.records import MINUTE, ReaderCall
from local.world import World
from ops.loadtest.slots import Day

FULL: Final = 57
"""Calls in Discogs' minute at which its answers open LML's breaker."""


class Harm(msgspec.Struct, frozen=True):
    """What happened in a stretch of time: openings of a closed breaker, DJs' calls shed, seconds of a full minute."""

    openings: int
    shed: int
    full_seconds: float


class Latency(msgspec.Struct, frozen=True):
    """How long answered readers waited, in seconds; 0 without readers."""

    p50: float
    p95: float


class Figures(msgspec.Struct, frozen=True, kw_only=True):
    """One day in numbers, beside the same day without the job."""

    seconds: float
    """Until the job's end; harm is counted for two minutes more, in which its calls still fill Discogs' minute."""
    identities: int
    without_verdict: int
    artists_missing: int
    """Artists of the day's identities that LML does not hold at the end."""
    refresh_calls: int
    rests: float
    """Seconds that the job rested because of the breaker or of Discogs."""
    job: Harm
    alone: Harm
    readers: Latency
    readers_alone: Latency

    @property
    def openings_added(self) -> int:
        return self.job.openings - self.alone.openings

    @property
    def shed_added(self) -> int:
        return self.job.shed - self.alone.shed


def figures(day: Day, alone: Day, identities: int, artists_missing: int = 0) -> Figures:
    """Measure a day; `alone` is the same one without the job, at least as long."""
    return Figures(
        seconds=day.makespan,
        identities=identities,
        without_verdict=identities - day.totals.identities_resolved,
        artists_missing=artists_missing,
        refresh_calls=sum(call.kind == "refresh" for call in day.calls),
        rests=day.rests,
        job=harm(day, day.seconds),
        alone=harm(alone, day.seconds),
        readers=latency(day.readings, day.seconds),
        readers_alone=latency(alone.readings, day.seconds),
    )


def harm(day: Day, until: float) -> Harm:
    """Count the harm of a day's first seconds."""
    return Harm(
        openings=sum(opening.after == "closed" and opening.at <= until for opening in day.openings),
        shed=sum(reading.outcome == "shed" and reading.at <= until for reading in day.readings),
        full_seconds=full_seconds([call.at for call in day.calls], until),
    )


def missing(day: Day, world: World) -> int:
    """Return how many artists of the day's releases LML has not stored."""
    _, wanted = world.fetched(world.identity_ids())
    return len(wanted - day.stored.artists) if day.stored else 0


def full_seconds(times: Sequence[float], until: float) -> float:
    """Return how long 57 or more of these ascending times lay within the last 60 s."""
    seconds, ends = 0.0, 0.0
    for oldest, newest in zip(times, times[FULL - 1 :], strict=False):
        start, end = max(newest, ends), min(oldest + MINUTE, until)
        if end > start:
            seconds += end - start
            ends = end
    return seconds


def latency(readings: Iterable[ReaderCall], until: float) -> Latency:
    waits = sorted(reading.seconds for reading in readings if reading.outcome != "shed" and reading.at <= until)
    return Latency(percentile(waits, 0.5), percentile(waits, 0.95))


def percentile(ascending: Sequence[float], share: float) -> float:
    """Return the nearest-rank percentile; 0 for no values."""
    return ascending[min(len(ascending) - 1, int(share * len(ascending)))] if ascending else 0.0


class Summary(msgspec.Struct, frozen=True, kw_only=True):
    """The days of several seeds: means of a day, unless said otherwise."""

    days: tuple[Figures, ...]

    def mean(self, of: Callable[[Figures], float]) -> float:
        return fmean(of(day) for day in self.days)

    def standard_error(self, of: Callable[[Figures], float]) -> float:
        """Return by how much a mean of other days would differ, about; 0 of a single day, which does not tell."""
        return stdev(of(day) for day in self.days) / len(self.days) ** 0.5 if len(self.days) > 1 else 0.0

    @property
    def openings_added(self) -> float:
        return self.mean(lambda day: day.openings_added)

    @property
    def openings_alone(self) -> float:
        return self.mean(lambda day: day.alone.openings)

    @property
    def shed_added(self) -> float:
        return self.mean(lambda day: day.shed_added)

    @property
    def full_minutes_added(self) -> float:
        return self.mean(lambda day: day.job.full_seconds - day.alone.full_seconds) / MINUTE

    @property
    def makespan(self) -> float:
        """Seconds, median."""
        return median(day.seconds for day in self.days)

    @property
    def slowest(self) -> float:
        """Seconds."""
        return max(day.seconds for day in self.days)

    @property
    def rests(self) -> float:
        """Seconds."""
        return self.mean(lambda day: day.rests)

    @property
    def refresh_calls(self) -> float:
        return self.mean(lambda day: day.refresh_calls)

    @property
    def without_verdict(self) -> int:
        """Of all days together."""
        return sum(day.without_verdict for day in self.days)

    @property
    def artists_missing(self) -> int:
        """Of all days together."""
        return sum(day.artists_missing for day in self.days)

    @property
    def p95(self) -> float:
        """Seconds, median over the days, of readers who were answered."""
        return median(day.readers.p95 for day in self.days)

    @property
    def p95_alone(self) -> float:
        return median(day.readers_alone.p95 for day in self.days)
