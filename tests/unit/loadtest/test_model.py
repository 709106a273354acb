"""Days in the model: a few here, many in `rotation loadtest --lines`."""

from dataclasses import replace

import pytest

from local.lml.discogs import DiscogsTrouble
from ops.loadtest import lines
from ops.loadtest.patterns import PATTERNS, Pattern
from ops.loadtest.sweep import REPLACED, WHOLE, Case, at_pace, measure

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


@pytest.mark.parametrize("after_burst", [6.0, 24.0, 42.0, 50.0])
def test_after_an_opening_that_the_job_meets_it_pays_for_the_trial_and_not_djs_who_come_in_bursts(after_burst):
    shed, met = lines.shed_after_an_opening(seed=1, after_burst=after_burst)

    assert shed <= lines.SHED_OF_100 or not met


def test_most_openings_are_met():
    assert sum(lines.shed_after_an_opening(seed=1, after_burst=at)[1] for at in (6.0, 24.0, 42.0, 50.0)) >= 2


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
