"""What starts a run, as the schedule, a rule or a person sends it."""

from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.runs.request import Start, StartError, manual_id, read_start

NOW = datetime(2026, 2, 3, 23, 59, 59, tzinfo=UTC)
FIRED = datetime(2026, 2, 3, 4, 30, tzinfo=UTC)
RULE = {"version": "0", "detail-type": "Scheduled Event", "source": "aws.events", "detail": {}}
PLACEHOLDER = "<aws.scheduler.scheduled-time>"
KEYS = ["scheduled_time", "dry_run", "force", "identity_ids", "replay_of"]
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.datetimes().map(str),
    lambda inner: st.lists(inner) | st.dictionaries(st.sampled_from([*KEYS, "detail-type", "time"]) | st.text(), inner),
    max_leaves=10,
)


@pytest.mark.parametrize(
    ("event", "start", "run_id"),
    [
        pytest.param({}, Start(), "scheduled-2026-02-03", id="nothing: today's"),
        pytest.param(
            {"scheduled_time": "2026-02-03T04:30:00Z"},
            Start(scheduled_time=FIRED),
            "scheduled-2026-02-03T04:30:00Z",
            id="the schedule",
        ),
        pytest.param(
            {"scheduled_time": "2026-02-03T05:30:00+01:00"},
            Start(scheduled_time=FIRED),
            "scheduled-2026-02-03T04:30:00Z",
            id="with an offset: the same run",
        ),
        pytest.param(
            {"scheduled_time": "2026-02-03T04:30:00"},
            Start(scheduled_time=FIRED),
            "scheduled-2026-02-03T04:30:00Z",
            id="without an offset: UTC",
        ),
        pytest.param(
            {"scheduled_time": "2026-02-03T04:30:00.750Z"},
            Start(scheduled_time=FIRED + timedelta(milliseconds=750)),
            "scheduled-2026-02-03T04:30:00Z",
            id="to the second",
        ),
        pytest.param(
            {"scheduled_time": PLACEHOLDER},
            Start(placeholder=PLACEHOLDER),
            "scheduled-2026-02-03",
            id="a placeholder: today's",
        ),
        pytest.param(
            RULE | {"time": "2026-02-03T04:30:00Z"},
            Start(scheduled_time=FIRED),
            "scheduled-2026-02-03T04:30:00Z",
            id="a rule's event",
        ),
        pytest.param({"force": True}, Start(force=True), "scheduled-2026-02-03", id="force"),
    ],
)
def test_a_full_run_has_the_name_of_its_firing(event, start, run_id):
    asked = read_start(event)

    assert asked == start
    assert asked.is_full
    assert asked.scheduled_id(NOW) == run_id


@pytest.mark.parametrize(
    ("event", "start"),
    [
        pytest.param({"dry_run": True}, Start(dry_run=True), id="dry run"),
        pytest.param({"identity_ids": [3, 1]}, Start(identity_ids=(3, 1)), id="some ids"),
        pytest.param({"replay_of": "manual-x"}, Start(replay_of="manual-x"), id="replay"),
    ],
)
def test_what_a_person_picks_is_no_full_run(event, start):
    assert read_start(event) == start
    assert not start.is_full


def test_a_day_ends_at_midnight_utc_wherever_the_clock_is():
    elsewhere = NOW.astimezone(timezone(timedelta(hours=5)))

    assert Start().scheduled_id(elsewhere) == "scheduled-2026-02-03"


def test_manual_runs_of_one_second_have_different_names():
    names = {manual_id(FIRED) for _ in range(20)}

    assert len(names) > 15
    assert all(name.startswith("manual-2026-02-03T04:30:00Z-") for name in names)
    assert {len(name.rpartition("-")[2]) for name in names} == {4}


@pytest.mark.parametrize(
    ("event", "problem"),
    [
        pytest.param(None, "a start is a JSON object such as {}, not null", id="null"),
        pytest.param([], "a start is a JSON object such as {}, not a list", id="a list"),
        pytest.param("now", "a start is a JSON object such as {}, not a text", id="a text"),
        pytest.param({"dryrun": True}, "'dryrun': no such key; there are scheduled_time, dry_run", id="unknown key"),
        pytest.param({"dry_run": "yes"}, "dry_run: it must be true or false", id="text for a flag"),
        pytest.param({"dry_run": 1}, "dry_run: it must be true or false", id="number for a flag"),
        pytest.param({"force": None}, "force: it must be true or false", id="null for a flag"),
        pytest.param({"identity_ids": []}, "identity_ids: it must be a list of one or more ids", id="no ids"),
        pytest.param({"identity_ids": "1,2"}, "identity_ids: it must be a list of one or more ids", id="text for ids"),
        pytest.param({"identity_ids": [0]}, "identity_ids: it must be a list of one or more ids", id="id 0"),
        pytest.param({"identity_ids": [True]}, "identity_ids: it must be a list of one or more ids", id="a boolean id"),
        pytest.param({"identity_ids": [1.0]}, "identity_ids: it must be a list of one or more ids", id="a float id"),
        pytest.param({"identity_ids": [1, 2, 1]}, "identity_ids: repeats an id; name each once", id="repeated ids"),
        pytest.param({"replay_of": ""}, "replay_of: it must be the id of a run", id="replay of nothing"),
        pytest.param(
            {"replay_of": "r", "identity_ids": [1]}, "replay_of: a replay takes its ids from", id="replay and ids"
        ),
        pytest.param(
            {"scheduled_time": 0},
            "scheduled_time: it must be a text like 2026-02-03T04:30:00Z",
            id="a number for a time",
        ),
        pytest.param({"scheduled_time": ""}, "scheduled_time: '' is no time like 2026-02-03T04:30:00Z", id="empty"),
        pytest.param({"scheduled_time": "today"}, "scheduled_time: 'today' is no time like", id="no time"),
        pytest.param(
            {"scheduled_time": "0001-01-01T00:00:00+14:00"}, "scheduled_time: '0001-01-01", id="before the calendar"
        ),
        pytest.param(
            RULE, "scheduled_time: it must be a text like 2026-02-03T04:30:00Z", id="a rule's event without a time"
        ),
    ],
)
def test_a_wrong_start_is_refused_by_the_name_of_its_key(event, problem):
    with pytest.raises(StartError) as caught:
        read_start(event)

    assert str(caught.value).startswith(problem)
    assert "\n" not in str(caught.value)


def test_all_problems_come_in_one_message():
    with pytest.raises(StartError) as caught:
        read_start({"scheduled_time": "soon", "dry_run": 1, "identity_ids": [2, 2], "replay_of": "r", "all": True})

    keys = [line.partition(":")[0] for line in str(caught.value).splitlines()]
    assert keys == ["'all'", "dry_run", "identity_ids", "replay_of", "scheduled_time"]


@given(JSON | st.dictionaries(st.sampled_from([*KEYS, "detail-type", "time"]), JSON))
def test_whatever_comes_is_a_start_or_refused(event):
    """Never another error, and a start can always be named."""
    try:
        asked = read_start(event)
    except StartError:
        return
    assert asked.scheduled_id(NOW).startswith("scheduled-")
