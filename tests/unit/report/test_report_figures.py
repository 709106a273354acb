"""Pace, slots and durations, worked out from log lines that are known to the millisecond."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ops.report import figures
from ops.report.figures import DrawnPart, DrawnRequest
from tests.unit.report.runs import delivery


def test_a_request_starts_after_the_waits_and_requests_before_it():
    (part,) = figures.parts([delivery(requests=((1.0, 2.0, 4.0), (3.0, 0.5, 1.0)))], speed=1)

    assert [(one.start, one.end, one.calls) for one in part.requests] == [(1.0, 3.0, 4.0), (6.0, 6.5, 1.0)]


def test_time_between_requests_is_spread_evenly():
    (part,) = figures.parts([delivery(requests=((1.0, 2.0, 4.0), (3.0, 0.5, 1.0)), spare=2.0)], speed=1)

    assert [one.start for one in part.requests] == [1.0, 7.0]
    assert part.end == 8.5


def test_lines_of_one_delivery_belong_together():
    """A line holds 100 values of a metric; where it breaks, the metrics need not be equally long."""
    first = delivery(requests=((1.0, 2.0, 4.0), (3.0, 0.5, 1.0)))
    first["DiscogsCallsEstimated"].pop()
    first["LmlRequestMillis"].pop()
    second = {**delivery(requests=((1.0, 0.5, 1.0),)), "PacingWaitMillis": []}
    second["_aws"] = {"Timestamp": first["_aws"]["Timestamp"]}

    (part,) = figures.parts([second | {"_aws": {"Timestamp": 10**15}}, first], speed=1)

    assert [(one.waited, one.seconds, one.calls) for one in part.requests] == [(1.0, 2.0, 4.0), (3.0, 0.5, 1.0)]


def test_a_faster_clock_is_taken_into_account():
    early = delivery(requests=((10.0, 20.0, 4.0),), speed=100)
    late = delivery(1, after=2.0, requests=((10.0, 20.0, 4.0),), speed=100)

    first, second = figures.parts([late, early], speed=100)

    assert (first.message, first.start, second.start) == (0, 0.0, 200.0)
    assert second.requests[0].start == 210.0


def test_lines_that_are_no_delivery_s_are_passed_over():
    assert figures.parts([{"step": "plan"}, {"RunRefused": [1.0]}, {"began": 3.0, "message": 0, "part": 0}], 1) == []


def test_slots_are_as_many_as_worked_side_by_side():
    lines = [
        delivery(0, requests=((0.0, 10.0, 1.0),)),
        delivery(1, after=1.0, requests=((0.0, 5.0, 1.0),)),
        delivery(2, after=7.0, requests=((0.0, 5.0, 1.0),)),
        delivery(0, 1, after=11.0, requests=((0.0, 5.0, 1.0),)),
    ]

    rows = figures.slots(figures.parts(lines, 1))

    assert [[(part.message, part.part) for part in row] for row in rows] == [[(0, 0), (0, 1)], [(1, 0), (2, 0)]]


def test_the_pace_is_the_sum_of_a_minute():
    requests = [DrawnRequest(start, 1.0, 0.0, 5.0) for start in (0.0, 30.0, 59.0, 90.0)]

    line = figures.pace(requests, 1000)

    assert max(calls for _, calls in line) == pytest.approx(15)
    assert {round(time): round(calls) for time, calls in line}[91] == 10


@given(st.lists(st.tuples(st.floats(0, 5000), st.floats(0, 60), st.floats(0, 20)), min_size=1, max_size=60))
def test_no_minute_has_more_calls_than_the_highest_shown(facts):
    """However few points are shown."""
    requests = sorted((DrawnRequest(at, took, 0.0, calls) for at, took, calls in facts), key=lambda one: one.start)

    shown = max(calls for _, calls in figures.pace(requests, 3))

    whole = sum(one.calls for one in requests)
    assert shown <= whole * (1 + 1e-6) + 1e-6
    for end in {one.start + max(one.seconds, 0.001) for one in requests}:
        inside = sum(one.calls for one in requests if one.start >= end - 60 and one.end <= end)
        assert inside <= shown * (1 + 1e-6) + 1e-6


def test_no_requests_have_no_pace():
    assert figures.pace([], 10) == []


@pytest.mark.parametrize(
    ("seconds", "label"), [(0.1, "< 0.25 s"), (0.25, "0.25 to 0.5 s"), (59, "30 to 60 s"), (60, "\u2265 60 s")]
)
def test_each_duration_has_one_bar(seconds, label):
    bars = dict(figures.by_duration([DrawnRequest(0, seconds, 0, 1)]))

    assert bars.pop(label) == 1
    assert set(bars.values()) == {0}


def test_failed_requests_are_counted_by_what_happened():
    timeout = {"step": "slice_error", "message": "timed out", "kind": "retryable_error", "cause": "timeout"}
    lines = [
        *[timeout | {"status": None, "identity_ids": [1, 2]}] * 2,
        {"step": "slice_error", "kind": "permanent_error", "cause": "status", "status": 422, "identity_ids": [3]},
        {"step": "malformed_response", "message": "a result is no object", "identity_ids": [4]},
        {"step": "slice_error", "message": "message parked: no JSON"},
        {"step": "malformed_response", "message": "LML answered twice", "results": 1},
    ]

    assert [(one.what, one.requests, one.ids) for one in figures.troubles(lines)] == [
        ("timeout, retryable error", 2, 4),
        ("LML answered 422, permanent error", 1, 1),
        ("a result is no object", 1, 1),
    ]


def test_gaps_that_nobody_could_see_are_closed():
    assert figures.merged([(5, 6), (0, 1), (1.05, 2), (2.5, 3)], 0.1) == [(0, 2), (2.5, 3), (5, 6)]


def test_a_part_without_requests_has_a_place_all_the_same():
    assert figures.slots([DrawnPart(0, 0, 0.0, 1.0, ())]) == [[DrawnPart(0, 0, 0.0, 1.0, ())]]
