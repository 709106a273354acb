"""What one slice may hold, how long it may take, and what it has cost (DESIGN §6)."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.budget.slices import SliceSize, back_off, request_limit, slice_cost


def cost(ids: int = 1, outcomes: int | None = 4, elapsed: float = 3.03, round_trip: float = 0.03) -> float:
    return slice_cost(ids=ids, outcomes=outcomes, elapsed=elapsed, round_trip=round_trip, rate_limit=50)


@pytest.mark.parametrize(
    ("ids", "outcomes", "elapsed", "calls"),
    [
        pytest.param(1, 4, 3.03, 4, id="what LML lists, where it had time for more"),
        pytest.param(4, 16, 0.33, 4, id="what two slots have time for: 0.3 s less than they list"),
        pytest.param(4, 16, 0.11, 0, id="nothing, in less time than Discogs' fastest answer"),
        pytest.param(4, 16, 0.01, 0, id="nothing, faster than the fastest empty request"),
        pytest.param(1, 0, 3.03, 0, id="nothing, where LML lists nothing"),
        pytest.param(1, 90, 60.03, 21, id="21 an id, whatever LML lists"),
        pytest.param(50, 500, 60.0, 100, id="what LML's limiter lets through: 50 at once, then 50 a minute"),
        pytest.param(1, None, 60.03, 21, id="no usable body: 21 an id after a minute"),
        pytest.param(4, None, 0.01, 4, id="no usable body: one an id at least"),
        pytest.param(4, None, 1.53, 20, id="no usable body: what it had time for"),
        pytest.param(50, None, 330, 325, id="no usable body: what the limiter lets through"),
    ],
)
def test_a_slice_costs_the_lowest_of_its_bounds(ids, outcomes, elapsed, calls):
    assert cost(ids, outcomes, elapsed) == pytest.approx(calls)


@given(
    ids=st.integers(1, 50),
    outcomes=st.none() | st.integers(0, 2000),
    elapsed=st.floats(-10, 400),
    round_trip=st.floats(0, 10),
)
def test_no_slice_costs_more_than_lmls_limiter_lets_through_or_less_than_nothing(ids, outcomes, elapsed, round_trip):
    calls = cost(ids, outcomes, elapsed, round_trip)

    assert 0 <= calls <= max(ids, min(ids * 21, 50 + 50 * max(0.0, elapsed) / 60)) + 1e-9


@pytest.mark.parametrize(("ids", "seconds"), [(1, 60), (2, 60), (3, 90), (4, 120), (11, 330), (50, 330)], ids=str)
def test_a_request_may_take_half_a_minute_an_id_within_bounds(ids, seconds):
    assert request_limit(ids) == seconds


def sizes(*slices: tuple[int, float], most: int = 4) -> list[int]:
    size, seen = SliceSize(most), []
    for ids, calls in slices:
        size.learn(ids=ids, cost=calls)
        seen.append(size.ids)
    return seen


def test_slices_grow_one_two_four_while_an_id_costs_less_than_a_call():
    assert SliceSize(4).ids == 1
    assert sizes((1, 0.9), (2, 1.9), (4, 3.9)) == [2, 4, 4]


def test_the_first_slice_that_costs_a_call_an_id_makes_the_next_one_id():
    assert sizes((1, 0), (2, 0), (4, 4), (1, 0)) == [2, 4, 1, 2]


@pytest.mark.parametrize(("most", "grown"), [(1, [1, 1, 1]), (2, [2, 2, 2]), (3, [2, 3, 3])])
def test_slices_never_outgrow_their_maximum(most, grown):
    assert sizes((1, 0), (1, 0), (1, 0), most=most) == grown


def test_a_maximum_of_a_full_message_is_no_slicing_whatever_it_costs():
    assert SliceSize(50).ids == 50
    assert sizes((50, 200), most=50) == [50]


@given(st.lists(st.tuples(st.integers(1, 50), st.floats(0, 1050)), max_size=50))
def test_an_id_is_expected_to_cost_between_a_tenth_of_a_call_and_twenty(slices):
    size = SliceSize(4)
    assert size.cost_per_id == 4

    for ids, calls in slices:
        size.learn(ids=ids, cost=calls)
        assert 0.1 <= size.cost_per_id <= 20


@pytest.mark.parametrize(("failures", "most"), [(1, 4), (2, 8), (6, 128), (7, 256), (8, 300), (5000, 300)])
def test_the_back_off_doubles_up_to_five_minutes_with_full_jitter(failures, most):
    assert back_off(failures, None, 0.0) == 0
    assert back_off(failures, None, 1.0) == most


@given(st.integers(1, 100), st.floats(0, 3600), st.floats(0, 1))
def test_retry_after_is_obeyed_whatever_the_jitter(failures, retry_after, fraction):
    wait = back_off(failures, retry_after, fraction)

    assert retry_after <= wait <= max(300, retry_after)
    assert math.isfinite(wait)
