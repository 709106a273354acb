"""In what order the walk visits the rows: what comes first, and that none is starved."""

from datetime import UTC, datetime, timedelta
from math import ceil

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.picker.caches import Standing
from core.picker.order import Last, Survey, marker_stands, plan
from core.picker.rows import PickerRow

NOW = datetime(2026, 2, 3, 5, 45, tzinfo=UTC)
DAY = 86_400.0
AT = NOW.timestamp()


def names(marked=None):
    return PickerRow(None, None, "The Ledgers", "Double Entry", marked)


def release(number):
    return PickerRow(number, None, "The Ledgers", "Double Entry", None)


def standing(days_old, *, life=30, found=True, release_id=None):
    return Standing(AT - days_old * DAY, AT + (life - days_old) * DAY, found, release_id)


def last(days_old, album="Double Entry", **how):
    return Last("The Ledgers", album, standing(days_old, **how))


def planned(rows, survey=None, *, releases=True, room=True):
    return plan(rows, survey or Survey(), NOW, releases=releases, room=room).rows


def test_rows_without_an_answer_come_first_the_newest_before_the_oldest():
    rows = {1: release(11), 2: names(), 3: release(33), 4: names(), 5: release(55)}
    survey = Survey(picks={4: last(1)}, releases={33: standing(2), 55: standing(9)})

    assert planned(rows, survey) == [2, 1, 5, 3, 4]


def test_a_row_has_an_answer_when_its_release_has_come_too():
    rows = {1: names(), 2: names(), 3: names()}
    survey = Survey(
        picks={1: last(1, release_id=77), 2: last(2, release_id=88), 3: last(3)}, releases={88: standing(1)}
    )

    assert planned(rows, survey) == [1, 3, 2]
    assert planned(rows, survey, releases=False) == [3, 2, 1]


def test_what_needs_no_lml_comes_last():
    rows = {1: names(marked=NOW), 2: PickerRow(None, None, None, "Double Entry", None), 3: names(), 4: release(44)}
    assert planned(rows, Survey(releases={44: standing(1)})) == [3, 4, 2, 1]


def test_an_answer_under_other_names_is_none():
    rows = {1: names(), 2: names()}
    assert planned(rows, Survey(picks={1: last(1), 2: last(1, "Triple Entry")})) == [2, 1]


def test_of_rows_without_an_answer_those_whose_turn_was_long_ago_come_before_those_of_yesterday():
    """The newest fail every day, and must not be asked for first every day."""
    rows = {number: release(number) for number in range(1, 6)}
    survey = Survey(turns={5: AT - DAY, 4: AT - DAY, 2: AT - 40 * DAY}, releases={2: standing(40)})

    assert planned(rows, survey) == [3, 1, 2, 5, 4]


@pytest.mark.parametrize(
    ("marked_days_ago", "kept", "stands"),
    [
        (None, None, False),
        (6.99, None, True),
        (7, None, False),
        (6, last(6, found=False, life=1), True),
        (6, last(6, "Triple Entry", found=False, life=1), False),
        (6, last(5), False),
        (6, last(6), False),
        (6, last(7), True),
    ],
)
def test_a_marker_stands_for_seven_days_unless_the_names_have_changed(marked_days_ago, kept, stands):
    marked = None if marked_days_ago is None else NOW - timedelta(days=marked_days_ago)
    assert marker_stands(names(marked), kept, NOW) is stands


@pytest.mark.parametrize("kept", [0, 200, 500, 700])
def test_without_room_rows_without_an_answer_are_left_out_and_those_with_one_stay(kept):
    rows = {number: release(number) for number in range(1, 1001)}
    survey = Survey(releases={number: standing(0.5) for number in range(1, kept + 1)})

    order, left_out = plan(rows, survey, NOW, releases=True, room=False)

    free = max(0, 500 - kept)
    assert order[:free] == list(range(1000, 1000 - free, -1))
    assert sorted(order[free:]) == list(range(1, kept + 1))
    assert len(order) + left_out == 1000


@given(
    rows=st.integers(1, 60),
    calls=st.integers(1, 20),
    life=st.integers(1, 8),
    failing=st.frozensets(st.integers(1, 60)),
    new=st.integers(0, 1),
)
def test_no_row_is_starved(rows, calls, life, failing, new):
    """Whatever fails and whatever ends before its turn comes round: each row is asked for within one round of walks.

    A walk has room for so many rows; answers live so many days, and some rows never get one. Rows come every day.
    """
    survey, at = Survey(), NOW
    station = {number: release(number) for number in range(1, rows + 1)}
    waiting = dict.fromkeys(station, 0)
    for day in range(40):
        order = plan(station, survey, at, releases=True, room=True).rows
        now = at.timestamp()
        due = [row for row in order if survey.releases.get(row, standing(99)).until <= now + DAY]
        for row in due[:calls]:
            survey.turns[row] = now
            waiting[row] = 0
            if row not in failing:
                survey.releases[row] = Standing(now, now + life * DAY, True, None)
        for row in due[calls:]:
            waiting[row] += 1
        bound = ceil(len(station) / max(1, calls - new)) + life if calls > new else 40
        assert max(waiting.values()) <= bound
        at += timedelta(days=1)
        if new:
            station[100 + day] = release(100 + day)
            waiting[100 + day] = 0
