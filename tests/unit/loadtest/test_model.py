"""The pass lines of the load test, in the model: a few days here, thirty of each in `make loadtest`."""

import pytest

from core.settings import Pacing
from ops.loadtest.measures import Summary
from ops.loadtest.proof import COLD_DAY, lines_of_a_cold_day, prove
from ops.loadtest.sweep import TODAY_UNPUNISHED, Case, measure, open_loop


def test_every_line_holds_on_one_day_of_each_kind():
    """The medians are lines of thirty days; seed 2 is a day like most."""
    broken = [line for line in prove([2], lambda: None) if not line.holds]

    assert broken == []


@pytest.mark.parametrize("readers", COLD_DAY)
def test_the_lines_of_a_cold_day_hold_on_other_days_too(readers):
    days = Summary(days=tuple(measure(Case(seed=seed, readers=readers)) for seed in (101, 102)))

    assert [line for line in lines_of_a_cold_day(days, readers, Pacing()) if not line.holds] == []


def test_the_same_seed_is_the_same_day():
    case = Case(seed=5, identities=20)

    assert measure(case) == measure(case)


def test_the_job_of_today_loses_most_of_a_cold_day_and_makes_readers_wait():
    day = measure(Case(policy=TODAY_UNPUNISHED))

    assert day.without_verdict == 300
    assert day.most_in_a_minute > 90
    assert day.readers.p50 > 10 * day.readers_alone.p50


def test_an_lml_that_tells_nothing_gets_the_open_loops_budget():
    day = measure(Case(policy=open_loop(20), identities=60))

    assert day.without_verdict == 0
    assert day.own_most_in_a_minute <= 20 + day.dearest_slice
