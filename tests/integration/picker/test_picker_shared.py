"""Several environments and one table: who asks LML, what they share, and whether a week of walks keeps it warm."""

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import msgspec
import pytest
from botocore.exceptions import ClientError

from core.aws.table import Table
from core.clock import SystemClock
from core.picker.rows import DatabaseError, Rows
from core.picker.shared import SharedAnswers
from core.picker.tracks import LookupKey, Pick, ReleaseTracks
from core.picker.walk import PLAN_ROWS, Cursor, WarmCounters, _packed
from tests.eventually import eventually
from tests.integration.build import TABLE
from tests.integration.picking import DIRECT, RELEASE, lost
from tests.virtual import VirtualClock

pytest_plugins = ("tests.integration.fixtures",)

MISS = DIRECT | {"search_type": "none", "results": []}
DAY = 24 * 3600


@pytest.fixture
def clock():
    return VirtualClock()


@pytest.fixture
def environment(open_picker, dynamodb, clock):
    """Open environments that share the table and the clock, and no memory."""
    return lambda at=clock, **how: open_picker(at, dynamodb=dynamodb, **how)


def test_an_environment_takes_what_another_was_told(station, lml, environment):
    lml.answers("lookup", DIRECT)
    lml.answers("release", RELEASE)
    row = station.row()

    first, second = environment(), environment()
    answered = first.resolver.tracks(row)

    assert second.resolver.tracks(row) == answered
    assert second.resolver.resolve_rotation_source(row).how == "remembered"
    assert len(lml.asked()) == 2


def test_a_definite_miss_is_shared_too(station, lml, environment):
    lml.answers("lookup", MISS)
    row = station.row()
    environment().resolver.tracks(row)
    station.run("UPDATE rotation SET tracklist_lookup_attempted_at = NULL")

    assert environment().resolver.resolve_rotation_source(row).how == "remembered"
    assert len(lml.asked()) == 1


@pytest.mark.parametrize("path", ["lookup", "release"])
def test_two_environments_asking_for_the_same_cold_row_make_one_call(station, lml, environment, path):
    lml.answers(path, DIRECT if path == "lookup" else RELEASE, hold=True)
    lml.answers("lookup", DIRECT)
    lml.answers("release", RELEASE)
    row = station.row()
    environments = [environment(SystemClock()) for _ in range(2)]

    with ThreadPoolExecutor(2) as djs:
        opened = [djs.submit(each.resolver.tracks, row) for each in environments]
        eventually(lambda: lml.held() == 1)
        lml.let_go()
        first, second = (each.result() for each in opened)
    assert first == second != []
    assert len(lml.asked("lookup")) == len(lml.asked("release")) == 1


def test_when_the_one_that_asks_fails_another_asks(station, lml, environment):
    lml.answers("lookup", status=503, times=1)
    lml.answers("lookup", DIRECT)
    row = station.row()

    assert environment().resolver.resolve_rotation_source(row).how == "failed"
    assert environment().resolver.resolve_rotation_source(row).how == "lml_positive"


def test_a_claim_of_a_killed_environment_lapses_after_the_longest_call(station, lml, environment, dynamodb, clock):
    """5 s of queueing, 30 s of a release fetch, 5 s for the table."""
    lml.answers("lookup", DIRECT)
    row = station.row()
    killed = SharedAnswers(Table(dynamodb, TABLE), "PICK", Pick, clock, lambda _: None)
    began = clock.utc()
    assert killed.claim(LookupKey(row, "The Ledgers", "Double Entry")) is not None

    assert environment().resolver.resolve_rotation_source(row, walk=True).how == "lml_positive"
    assert timedelta(seconds=39.9) < clock.utc() - began <= timedelta(seconds=40.2)


def test_nobody_waits_for_an_answer_under_the_names_of_before(station, lml, environment, dynamodb, clock):
    lml.answers("lookup", DIRECT)
    row = station.row(album="Triple Entry")
    other = SharedAnswers(Table(dynamodb, TABLE), "PICK", Pick, clock, lambda _: None)
    assert other.claim(LookupKey(row, "The Ledgers", "Double Entry")) is not None
    began = clock.utc()

    assert environment().resolver.resolve_rotation_source(row).how == "lml_positive"
    assert clock.utc() == began


def test_a_claim_that_was_lost_is_not_given_back_for_another(dynamodb, clock):
    shared = SharedAnswers(Table(dynamodb, TABLE), "RELEASE", ReleaseTracks, clock, lambda _: None)
    late = shared.claim(1)
    clock.advance(40)
    other = shared.claim(1)

    shared.release(1, late)

    assert other is not None
    assert shared.claim(1) is None


def test_a_shared_find_lives_thirty_days(station, lml, environment, clock):
    lml.answers("lookup", DIRECT)
    row = station.row()
    environment().resolver.resolve_rotation_source(row)

    clock.advance(30 * DAY - 1)
    assert environment().resolver.resolve_rotation_source(row).how == "remembered"
    clock.advance(1)
    assert environment().resolver.resolve_rotation_source(row).how == "lml_positive"


