"""What a day of the load test shows."""

import pytest

from core.runs.totals import Totals
from local.lml.discogs import Call
from local.lml.readers import Reading
from ops.loadtest.measures import Summary, figures, latency, percentile, share_over
from ops.loadtest.proof import LEAST_READINGS, lines_of_the_stand_in
from ops.loadtest.slots import Day, Request
from ops.loadtest.sweep import Case


def calls(*times: float, kind="refresh") -> list[Call]:
    return [Call(at, kind, refused=False) for at in times]


def test_the_share_of_time_over_a_limit_is_exact():
    """Given three calls at 0, 10 and 20 s; then the last 60 s hold more than two from 20 to 60 s."""
    assert share_over(calls(0, 10, 20), 2, 100) == pytest.approx(0.4)
    assert share_over(calls(0, 10, 20), 3, 100) == 0


def test_time_after_the_day_does_not_count():
    assert share_over(calls(0, 10, 20), 2, 40) == pytest.approx(0.5)
    assert share_over(calls(50, 60), 0, 40) == 0
    assert share_over([], 0, 0) == 0


def test_percentiles_are_of_what_was_seen():
    assert [percentile([1, 2, 3, 4], share) for share in (0, 0.5, 0.95, 1)] == [1, 3, 4, 4]
    assert percentile([], 0.5) == 0


def test_readers_who_come_after_the_day_do_not_count():
    assert latency([Reading(1, 0.3, answered=True), Reading(9, 7.0, answered=True)], 5).longest == 0.3


def test_a_day_is_measured_against_the_same_one_without_the_job():
    day = Day(
        seconds=100,
        totals=Totals(identities_scanned=3, identities_resolved=2, lml_error=1),
        calls=sorted(calls(1, 2, 59) + calls(61, kind="health") + calls(3, 4, kind="runtime")),
        readings=[Reading(3, 0.4, answered=True)],
        requests=[Request(1, 2.0), Request(59, 3.0)],
        charges=[(3, 4.0), (62, 5.0)],
    )
    alone = Day(seconds=100, readings=[Reading(3, 0.2, answered=True)])

    seen = figures(day, alone, identities=3)

    assert (seen.without_verdict, seen.refresh_calls) == (1, 3)
    assert (seen.most_in_a_minute, seen.own_most_in_a_minute, seen.most_in_a_calendar_minute) == (5, 3, 5)
    assert (seen.p95_ratio, seen.dearest_slice, seen.longest_request) == (2, 5, 3)


def test_days_are_pooled_by_their_time():
    short, long = (
        figures(Day(seconds=seconds, calls=calls(*[0] * 51)), Day(), identities=0) for seconds in (60.0, 600.0)
    )

    both = Summary(days=(short, long))

    assert both.over_50 == pytest.approx(120 / 660)
    assert both.over_50_at_worst == 1
    assert (both.seconds, both.slowest) == (330, 600)


@pytest.mark.parametrize(("readings", "judged"), [(LEAST_READINGS - 1, False), (LEAST_READINGS, True)])
def test_a_p95_of_few_who_read_alone_is_no_line(readings, judged):
    alone = Day(seconds=100, readings=[Reading(3, 0.2, answered=True)] * readings)
    day = Summary(days=(figures(Day(seconds=100, readings=[Reading(3, 0.9, answered=True)]), alone, identities=310),))

    broken = [line.what for line in lines_of_the_stand_in(day, day, Case()) if "p95" in line.what and not line.holds]

    assert bool(broken) is judged
