"""The pass lines of the load test: what must hold of a cold day, a warm one, and the days that are neither."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Final, NamedTuple

import msgspec
from msgspec.structs import replace as replaced

from core.settings import Pacing
from local.lml.limits import Limits
from ops.loadtest.measures import Summary
from ops.loadtest.model import ROUND_TRIP
from ops.loadtest.slots import SLOTS
from ops.loadtest.sweep import MEASURED, Case, Progress, sweep

IDENTITIES: Final = 310
KINDS_OF_DAY: Final = 10
"""How many days `prove` simulates on each seed."""
LEAST_READINGS: Final = 80
"""Readings without the job from which a p95 says something; in the model readers do the same with and without it."""
BREAKER_OPENS: Final = 600.0
BREAKER_SECONDS: Final = 600.0


class Line(msgspec.Struct, frozen=True):
    """Something that must not be exceeded; without a limit it is only reported."""

    what: str
    measured: float
    limit: float | None
    unit: str = ""

    @property
    def holds(self) -> bool:
        return self.limit is None or self.measured <= self.limit


class Bounds(NamedTuple):
    """The lines of one rate of readers: the median day (or all days together), and the worst."""

    seconds: float
    slowest: float
    over_50: float
    over_50_at_worst: float
    over_60_at_worst: float
    p95_ratio: float


COLD_DAY: Final = {
    20.0: Bounds(3600, 3950, 0.02, 0.04, 0.007, 1.05),
    10.0: Bounds(2500, 2700, 0.005, 0.015, 0, 1.10),
    2.0: Bounds(2000, 2100, 0, 0.001, 0, 1.10),
}


def lines_of_a_cold_day(days: Summary, readers: float, limits: Pacing) -> Iterator[Line]:
    """Yield the lines of the issue's table, for one rate of readers."""
    bounds = COLD_DAY[readers]
    who = f"{readers:g} readers a minute: "
    yield Line(who + "identities without a verdict", days.without_verdict, 0)
    yield Line(who + "makespan, median", days.seconds, bounds.seconds, "s")
    yield Line(who + "makespan, slowest", days.slowest, bounds.slowest, "s")
    yield Line(who + "time over 50 calls, all days", 100 * days.over_50, 100 * bounds.over_50, "%")
    yield Line(who + "time over 50 calls, worst day", 100 * days.over_50_at_worst, 100 * bounds.over_50_at_worst, "%")
    yield Line(who + "time over 60 calls, median", 100 * days.over_60, 0, "%")
    yield Line(who + "time over 60 calls, worst day", 100 * days.over_60_at_worst, 100 * bounds.over_60_at_worst, "%")
    yield Line(who + "own calls in any 60 s, median", days.own_most_in_a_minute, limits.budget + 6)
    yield Line(who + "own calls in any 60 s, most", days.own_most_at_worst, limits.budget + days.dearest_slice, "calls")
    yield Line(who + "readers' p95, in units of theirs alone", days.p95_ratio, bounds.p95_ratio)
    yield Line(who + "dearest slice", days.dearest_slice, None, "calls")
    yield Line(who + "longest request", days.longest_request, 60, "s")


def prove(seeds: Sequence[int], progress: Progress) -> Iterator[Line]:
    """Simulate every day that has a line, on these seeds, and yield the lines."""

    def days(day: Case) -> Summary:
        return sweep([MEASURED], [replace(day, seed=seed) for seed in seeds], progress)[MEASURED.name]

    for readers in COLD_DAY:
        yield from lines_of_a_cold_day(days(Case(readers=readers)), readers, MEASURED.limits)
    for seconds, limit in ((0.010, 90), (0.080, 110)):
        warm = days(Case(warm=IDENTITIES, lml=Limits(round_trip_seconds=ROUND_TRIP, identity_seconds=seconds)))
        who = f"warm day, {1000 * seconds:g} ms an id: "
        yield Line(who + "makespan, slowest", warm.slowest, limit, "s")
        yield Line(who + "identities without a verdict", warm.without_verdict, 0)
        yield Line(who + "refresh calls to Discogs", sum(day.refresh_calls for day in warm.days), 0)
    turning = days(Case(warm=200))
    yield Line("200 warm ids, then 110 cold: most calls in any 60 s", turning.most_in_a_minute, 62)
    yield Line("200 warm ids, then 110 cold: identities without a verdict", turning.without_verdict, 0)
    bursts = days(Case(burst=4))
    yield Line("readers in fours: identities without a verdict", bursts.without_verdict, 0)
    yield Line("readers in fours: time over 50 calls", 100 * bursts.over_50, None, "%")
    yield Line("readers in fours: what they do alone", 100 * bursts.alone_over_50, None, "%")
    heavy = days(Case(readers=0, steady_per_minute=25))
    yield Line("another job of 25 calls a minute: time over 50 calls", 100 * heavy.over_50, 5, "%")
    yield Line("another job of 25 calls a minute: identities without a verdict", heavy.without_verdict, 0)
    yield Line("another job of 25 calls a minute: makespan, median", heavy.seconds, None, "s")
    crowd = days(Case(readers=40))
    yield Line("40 readers a minute: identities without a verdict", crowd.without_verdict, 0)
    yield Line("40 readers a minute: makespan, slowest", crowd.slowest, 60 * IDENTITIES, "s")
    yield Line("40 readers a minute: of its waits, for room", 100 * crowd.share_waited("room"), None, "%")
    patient = Limits(round_trip_seconds=ROUND_TRIP, breaker_seconds=BREAKER_SECONDS)
    shut = days(Case(breaker_opens=BREAKER_OPENS, lml=patient))
    yield Line("breaker open for 10 minutes: identities without a verdict", shut.without_verdict, 0)
    yield Line("breaker open for 10 minutes: requests sent, most", max(day.sent_while_open for day in shut.days), SLOTS)
    yield Line("breaker open for 10 minutes: makespan, median", shut.seconds, None, "s")


def lines_of_the_stand_in(stand_in: Summary, model: Summary, case: Case) -> Iterator[Line]:
    """Yield how far stand-in and model are apart on the same seeds, and of a whole cold day all its lines.

    Where few read, the p95 of those who read alone is chance: it is reported, and no line.
    """
    few = any(day.readings_alone < LEAST_READINGS for day in stand_in.days)
    for line in _lines_of_the_stand_in(stand_in, model, case):
        yield replaced(line, limit=None) if few and "p95" in line.what else line


def _lines_of_the_stand_in(stand_in: Summary, model: Summary, case: Case) -> Iterator[Line]:
    for what, there, here in (
        ("makespan", stand_in.seconds, model.seconds),
        ("refresh calls to Discogs", stand_in.refresh_calls, model.refresh_calls),
        ("own calls in any 60 s", stand_in.own_most_in_a_minute, model.own_most_in_a_minute),
        ("readers' p95 by theirs alone", stand_in.p95_ratio, model.p95_ratio),
    ):
        apart = 100 * abs(there - here) / max(here, 1)
        yield Line(f"stand-in and model: {what}, {there:,.4g} and {here:,.4g}", apart, 10, "%")
    if case.readers in COLD_DAY and case.identities == IDENTITIES and not case.warm:
        yield from lines_of_a_cold_day(stand_in, case.readers, case.policy.limits)