def test_a_shared_miss_lives_a_day(station, lml, environment, clock):
    lml.answers("lookup", MISS)
    row = station.row()
    environment().resolver.resolve_rotation_source(row)
    station.run("UPDATE rotation SET tracklist_lookup_attempted_at = NULL")

    clock.advance(DAY - 1)
    assert environment().resolver.resolve_rotation_source(row).how == "remembered"
    clock.advance(1)
    assert environment().resolver.resolve_rotation_source(row).how == "lml_negative"


def test_no_environment_remembers_longer_than_the_table(station, lml, environment, clock):
    lml.answers("lookup", DIRECT)
    row = station.row()
    environment().resolver.resolve_rotation_source(row)
    clock.advance(30 * DAY - 3600)
    late = environment()
    late.resolver.resolve_rotation_source(row)

    clock.advance(3600)
    assert late.resolver.resolve_rotation_source(row).how == "lml_positive"


@pytest.mark.parametrize("days", [0, 6], ids=["at-once", "after-the-answer-has-ended"])
def test_a_corrected_row_is_asked_for_anew_by_any_environment(station, lml, environment, clock, days):
    """The marker is obeyed for seven days, the miss is kept for one; under which names it was is remembered longer."""
    lml.answers("lookup", MISS, times=1)
    lml.answers("lookup", DIRECT)
    row = station.row()
    environment().resolver.resolve_rotation_source(row)
    clock.advance(days * DAY)
    assert environment().resolver.resolve_rotation_source(row).how == "marker"

    station.run("UPDATE rotation SET album_title = 'Triple Entry'")
    assert environment().resolver.resolve_rotation_source(row).how == "lml_positive"
    assert environment().resolver.resolve_rotation_source(row).how == "remembered"
    assert station.marker(row) is not None


def test_a_marker_stands_where_the_table_cannot_be_asked(station, lml, environment, clock, dynamodb):
    row = station.row(marked=clock.utc())
    picker = environment()
    dynamodb.delete_table(TableName=TABLE)

    assert picker.resolver.resolve_rotation_source(row).how == "marker"
    assert picker.warned
    assert lml.asked() == []


def test_a_lost_release_is_shared_for_ten_minutes(station, lml, environment, clock):
    lml.answers("release", **lost(11))
    row = station.row(release=11)
    environment().resolver.tracks(row)

    clock.advance(599)
    environment().resolver.tracks(row)
    assert len(lml.asked()) == 1
    clock.advance(1)
    environment().resolver.tracks(row)
    assert len(lml.asked()) == 2


@pytest.mark.parametrize(("hours_left", "renewed"), [(25.01, False), (25, False), (24.99, True)])
def test_the_walk_renews_what_has_under_25_hours_left_and_a_dj_never_does(  # noqa: PLR0917 - a table
    station, lml, environment, clock, hours_left, renewed
):
    lml.answers("lookup", DIRECT)
    lml.answers("release", RELEASE)
    row = station.row()
    environment().resolver.tracks(row)
    clock.advance(30 * DAY - hours_left * 3600)

    environment().resolver.tracks(row)
    assert len(lml.asked()) == 2
    counters = environment().warmer.warm_rotation_tracks_cache()
    assert len(lml.asked()) == (4 if renewed else 2)
    assert (counters.pre_resolved, counters.lml_positive) == ((0, 1) if renewed else (1, 0))
    assert counters.release_fetch_already_warm == (0 if renewed else 1)


def test_an_answer_that_cannot_be_renewed_stays(station, lml, environment, clock):
    lml.answers("lookup", DIRECT, times=1)
    lml.answers("lookup", status=503)
    row = station.row()
    environment().resolver.resolve_rotation_source(row)
    clock.advance(29.5 * DAY)

    assert environment().warmer.warm_rotation_tracks_cache().errors == 1
    assert environment().resolver.resolve_rotation_source(row).how == "remembered"


@pytest.mark.parametrize(
    "pauses", [[1430] * 7, [1470] * 7, [1430, 1470] * 4, [1470, 1430, 1430, 1470, 1440, 1470, 1470]]
)
@pytest.mark.parametrize("same_environment", [True, False], ids=["one-environment", "new-environments"])
def test_a_week_of_daily_walks_leaves_no_row_cold(  # noqa: PLR0917 - a table
    station, lml, environment, clock, pauses, same_environment
):
    """23:50 to 24:30 apart, in minutes; the walk's own memory must not hide what runs out for the others."""
    lml.answers("lookup", DIRECT, times=1)
    lml.answers("lookup", MISS, times=1)
    lml.answers("lookup", DIRECT)
    lml.answers("release", RELEASE)
    rows = [station.row(release=11), station.row(library=22), station.row(), station.row(), station.row(artist=None)]
    walker = environment()
    begun = clock.utc()

    for pause in pauses:
        walker.warmer.warm_rotation_tracks_cache()
        if not same_environment:
            walker = environment()
        asked = len(lml.asked())
        clock.advance(min(timedelta(minutes=pause), begun + timedelta(days=7) - clock.utc()).total_seconds() - 1)
        dj = environment()
        for row in rows:
            dj.resolver.tracks(row)
        assert len(lml.asked()) == asked
        clock.advance(1)


