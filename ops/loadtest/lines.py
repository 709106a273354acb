"""The limits that the chosen pace must keep: for each pattern of readers, for warm days and for days in trouble."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from itertools import islice
from statistics import fmean
from typing import Final

import msgspec

from local.lml.discogs import DiscogsTrouble
from local.lml.limits import Limits
from local.lml.orders import Order
from local.lml.records import MINUTE
from ops.loadtest.harm import Figures, Summary
from ops.loadtest.model import ROUND_TRIP
from ops.loadtest.patterns import PATTERNS, Pattern
from ops.loadtest.slots import Day
from ops.loadtest.sweep import CHOSEN, Case, SweepProgress, days, measure_all

KINDS_OF_DAY: Final = 5
"""Days that `of_days_in_trouble` simulates on each seed, for its progress bar."""
NOBODY: Final = Pattern(readers=Order(0))
OPENS: Final = 600.0
BURSTS: Final = PATTERNS["bursts of 25 every 75 s"]
OUTAGE: Final = (3600.0, 600.0)
"""When Discogs goes down in the middle of a cold day, and for how long."""
QUICK: Final = Limits(round_trip_seconds=ROUND_TRIP, identity_seconds=0.010)
NEXT_CALLS: Final = 100
"""DJs' calls after an opening that are looked at."""
MOMENTS: Final = range(5, 54, 3)
"""Seconds after a burst at which the breaker opens: the burst is over, and the 20 s end before the next."""
SEEDS_OF_BURSTS: Final = 4
FEW: Final = 50
"""Identities of a day that has lasted long enough when the 100 calls are over."""


class Line(msgspec.Struct, frozen=True):
    """A value and its limit; without a limit it is only shown."""

    what: str
    measured: float
    limit: float | None
    unit: str = ""
    error: float = 0.0
    """One standard error of what was measured, where that is a mean of days."""

    @property
    def holds(self) -> bool:
        return self.limit is None or self.measured <= self.limit


OPENINGS_AND_SHED: Final[dict[str, tuple[float | None, float | None]]] = {
    "2 in fives": (0, None),
    "5 in fives": (0, None),
    "20 singly": (0, None),
    "10 in fives": (0.1, None),
    "10 geometric, mean five": (1, None),
    "20 in fives": (4.5, 35),
    "20 in fives at once": (4.5, 35),
    "10 in fives, staging 5 unseen": (1, None),
}
"""The most openings a day that the job may add, and the most DJs' calls shed, beside a pattern on a cold day."""
MAKESPAN_MINUTES: Final = {"10 in fives": 160.0}
WARM_DAYS: Final = {90: (0.5, 20.0), 95: (0.5, 10.0)}
"""By percent warm, 20 in fives: the most openings added, and minutes."""
ALL_WARM_SECONDS: Final = 15.0
OPEN_BREAKER_SECONDS: Final = 620.0
"""By how much a day is longer beside nobody where the breaker opens once."""
SHED_OF_100: Final = 2


def of_cold_days(summaries: dict[str, Summary]) -> Iterator[Line]:
    """Yield the lines of cold days, from the chosen pace's summaries by pattern."""
    for name, summary in summaries.items():
        openings, shed = OPENINGS_AND_SHED.get(name, (None, None))
        yield _mean(f"{name}: openings added a day", summary, lambda day: day.openings_added, openings)
        yield _mean(f"{name}: DJs' calls shed a day, added", summary, lambda day: day.shed_added, shed)
        yield Line(f"{name}: makespan, median", summary.makespan / MINUTE, MAKESPAN_MINUTES.get(name), "min")
        yield Line(f"{name}: identities without a verdict", summary.without_verdict, 0)
        yield Line(f"{name}: artists that LML lacks at the end", summary.artists_missing, 0)


def of_warm_days(summaries: dict[int, Summary]) -> Iterator[Line]:
    """Yield the lines of days that are warm, from summaries by percent."""
    for percent, summary in summaries.items():
        openings, minutes = WARM_DAYS.get(percent, (None, None))
        what = f"{percent} % warm, 20 in fives: openings added a day"
        yield _mean(what, summary, lambda day: day.openings_added, openings)
        yield Line(f"{percent} % warm, 20 in fives: makespan, median", summary.makespan / MINUTE, minutes, "min")
        yield Line(f"{percent} % warm, 20 in fives: identities without a verdict", summary.without_verdict, 0)


def _mean(what: str, summary: Summary, of: Callable[[Figures], float], limit: float | None) -> Line:
    return Line(what, summary.mean(of), limit, error=summary.standard_error(of))


