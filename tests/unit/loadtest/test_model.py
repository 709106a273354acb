"""The load test's model."""

from ops.loadtest.sweep import TODAY_UNPUNISHED, Case, measure, open_loop


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