# The bucket


def test_environments_share_fifty_calls_a_minute(station, lml, environment, clock):
    lml.answers("release", RELEASE)
    rows = [station.row(release=release) for release in range(1, 54)]
    environments = [environment(), environment()]

    for at, row in enumerate(rows):
        environments[at % 2].resolver.tracks(row)

    waits = [seconds for seconds in clock.sleeps if seconds > 0.1]
    assert waits == [pytest.approx(1.2, abs=0.05)] * 3


def test_without_the_bucket_nothing_is_asked(station, lml, environment, dynamodb):
    """Nothing is sent unpaced."""
    row = station.row()
    picker = environment()
    dynamodb.delete_table(TableName=TABLE)

    source = picker.resolver.resolve_rotation_source(row)

    assert isinstance(source.error, ClientError)
    assert lml.asked() == []


def test_an_answer_too_large_for_the_table_is_answered_all_the_same(station, lml, environment):
    tracks = [{"position": str(at), "title": "x" * 5000, "duration": None, "artists": ["A"]} for at in range(100)]
    lml.answers("release", {"artist": "A", "tracklist": tracks})
    picker = environment()

    assert len(picker.resolver.tracks(station.row(release=11))) == 100
    assert "exceeded" in str(picker.warned)


def test_an_answer_of_another_shape_is_none(station, lml, environment, dynamodb):
    """An older version may have written it."""
    lml.answers("lookup", DIRECT)
    row = station.row()
    environment().resolver.resolve_rotation_source(row)
    Table(dynamodb, TABLE).update(f"PICK#{row}", "ANSWER", "SET answer = :other", "attribute_exists(pk)", other="[3]")

    assert environment().resolver.resolve_rotation_source(row).how == "lml_positive"


# The walk in pieces


def test_a_walk_goes_on_where_the_last_invocation_stopped(station, lml, environment):
    """An invocation's time is up here after every third row."""
    lml.answers("release", RELEASE)
    for release in range(1, 8):
        station.row(release=release)
    events, sent = [{"detail-type": "CloudFormation Stack Status Change"}], []

    for event in events:  # a hand-over appends the next one
        sent.append(  # noqa: PERF401
            environment().warmer.invocation(
                event,
                time_left=lambda: 900 if len(lml.asked()) % 3 else 179,
                hand_over=lambda payload: events.append(msgspec.json.decode(payload)),
            )
        )

    assert [(answer["done"], answer["counters"]["scanned"]) for answer in sent] == [
        (False, 3),
        (False, 6),
        (True, 7),
    ]
    assert [call["ids"] for call in lml.asked()] == [[release] for release in range(7, 0, -1)], "the newest first"


def test_the_cursor_of_another_version_begins_the_walk_anew(station, lml, environment, capsys):
    lml.answers("release", RELEASE)
    station.row(release=11)
    old = {"cursor": {"after": 3, "started": 1.0, "counters": {}}}

    answer = environment().warmer.invocation(old, time_left=lambda: 900, hand_over=lambda _: 1 / 0)

    assert answer["done"]
    assert answer["counters"]["scanned"] == 1
    assert "another version" in capsys.readouterr().out


def test_the_largest_cursor_fits_into_an_event_of_lambda():
    """Lambda takes 256 kB of an asynchronous invocation."""
    cursor = Cursor(_packed(range(2_147_483_647 - PLAN_ROWS, 2_147_483_647)), 1.0, WarmCounters())
    event = msgspec.json.encode({"cursor": cursor})

    assert len(event) < 200_000
    assert msgspec.convert(msgspec.json.decode(event)["cursor"], Cursor) == cursor


def test_the_budget_of_a_walk_is_one_for_all_its_invocations(station, lml, environment, clock):
    for _ in range(3):
        station.row(artist=None)
    walker = environment().warmer
    cursor = walker.begin()
    clock.advance(1800)

    (answer,) = [
        walker.invocation({"cursor": msgspec.to_builtins(cursor)}, time_left=lambda: 900, hand_over=lambda _: 1 / 0)
    ]

    assert answer["counters"]["budgetSkipped"] == 3
    assert lml.asked() == []


def test_a_walk_that_fails_is_reported_and_raised(station, environment, capsys):
    """So that Lambda tries it again, and its alarm sees it."""
    walker = environment()
    walker.resolver.rows = Rows(msgspec.structs.replace(station.settings, port=1), walker.clock)

    with pytest.raises(DatabaseError):
        walker.warmer.invocation({}, time_left=lambda: 900, hand_over=lambda _: None)
    assert "the warm-up failed" in capsys.readouterr().out
