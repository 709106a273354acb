"""What is counted of a day, and what a clairvoyant reaches."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from local.lml.breaker import Opening
from local.lml.records import DiscogsCall, ReaderCall, busiest_minute
from ops.loadtest import clairvoyant
from ops.loadtest.harm import Summary, figures, full_seconds, latency, percentile
from ops.loadtest.lines import Line, of_cold_days, shed_of_next
from ops.loadtest.report import line_cells
from ops.loadtest.slots import Day


@pytest.mark.parametrize(
    ("times", "seconds"),
    [
        ([], 0),
        ([0.0] * 56, 0),
        ([0.0] * 57, 60),
        ([float(n) for n in range(57)], 4),
        ([0.0] * 57 + [30.0] * 57, 90),
        ([0.0] * 57 + [200.0] * 57, 120),
    ],
    ids=["nobody", "one too few", "at once", "one a second", "one full minute on top of another", "two"],
)
def test_a_minute_is_full_while_57_calls_lie_in_the_last_60_seconds(times, seconds):
    assert full_seconds(times, until=1000) == pytest.approx(seconds)


@given(st.lists(st.floats(0, 300), max_size=200), st.floats(0, 300))
def test_full_time_is_what_a_look_every_so_often_sees(times, until):
    times.sort()
    looks = [until * look / 500 for look in range(500)]
    seen = sum(sum(at - 60 < one <= at for one in times) >= 57 for at in looks) * until / 500

    assert full_seconds(times, until) == pytest.approx(seen, abs=until / 500 * 2 * len(times) + 1e-6)


def test_harm_is_what_the_job_adds_to_the_same_stretch_of_a_day_without_it():
    """Openings after the stretch, those of a breaker that was half-open, and readers who were answered do not count."""
    day = Day(
        seconds=100, makespan=80, openings=[Opening(10, "closed"), Opening(31, "half-open"), Opening(50, "closed")]
    )
    day.readings = [ReaderCall(at, 0.0, "shed") for at in (11, 12, 51)] + [ReaderCall(13, 0.4, "answered")]
    day.calls = [DiscogsCall(5.0, "refresh", 200), DiscogsCall(6.0, "runtime", 200)]
    alone = Day(
        seconds=200, openings=[Opening(20, "closed"), Opening(150, "closed")], readings=[ReaderCall(21, 0.0, "shed")]
    )

    seen = figures(day, alone, identities=3)

    assert (seen.openings_added, seen.shed_added, seen.refresh_calls) == (1, 2, 1)
    assert (seen.seconds, seen.without_verdict) == (80, 3)
    assert seen.readers.p50 == 0.4


def test_latency_is_of_readers_who_were_answered():
    readings = [ReaderCall(n, float(n), "answered") for n in range(1, 101)] + [ReaderCall(5, 0.0, "shed")]

    assert latency(readings, until=1000).p50 == 51
    assert latency(readings, until=1000).p95 == 96
    assert latency([], until=10).p95 == 0


def test_a_percentile_is_one_of_the_values():
    assert [percentile([1.0, 2.0, 3.0], share) for share in (0, 0.5, 0.99)] == [1, 2, 3]
    assert percentile([], 0.5) == 0


def test_of_the_calls_after_an_opening_a_hundred_are_looked_at():
    day = Day(readings=[ReaderCall(n, 0.0, "shed" if n % 2 else "answered") for n in range(300)])

    assert shed_of_next(day, at=9.5) == 50


def test_a_line_breaks_above_its_limit_and_one_without_is_reported():
    assert [Line("what", 5, limit).holds for limit in (4.9, 5, None)] == [False, True, True]


def test_a_mean_of_days_says_how_far_chance_may_have_moved_it():
    """Of 0, 2, 0, 2 openings the mean is 1, and the standard error the deviation of 2/sqrt(3) over sqrt(4)."""
    alone = Day(seconds=60, makespan=60)
    opened = Day(seconds=60, makespan=60, openings=[Opening(10, "closed"), Opening(31, "closed")])
    days = Summary(days=tuple(figures(day, alone, identities=0) for day in (alone, opened, alone, opened)))
    line = next(of_cold_days({"20 in fives": days}))

    assert line.error == pytest.approx(3**-0.5)
    assert line_cells(line)[1] == "1 ± 0.58"
    assert line_cells(next(of_cold_days({"20 in fives": Summary(days=days.days[:1])})))[1] == "0"


def test_a_pattern_that_no_rule_helps_has_no_line():
    day = Day(seconds=60, makespan=60)
    days = Summary(days=(figures(day, day, identities=0),))
    limits = {line.what: line.limit for line in of_cold_days({"20 in fives": days, "40 singly": days})}

    assert limits["20 in fives: openings added a day"] == 4.5
    assert limits["40 singly: openings added a day"] is None
    assert limits["40 singly: identities without a verdict"] == 0


@given(st.lists(st.floats(0, 600), max_size=150), st.integers(1, 120))
def test_a_clairvoyant_overfills_no_minute_that_others_leave_room_in(others, calls):
    others.sort()
    made, finished = clairvoyant.schedule(others, calls), clairvoyant.finish(others, calls)

    assert len(made) == calls
    assert finished > made[-1]
    assert all(later - earlier >= clairvoyant.BETWEEN - 1e-6 for earlier, later in pairwise(made))
    alone = busiest_minute(others)
    assert busiest_minute(sorted([*others, *made])) <= max(alone, clairvoyant.MOST)


def test_a_clairvoyant_beside_nobody_goes_at_the_limiters_speed():
    assert clairvoyant.finish([], 500) == pytest.approx(500 * 1.2)