def of_days_in_trouble(seeds: Sequence[int], progress: SweepProgress) -> Iterator[Line]:
    """Simulate the days that have a line and are neither cold nor warm alone, and yield their lines."""
    kinds = {
        "plain": Case(pattern=NOBODY, tombstones=False),
        "opened": Case(pattern=NOBODY, tombstones=False, breaker_opens=OPENS),
        "warm": Case(pattern=NOBODY, warm_percent=100, lml=QUICK, tombstones=False),
        "tombstones": Case(pattern=NOBODY, warm_percent=100, lml=QUICK),
        "outage": Case(pattern=NOBODY, trouble=((OUTAGE[0], DiscogsTrouble(condition="down", seconds=OUTAGE[1])),)),
    }
    cases = [
        replace(case, seed=seed, breaker_opens=case.breaker_opens and case.breaker_opens + 10 * (seed % 3))
        for case in kinds.values()
        for seed in seeds
    ]
    measured = measure_all(cases, progress)
    found = {
        name: Summary(days=tuple(day.figures[CHOSEN.name] for day in islice(measured, len(seeds)))) for name in kinds
    }
    pairs = zip(found["opened"].days, found["plain"].days, strict=True)
    longer = max(opened.seconds - plain.seconds for opened, plain in pairs)
    yield Line(
        "breaker opened at 600 s, nobody reads, no tombstones: longer by, most", longer, OPEN_BREAKER_SECONDS, "s"
    )
    yield Line("breaker opened at 600 s: identities without a verdict", found["opened"].without_verdict, 0)
    yield Line("100 % warm, no tombstones: makespan, slowest", found["warm"].slowest, ALL_WARM_SECONDS, "s")
    yield Line("100 % warm, tombstones asked again: makespan, slowest", found["tombstones"].slowest, None, "s")
    yield Line("100 % warm: the job's calls to Discogs", found["warm"].refresh_calls, 0)
    yield Line("Discogs down for ten minutes: identities without a verdict", found["outage"].without_verdict, 0)
    yield Line("Discogs down for ten minutes: artists that LML lacks at the end", found["outage"].artists_missing, 0)
    yield from of_openings_between_bursts(seeds[:SEEDS_OF_BURSTS])


def of_openings_between_bursts(seeds: Sequence[int]) -> Iterator[Line]:
    """Simulate an opening at many moments between two bursts, and yield who paid for the trial that ended it.

    Only an opening that a request of the job meets can be known of; without the job each costs a burst.
    """
    every = [shed_after_an_opening(seed, OPENS + moment) for seed in seeds for moment in MOMENTS]
    of_next = f"of the next {NEXT_CALLS} DJ calls shed"
    for what, met in (("met by a request of ours", True), ("met by none", False)):
        shed = [some for some, was_met in every if was_met is met] or [0]
        share = f"bursts of 25, one opening between, {what} ({len(shed)} of {len(every)}): {of_next}"
        yield Line(f"{share}, mean", fmean(shed), None)
        yield Line(f"{share}, most", max(shed), SHED_OF_100 if met else None)


def shed_after_an_opening(seed: int, opens: float, pattern: Pattern = BURSTS) -> tuple[int, bool]:
    """Return how many of DJs' next 100 calls are shed after one opening, and whether the job met it while it shed.

    DJs should come in bursts, and none while the breaker would not even let a trial in.
    """
    case = Case(pattern=pattern, seed=seed, breaker_opens=opens, identities=FEW)
    day = days(case)[0][CHOSEN.name]
    return shed_of_next(day, opens), day.rests > 0


def shed_of_next(day: Day, at: float) -> int:
    """Return how many of the next 100 DJ calls after a time were shed."""
    later = sorted(reading for reading in day.readings if reading.at > at)[:NEXT_CALLS]
    return sum(reading.outcome == "shed" for reading in later)


def of_the_stand_in(there: Summary, model: Summary) -> Iterator[Line]:
    """Yield the differences between stand-in and model on the same seeds."""
    for what, one, other in (
        ("makespan", there.makespan, model.makespan),
        ("refresh calls to Discogs", there.refresh_calls, model.refresh_calls),
    ):
        yield Line(
            f"stand-in and model: {what}, {one:,.4g} and {other:,.4g}", 100 * abs(one - other) / max(other, 1), 10, "%"
        )
    yield Line("stand-in: identities without a verdict", there.without_verdict, 0)
    yield Line("stand-in: openings added a day", there.openings_added, None)
    yield Line("model: openings added a day", model.openings_added, None)
