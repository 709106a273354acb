"""What a person sees of a run that goes on: its own ids, an estimate where there is one, in 80 columns."""

from collections import Counter
from io import StringIO

import pytest
from msgspec.structs import replace
from rich.console import Console

from core.budget.pacing import Charge, Pace
from core.runs.ledger import Run
from core.runs.totals import Totals
from core.settings import Pacing
from core.utc import moment_text
from ops import status, watch
from ops.watch import View, Watcher
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


def charge(clock, ids):
    return Charge(id=f"{clock.pace()}", at=clock.pace(), cost=4.0, ids=ids)


def look(clock, run, *charges, alone=True):
    return Watcher(clock, Pacing(), alone=alone).look(run, Pace(charges=charges))


def test_ids_that_were_asked_before_the_run_are_another_one_s(clock):
    before = charge(clock, 30)
    clock.advance(10)
    run = run_at(clock)
    clock.advance(60)
    assert look(clock, run, before, charge(clock, 5)).asked == 5


def test_before_anything_is_committed_the_estimate_is_of_the_ids_that_were_asked(clock):
    run = run_at(clock)
    clock.advance(60)
    view = look(clock, run, charge(clock, 10))
    assert (view.ids, view.seconds_left) == (10, pytest.approx(3 * 60 / clock.speed))


def test_who_comes_late_goes_by_the_pace_of_the_last_minutes(clock):
    run = run_at(clock, planned=1000, scanned=400)
    clock.advance(3600)
    view = look(clock, run, charge(clock, 15))
    assert (view.ids, view.seconds_left) == (400, pytest.approx(600 / 15 * 150 / clock.speed))


def test_what_the_ledger_s_charges_forget_is_remembered(clock):
    run, watcher = run_at(clock), Watcher(clock, Pacing(), alone=True)
    for _ in range(3):
        clock.advance(200)
        view = watcher.look(run, Pace(charges=(charge(clock, 4),)))
    assert view.asked == 12


def test_beside_another_run_only_verdicts_count(clock):
    run = run_at(clock, scanned=10)
    clock.advance(60)
    view = look(clock, run, charge(clock, 30), alone=False)
    assert (view.asked, view.ids, view.seconds_left) == (None, 10, pytest.approx(3 * 60 / clock.speed))


def test_beside_another_run_there_is_no_estimate_without_a_verdict(clock):
    run = run_at(clock)
    clock.advance(60)
    assert look(clock, run, charge(clock, 30), alone=False).seconds_left is None


def test_ids_that_are_asked_again_are_never_more_than_planned(clock):
    run = run_at(clock, planned=4)
    clock.advance(60)
    view = look(clock, run, charge(clock, 6))
    assert (view.ids, view.seconds_left) == (4, None)


@pytest.mark.parametrize(
    ("seconds", "words"), [(None, None), (8.4, "8 s left"), (99.9, "100 s left"), (130, "2 min left")]
)
def test_what_is_left_is_told_in_seconds_or_minutes(clock, seconds, words):
    view = View(run=run_at(clock), asked=0, calls_a_minute=0.0, loop="open", seconds_left=seconds)
    assert view.left == words


def test_a_terminal_of_80_columns_shows_all_of_it(clock):
    run = replace(run_at(clock, planned=3500, scanned=3400), messages_planned=70, messages_done=68)
    view = View(run=run, asked=None, calls_a_minute=50.0, loop="measured", seconds_left=72_000.0)
    written = StringIO()

    watch.show(iter([view]), Console(file=written, force_terminal=True, width=80, color_system=None))

    assert " 3400/3500 ids, 1200 min left, 68/70 messages, 50 calls/min, measured\n" in written.getvalue()


def test_the_plain_status_tells_the_ids_asked_before_the_first_verdict(clock):
    run = run_at(clock)
    clock.advance(60)
    lines = "\n".join(status._lines(look(clock, run, charge(clock, 10)), Counter()))
    assert "0 of 40 ids done" in lines
    assert "10 ids asked in the last 2.5 min, 4 Discogs calls in the last minute, open loop; about 18 s left" in lines


def test_ids_that_were_not_attempted_are_not_done(clock):
    run = run_at(clock, state="stopped", scanned=26, not_attempted=14)
    lines = "\n".join(status._lines(look(clock, run), Counter()))
    assert "26 of 40 ids done" in lines
