"""The pace's arithmetic: when a slice may start, what it costs, and why everybody rests."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.budget import pacing
from core.budget.pacing import BREAKER_REST, DEAREST_COST, EXPECTED_COST, TRIAL_GRACE, Pace
from core.budget.throttle import LONGEST_REQUEST
from core.settings import Pacing

LIMITS = Pacing()
T = 1_770_000_000.0
CALL = 60 / LIMITS.budget
"""Seconds of one call at the pace."""
TRIAL = pacing.TRIAL_AFTER


def test_a_fresh_pace_lets_one_slice_start_and_the_next_wait_for_what_it_is_expected_to_cost():
    pace = pacing.start(Pace(), T, LIMITS, 1)

    assert pacing.wait(Pace(), T, LIMITS) == 0
    assert pacing.wait(pace, T, LIMITS) == EXPECTED_COST * CALL


@pytest.mark.parametrize("cost", [0, 1, EXPECTED_COST, DEAREST_COST])
def test_once_a_slice_is_answered_the_next_waits_for_what_it_has_cost(cost):
    assert pacing.settled(T, LIMITS, cost).next_start == T + cost * CALL


def test_no_pause_saves_up_for_a_burst():
    pace = pacing.start(Pace(next_start=T - 3600), T, LIMITS, 2)

    assert pacing.wait(pace, T, LIMITS) == 8 * CALL


def test_what_a_slice_cost_more_than_expected_is_owed_although_another_has_started():
    assert pacing.owing(Pace(next_start=T), LIMITS, 17).next_start == T + 17 * CALL


@pytest.mark.parametrize(
    ("limits", "furthest"),
    [
        pytest.param(LIMITS, BREAKER_REST + DEAREST_COST * CALL, id="a rest and a dear identity"),
        pytest.param(Pacing(budget=30), BREAKER_REST + DEAREST_COST * 2, id="a faster pace"),
        pytest.param(Pacing(slice_max=50), 50 * DEAREST_COST * CALL, id="a dear request of 50"),
    ],
)
def test_a_start_further_ahead_than_anything_writes_means_a_clock_that_was_set_back(limits, furthest):
    assert pacing.wait(Pace(next_start=T + furthest), T, limits) == pytest.approx(furthest)
    assert pacing.wait(Pace(next_start=T + furthest + 1), T, limits) == 0


@given(st.integers(1, 50), st.integers(1, 30), st.booleans(), st.integers(0, DEAREST_COST))
def test_nothing_that_is_written_is_taken_for_a_clock_that_was_set_back(ids, budget, settled, each):
    limits = Pacing(budget=budget, slice_max=50 if ids > 4 else 4)
    state = pacing.settled(T, limits, ids * each) if settled else pacing.start(Pace(), T, limits, ids)

    for pace in (state, pacing.trial_passed(state, T), pacing.discogs_down(state, T, "error")):
        assert pacing.wait(pace, T, limits) == pytest.approx(max(0.0, pace.next_start - T))


# What a slice cost


@pytest.mark.parametrize(
    ("ids", "outcomes", "elapsed", "calls"),
    [
        pytest.param(1, 4, 10.0, 4, id="cold: what LML lists"),
        pytest.param(1, 4, 0.04, 0, id="cached: no time for a call"),
        pytest.param(4, 16, 0.1, 0, id="four cached"),
        pytest.param(1, 4, 0.33, 2, id="one identity's calls come one after another"),
        pytest.param(2, 8, 0.33, 4, id="two go side by side"),
        pytest.param(50, 200, 0.33, 4, id="and no more than two"),
        pytest.param(1, 4, 0.01, 0, id="faster than the round trip"),
        pytest.param(3, 0, 10.0, 0, id="not found"),
    ],
)
def test_a_slice_costs_the_lower_of_what_lml_lists_and_what_its_lanes_have_time_for(ids, outcomes, elapsed, calls):
    assert pacing.slice_cost(ids=ids, outcomes=outcomes, elapsed=elapsed, round_trip=0.03) == calls


@given(st.integers(1, 50), st.integers(0, 50 * DEAREST_COST), st.floats(0, LONGEST_REQUEST), st.floats(0, 10))
def test_a_cost_is_a_whole_number_within_its_bounds(ids, outcomes, elapsed, round_trip):
    cost = pacing.slice_cost(ids=ids, outcomes=outcomes, elapsed=elapsed, round_trip=round_trip)

    assert 0 <= cost <= outcomes
    assert isinstance(cost, int)


@pytest.mark.parametrize(("most", "cold", "warm"), [(4, 1, 4), (1, 1, 1), (49, 1, 49), (50, 50, 50)])
def test_a_slice_is_one_identity_until_one_cost_nothing_and_a_full_message_stays_whole(most, cold, warm):
    limits = Pacing(slice_max=most)

    assert (pacing.slice_size(limits, warm=False), pacing.slice_size(limits, warm=True)) == (cold, warm)


# The breaker, and Discogs down


def test_after_a_shed_its_identity_goes_alone_in_a_moment_and_the_other_slots_leave_it_to_its_owner():
    pace = pacing.shed(Pace(next_start=T + 5), T, 17, is_trial=False)

    assert pacing.wait(pace, T, LIMITS, holds_trial=True) == TRIAL
    assert pacing.wait(pace, T, LIMITS) == TRIAL + TRIAL_GRACE
    assert pace.in_words(T + 1) == ("has rested for 1 s, since LML's breaker is open: identity 17 goes alone in 3 s")


def test_a_trial_that_is_shed_goes_again_as_soon_and_one_that_is_not_begins_the_rest():
    pace = pacing.shed(Pace(), T, 17, is_trial=False)
    started = pacing.start(pace, T + TRIAL, LIMITS, 1)
    again = pacing.shed(started, T + 26, 17, is_trial=True)

    assert (again.rest, again.trial, pacing.wait(again, T + 26, LIMITS, holds_trial=True)) == ("trial", 17, TRIAL)

    rest = pacing.trial_passed(again, T + 52)

    assert pacing.wait(rest, T + 52, LIMITS) == BREAKER_REST
    assert (
        rest.in_words(T + 60)
        == f"has rested for 60 s and rests {BREAKER_REST - 8:.0f} s more, since LML's breaker was open"
    )
    assert pacing.start(rest, T + 52 + BREAKER_REST, LIMITS, 1).rest is None
    assert rest.in_words(T + 52 + BREAKER_REST) is None


@pytest.mark.parametrize("later", [3.0, 300.0])
def test_what_was_under_way_when_the_breaker_was_met_changes_neither_trial_nor_rest(later):
    trial = pacing.shed(Pace(), T, 17, is_trial=False)
    rest = pacing.trial_passed(trial, T + 26)

    assert pacing.shed(trial, T + later, 18, is_trial=False) == trial
    assert pacing.shed(rest, T + 26 + later, 18, is_trial=False) == rest
    assert pacing.shed(rest, T + 700, 18, is_trial=False).trial == 18


def test_while_discogs_is_down_everybody_rests_a_minute_at_a_time():
    down = pacing.discogs_down(Pace(), T, "upstream-error")
    still = pacing.discogs_down(down, T + 60, "timeout")

    assert pacing.wait(still, T + 60, LIMITS) == 60
    assert still.in_words(T + 90) == "has rested for 90 s, since Discogs is down (timeout): LML is asked again in 30 s"


# Pushed back


@pytest.mark.parametrize(("failures", "most"), [(1, 4), (2, 8), (6, 128), (7, 256), (8, 300), (5000, 300)])
def test_the_back_off_doubles_up_to_five_minutes_with_full_jitter(failures, most):
    assert pacing.back_off(failures, None, 0.0) == 0
    assert pacing.back_off(failures, None, 1.0) == most


@given(st.integers(1, 100), st.floats(0, 3600), st.floats(0, 1))
def test_retry_after_is_obeyed_whatever_the_jitter(failures, retry_after, fraction):
    wait = pacing.back_off(failures, retry_after, fraction)

    assert retry_after <= wait <= max(300, retry_after)
    assert math.isfinite(wait)
