"""What a person sees of a run that goes on: its own ids, an estimate where there is one, in 80 columns."""

from io import StringIO

import pytest
from msgspec.structs import replace
from rich.console import Console

from core.budget import pacing
from core.budget.pacing import Pace
from core.runs.ledger import Progress, Run
from core.runs.totals import Totals
from core.utc import moment_text
from ops import status, watch
from ops.watch import View
from tests.unit.report.runs import snapshot
from tests.virtual import VirtualClock


@pytest.fixture
def clock():
    return VirtualClock(speed=10)


def run_at(clock, *, planned=40, state="running", scanned=0, not_attempted=0):
    return Run(
        run_id="a-run",
        status=state,
        trigger="manual",
        started_at=moment_text(clock.utc()),
        deadline=0,
        planner="",
        planned=planned,
        messages_planned=1,
        totals=Totals(identities_scanned=scanned, not_attempted=not_attempted),
    )


def look(clock, run, pace=Pace(), parts=()):  # noqa: B008 - frozen
    return watch.look(run, pace, clock, parts)


def view_lines(clock, run, pace=Pace(), parts=(), **more):  # noqa: B008 - frozen
    """What `rotation status` says to a person."""
    return "\n".join(status.lines(snapshot(view=look(clock, run, pace, parts), at=moment_text(clock.utc()), **more)))


def part(clock, verdicts=0, error=None, answered_at=None):
    totals = Totals(identities_scanned=verdicts)
    return Progress(totals=totals, error=error, answered_at=answered_at, at=moment_text(clock.utc()))


def test_the_verdicts_of_parts_under_way_count_and_attempts_do_not(clock):
    clock.advance(60)
    view = look(clock, run_at(clock, scanned=10), parts=[part(clock, 3), part(clock, 0, "refused")])
    assert (view.ids, view.scanned) == (13, 13)


def test_a_dead_lml_climbs_nowhere_and_is_named(clock):
    view = look(clock, run_at(clock), parts=[part(clock, 0, "POST refresh: connection refused")])
    assert str(view) == "0/40 ids, 0/1 messages, LML fails"
    assert view.trouble == "LML has not answered yet: POST refresh: connection refused"
    assert "LML has not answered yet" in view_lines(clock, view.run, parts=[part(clock, 0, "refused")])


def test_since_when_lml_has_not_answered_is_reported(clock):
    answered = moment_text(clock.utc())
    earlier = part(clock, 5, None, answered)
    clock.advance(300)
    view = look(clock, run_at(clock), parts=[part(clock, 0, "POST refresh: timeout"), earlier])
    assert view.trouble == f"LML has not answered well since {answered[:19]}Z: POST refresh: timeout"


def test_an_lml_that_answers_again_is_no_trouble(clock):
    before = part(clock, 0, "POST refresh: timeout")
    clock.advance(10)
    assert look(clock, run_at(clock), parts=[part(clock, 1, None, moment_text(clock.utc())), before]).trouble is None


def test_failures_stand_on_the_line(clock):
    run = replace(run_at(clock), totals=Totals(identities_scanned=8, lml_error=3))
    assert str(look(clock, run)).startswith("8/40 ids, 3 failed")


@pytest.mark.parametrize("terminal", [True, False])
def test_trouble_is_shown_while_a_run_is_watched(clock, terminal, monkeypatch):
    monkeypatch.setattr(watch, "LINE_EVERY", 0.0)
    view = look(clock, run_at(clock), parts=[part(clock, 0, "POST refresh: connection refused")])
    written = StringIO()

    watch.show(iter([view, view]), Console(file=written, force_terminal=terminal, width=80, color_system=None))

    assert "LML has not answered yet: POST refresh: connection refused" in written.getvalue()


def test_a_plain_line_is_the_one_that_a_terminal_has(clock, monkeypatch):
    monkeypatch.setattr(watch, "LINE_EVERY", 0.0)
    written = StringIO()
    view = look(clock, run_at(clock, scanned=10), parts=[part(clock)])

    watch.show(iter([view]), Console(file=written, force_terminal=False, width=80))

    assert written.getvalue() == f"{view}\n"


def test_the_estimate_of_calls_says_what_it_is_evidence_of(clock):
    run = run_at(clock, scanned=10)
    charged = replace(run, totals=replace(run.totals, discogs_calls_estimated=731))

    told = view_lines(clock, charged, speed=200)

    assert "about 731 Discogs calls, an estimate by the time that answers took" in told
    assert "with a clock 200 times faster, the time of an answer is evidence of how busy this machine is" in told
    assert "times faster" not in view_lines(clock, charged, speed=1)
    assert "Discogs calls" not in view_lines(clock, run, speed=200)


def test_who_waits_is_told_how_long_by_what_is_done(clock):
    run = run_at(clock, planned=1000, scanned=400)
    clock.advance(3600)
    view = look(clock, run)
    assert (view.ids, view.seconds_left) == (400, pytest.approx(600 / 400 * 3600 / clock.speed))


def test_without_a_verdict_there_is_no_estimate(clock):
    run = run_at(clock)
    clock.advance(60)
    assert look(clock, run).seconds_left is None


def test_why_and_how_long_everybody_rests_is_reported_while_the_run_is_open(clock):
    pace = pacing.discogs_down(Pace(), clock.pace(), "timeout")
    clock.advance(20)
    lines = view_lines(clock, run_at(clock), pace)
    assert "has rested for 20 s, since Discogs is down (timeout): LML is asked again in 40 s" in lines
    assert look(clock, run_at(clock, state="complete"), pace).rests is None


def test_how_long_a_run_has_rested_and_what_came_without_artists_is_reported_afterwards(clock):
    totals = Totals(breaker_rest_seconds=650, discogs_rest_seconds=120, warmed_without_artists=3)
    run = replace(run_at(clock, state="complete"), totals=totals)
    lines = view_lines(clock, run)
    assert "rested 650 s, since LML's breaker was open" in lines
    assert "rested 120 s, since Discogs was down" in lines
    assert "3 releases came without artists; `rotation replay a-run --without-artists` asks again" in lines


@pytest.mark.parametrize(
    ("seconds", "words"), [(None, None), (8.4, "about 8 s left"), (99.9, "about 100 s left"), (130, "about 2 min left")]
)
def test_what_is_left_is_reported_in_seconds_or_minutes(clock, seconds, words):
    view = View(run=run_at(clock), rests=None, seconds_left=seconds)
    assert view.left == words


def test_a_terminal_of_80_columns_shows_all_of_it(clock):
    run = replace(run_at(clock, planned=3500, scanned=3400), messages_planned=70, messages_done=68)
    view = View(run=run, rests="has rested for 5 s", seconds_left=72_000.0)
    written = StringIO()

    watch.show(iter([view]), Console(file=written, force_terminal=True, width=80, color_system=None))

    assert " 3400/3500 ids, about 1200 min left, 68/70 messages, rests\n" in written.getvalue()


def test_ids_that_were_not_attempted_are_not_done(clock):
    run = run_at(clock, state="stopped", scanned=26, not_attempted=14)
    lines = view_lines(clock, run)
    assert "26 of 40 ids done" in lines


def test_a_look_goes_back_behind_no_earlier_one(clock):
    """A part's verdicts go from its note into the run's totals, and between the two they are nowhere."""
    run = run_at(clock, scanned=10)
    before = look(clock, run, parts=[part(clock, 5)])

    between = look(clock, run).not_before(before)
    after = look(clock, replace(run, totals=Totals(identities_scanned=15))).not_before(between)

    assert [view.scanned for view in (before, between, after)] == [15, 15, 15]
    assert after.under_way == Totals()
