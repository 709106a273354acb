"""Days in the model: a few here, many in `rotation loadtest --lines`."""

from dataclasses import replace
from itertools import cycle

import pytest

from core.budget.pacing import TRIAL_AFTER
from local.lml.discogs import DiscogsTrouble
from local.lml.orders import Order
from ops.loadtest import lines
from ops.loadtest.patterns import PATTERNS, Pattern
from ops.loadtest.sweep import REPLACED, WHOLE, Case, at_pace, days, measure

FIVES = Case(pattern=PATTERNS["10 in fives"])


def figures_of(case: Case):
    return measure(case).figures[case.policies[0].name]


def test_the_same_seed_is_the_same_day():
    case = replace(FIVES, seed=5, identities=20)

    assert measure(case) == measure(case)


def test_a_cold_day_beside_ten_readers_opens_no_breaker_and_loses_nothing():
    day = figures_of(replace(FIVES, seed=2))

    assert (day.openings_added, day.without_verdict, day.artists_missing) == (0, 0, 0)
    assert day.seconds <= 160 * 60
    assert day.readers.p95 == pytest.approx(day.readers_alone.p95, rel=0.2)


def test_the_job_that_this_one_replaces_opens_the_breaker_and_loses_most_of_a_cold_day():
    day = figures_of(replace(FIVES, policies=(REPLACED,)))

    assert day.openings_added > 0
    assert day.without_verdict > 100
    assert day.artists_missing > 500


def test_a_request_of_fifty_opens_the_breaker_however_it_is_paced():
    day = figures_of(replace(FIVES, policies=(WHOLE,), identities=60))

    assert day.openings_added > 0
    assert day.without_verdict == 0


def test_a_faster_pace_is_done_sooner():
    case = replace(FIVES, policies=(at_pace(4), at_pace(8)), identities=40)
    slow, fast = (measure(case).figures[policy.name].seconds for policy in case.policies)

    assert slow == pytest.approx(2 * fast, rel=0.1)


def test_what_is_warm_costs_nothing_and_does_not_wait():
    day = figures_of(Case(pattern=lines.NOBODY, warm_percent=100, tombstones=False))

    assert day.refresh_calls == 0
    assert day.seconds <= lines.ALL_WARM_SECONDS


def starts_of(case: Case) -> list[float]:
    """When the job's requests came to Discogs: each first call of a row."""
    calls = [call.at for call in days(case)[0][case.policies[0].name].calls if call.kind == "refresh"]
    return [at for at, before in zip(calls[1:], calls, strict=False) if at - before > 5]


@pytest.mark.parametrize(("every", "calls"), [(75, 26), (90, 26), (40, 5)], ids=lambda number: f"{number}")
def test_after_an_opening_that_the_job_meets_it_pays_for_the_trial_and_not_djs_who_come_in_bursts(every, calls):
    """Given bursts every so many seconds; when the breaker opens just before or long before a request of the job.

    Then of DJs' next 100 calls at most 2 are shed, wherever in their rhythm it is. Left out are bursts that come while
    the breaker would not let even a trial in, and those of the four seconds until the job tries.
    """
    pattern = Pattern(readers=Order(calls * 60 / every, calls=calls, at_once=5, steady=True))
    starts = starts_of(Case(pattern=pattern, identities=lines.FEW))
    opens = [start - before for start, before in zip(starts, cycle((1.0, 8.0, 17.0)), strict=False) if start > 120]
    between = [at for at in opens if 5 < at % every < every - 20 - TRIAL_AFTER - 2][:4]

    told = [lines.shed_after_an_opening(1, at, pattern) for at in between]

    assert len(told) == 4
    assert all(met and shed <= lines.SHED_OF_100 for shed, met in told), told


def test_an_opening_that_the_job_meets_makes_the_day_longer_by_the_rest_alone():
    """One that falls between two of its requests is over by then: the next one is the trial, and closes it."""
    plain, *opened = (
        figures_of(Case(pattern=lines.NOBODY, breaker_opens=opens, identities=40)).seconds
        for opens in (None, 600, 610, 620)
    )

    assert 500 < max(opened) - plain <= lines.OPEN_BREAKER_SECONDS


def test_discogs_down_for_ten_minutes_of_a_cold_day_costs_no_identity_its_artists():
    day = figures_of(
        Case(pattern=lines.NOBODY, trouble=((600.0, DiscogsTrouble(condition="down", seconds=600)),), identities=80)
    )

    assert (day.without_verdict, day.artists_missing) == (0, 0)
    assert day.rests >= 600


@pytest.mark.parametrize("name", PATTERNS)
def test_every_pattern_has_readers_and_other_days_of_them(name):
    one, other = PATTERNS[name].seeded(1), PATTERNS[name].seeded(2)

    assert one.readers.per_minute > 0
    assert one != other
    assert isinstance(one, Pattern)
