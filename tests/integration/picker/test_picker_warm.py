"""The walk that opens every active row before a DJ does: what it counts, what stops it, what does not."""

import json
import threading
from datetime import timedelta
from itertools import pairwise

import httpx
import msgspec
import pytest

from core.clock import SystemClock
from core.picker.lookup import AnswerError
from core.picker.rows import DatabaseError
from core.picker.warm import WarmCounters
from local import sentry, serve
from tests.eventually import eventually
from tests.integration.picking import DIRECT, RELEASE, lost

TRACKS = [{"position": "1", "title": "Petty Cash", "duration": None, "artists": ["Ann Uity"]}]
MISS = DIRECT | {"search_type": "none", "results": []}
WITH_TRACKS = DIRECT | {"results": [{"artwork": {"release_id": 0, "tracklist": TRACKS}}]}


@pytest.fixture
def logged(capsys):
    """Read the lines that were logged since the last look."""
    return lambda: [json.loads(line) for line in capsys.readouterr().out.splitlines() if line.startswith("{")]


@pytest.fixture
def events():
    """Give a Sentry, and what it got: the events with their tags and extras."""
    with serve.in_thread(sentry.build()) as url:

        def look():
            envelopes = sentry.decode(httpx.get(f"{url}/_envelopes").content)
            return sentry.events(envelopes)

        yield sentry.dsn(url), look


def counted(counters):
    return {name: value for name, value in msgspec.to_builtins(counters).items() if value and name != "elapsedMs"}


def test_every_active_row_is_visited_once_the_newest_first(station, lml, picker):
    killed = (None, -1, 0, 1, None)
    rows = [station.row(release=100 + at, killed=days) for at, days in enumerate(killed)]
    lml.answers("release", RELEASE)

    counters = picker.warmer.warm_rotation_tracks_cache()

    assert [call["ids"] for call in lml.asked()] == [[104], [103], [100]]
    assert counted(counters) == {"scanned": 3, "preResolved": 3, "releaseFetchPositive": 3}
    assert len(rows) == 5


def test_after_the_walk_a_dj_waits_for_nobody(station, lml, picker):
    lml.answers("lookup", DIRECT)
    lml.answers("release", RELEASE)
    rows = [station.row(release=11), station.row(library=22), station.row()]
    picker.warmer.warm_rotation_tracks_cache()
    asked = len(lml.asked())

    assert all(picker.resolver.tracks(row) for row in rows)
    assert len(lml.asked()) == asked == 4


def test_what_happened_to_a_row_is_counted_as_the_resolver_found_it(station, lml, picker):
    """A swallowed LML failure is an error, a marker is none."""
    lml.answers("lookup", DIRECT, times=1)
    lml.answers("lookup", MISS, times=1)
    lml.answers("lookup", status=503, times=1)
    lml.answers("lookup", MISS | {"timeout": True}, times=1)
    lml.answers("lookup", WITH_TRACKS, times=1)
    lml.answers("release", RELEASE)
    station.row(release=11)
    station.row(library=22)
    station.row(marked=picker.clock.utc())
    station.row(artist=None)
    for _ in range(5):
        station.row()

    counters = picker.warmer.warm_rotation_tracks_cache()

    assert counted(counters) == {
        "scanned": 9,
        "preResolved": 4,
        "lmlPositive": 2,
        "lmlNegative": 1,
        "errors": 2,
        "releaseFetchPositive": 3,
    }


def test_a_second_walk_finds_everything_resolved(station, lml, picker):
    lml.answers("lookup", DIRECT, times=1)
    lml.answers("lookup", MISS)
    lml.answers("release", RELEASE)
    for how in ({"release": 11}, {}, {}):
        station.row(**how)
    picker.warmer.warm_rotation_tracks_cache()

    counters = picker.warmer.warm_rotation_tracks_cache()

    assert counted(counters) == {"scanned": 3, "preResolved": 3, "releaseFetchAlreadyWarm": 2}


def test_each_release_is_classified_by_what_lml_answers(station, lml, picker):
    lml.answers("release", ids=[11], **lost(11))
    lml.answers("release", status=500, ids=[12])
    lml.answers("release", RELEASE)
    for release in (11, 12, 13, 13):
        station.row(release=release)

    assert counted(picker.warmer.warm_rotation_tracks_cache()) == {
        "scanned": 4,
        "preResolved": 4,
        "releaseFetchNegative": 1,
        "releaseFetchErrors": 1,
        "releaseFetchPositive": 1,
        "releaseFetchAlreadyWarm": 1,
    }


def test_releases_can_be_left_out(station, lml, open_picker):
    station.row(release=11)

    assert counted(open_picker(releases=False).warmer.warm_rotation_tracks_cache()) == {"scanned": 1, "preResolved": 1}
    assert lml.asked() == []


def test_a_failing_row_does_not_stop_its_siblings_and_goes_to_sentry(station, lml, open_picker, events):
    dsn, sent = events
    picker = open_picker(sentry=dsn)
    lml.answers("lookup", status=500, times=1)
    lml.answers("lookup", WITH_TRACKS)
    lml.answers("release", status=502)
    third, second, first = station.row(), station.row(release=11), station.row()

    counters = picker.warmer.warm_rotation_tracks_cache()
    picker.telemetry.flush()

    assert (counters.scanned, counters.errors, counters.release_fetch_errors, counters.lml_positive) == (3, 1, 1, 1)
    events = sent()
    assert all(event["tags"]["subsystem"] == "rotation-tracks-cache-warm" for event in events)
    assert [event["extra"] for event in events] == [
        {"rotation_id": first},
        {"rotation_id": second, "phase": "release_fetch", "release_id": 11},
    ]
    assert third


# Progress and the summary


def test_progress_is_reported_every_fifty_rows_and_a_summary_at_the_end(station, picker, logged):
    for _ in range(101):
        station.row(artist=None)

    picker.warmer.warm_rotation_tracks_cache()

    lines = [line for line in logged() if line.get("step") == "warm"]
    assert [line["scanned"] for line in lines] == [50, 100, 101]
    counters = {field.encode_name for field in msgspec.structs.fields(WarmCounters)}
    assert lines[-1].keys() >= counters
    assert counters >= {"preResolved", "releaseFetchAlreadyWarm", "budgetSkipped", "liveActivityPauseMs", "elapsedMs"}


# Live shows


def test_the_walk_waits_for_a_live_show(station, picker):
    """A track was logged 10 s ago: two waits of 30 s, and it is quiet."""
    station.play(picker.clock.utc() - timedelta(seconds=10))
    station.row(artist=None)

    counters = picker.warmer.warm_rotation_tracks_cache()

    assert picker.clock.sleeps == [30, 30]
    assert (counters.live_activity_pause_count, counters.live_activity_pause_ms) == (2, 60_000)


@pytest.mark.parametrize(("age", "waits"), [(59.999, 1), (60, 0)])
def test_a_track_is_news_for_exactly_a_minute(station, picker, age, waits):
    station.play(picker.clock.utc() - timedelta(seconds=age))
    station.row(artist=None)

    assert picker.warmer.warm_rotation_tracks_cache().live_activity_pause_count == waits


@pytest.mark.parametrize("kind", ["show_start", "show_end", "dj_join", "dj_leave", "talkset", "breakpoint", "message"])
def test_only_tracks_are_live_activity(station, picker, kind):
    station.play(picker.clock.utc(), kind)
    station.row(artist=None)

    assert picker.warmer.warm_rotation_tracks_cache().live_activity_pause_count == 0


def test_waiting_can_be_turned_off(station, open_picker):
    picker = open_picker(live_lookback=0)
    station.play(picker.clock.utc())
    station.row(artist=None)

    assert picker.warmer.warm_rotation_tracks_cache().live_activity_pause_count == 0


def test_a_show_that_does_not_end_costs_each_row_ten_minutes_and_the_walk_nothing(station, picker):
    """Its budget is for asking LML: rows that no show keeps back get all of it."""
    for seconds in range(0, 7200, 50):
        station.play(picker.clock.utc() + timedelta(seconds=seconds))
    for _ in range(5):
        station.row(artist=None)

    counters = picker.warmer.warm_rotation_tracks_cache()

    assert counted(counters) == {
        "budgetSkipped": 5,
        "liveActivityPauseCount": 100,
        "liveActivityPauseMs": 3_000_000,
    }
    assert counters.elapsed_ms == 3_000_000


def test_a_show_that_ends_lets_the_walk_go_on(station, picker):
    for seconds in range(0, 640, 50):
        station.play(picker.clock.utc() + timedelta(seconds=seconds))
    for _ in range(3):
        station.row(artist=None)

    counters = picker.warmer.warm_rotation_tracks_cache()

    assert (counters.scanned, counters.budget_skipped) == (2, 1)


def test_a_warning_says_that_the_look_back_is_no_number(open_picker, logged):
    open_picker(live_lookback_refused="'soon'").warmer.warm_rotation_tracks_cache()

    (warning,) = [line for line in logged() if line["level"] == "WARNING"]
    assert "WARM_LIVE_ACTIVITY_LOOKBACK_SECONDS" in warning["message"]
    assert "'soon'" in warning["message"]


def test_a_probe_that_fails_counts_as_quiet_and_is_reported_once(station, open_picker, events):
    dsn, sent = events
    picker = open_picker(sentry=dsn)
    for _ in range(3):
        station.row(artist=None)
    station.run("ALTER TABLE flowsheet RENAME TO elsewhere")
    try:
        counters = picker.warmer.warm_rotation_tracks_cache()
    finally:
        station.run("ALTER TABLE elsewhere RENAME TO flowsheet")
    picker.telemetry.flush()

    assert counters.scanned == 3
    (event,) = sent()
    assert event["extra"] == {"phase": "live_activity"}


# The walk's own budget, and DJs


def test_rows_beyond_half_an_hour_are_skipped(station, picker):
    """Every row is counted once: scanned and skipped together are the active rows."""

    class Slow:
        def __init__(self, resolver):
            self._resolver = resolver

        def __getattr__(self, name):
            return getattr(self._resolver, name)

        def resolve_rotation_source(self, *args, **how):
            picker.later(minutes=10)
            return self._resolver.resolve_rotation_source(*args, **how)

    station.play(picker.clock.utc() + timedelta(minutes=9))
    for _ in range(5):
        station.row(artist=None)
    picker.warmer._resolver = Slow(picker.resolver)

    counters = picker.warmer.warm_rotation_tracks_cache()

    assert (counters.scanned, counters.budget_skipped) == (3, 2)
    assert counters.live_activity_pause_count > 0, "which is not in the half hour"


def test_waiting_for_its_turn_costs_the_walk_no_row(station, lml, picker):
    """It makes 40 calls a minute, of which none starts while DJs have used up theirs."""
    lml.answers("release", RELEASE)
    for release in range(1, 11):
        station.row(release=release)
    for _ in range(50):
        with picker.limiter.admitted():
            pass

    counters = picker.warmer.warm_rotation_tracks_cache()

    assert counted(counters) == {"scanned": 10, "preResolved": 10, "releaseFetchPositive": 10}
    assert counters.elapsed_ms == pytest.approx((11 * 1.2 + 9 * 1.5) * 1000, abs=50)


def test_the_walk_waits_while_the_breaker_is_open(station, lml, picker):
    for _ in range(5):
        with pytest.raises(AnswerError), picker.limiter.admitted("release"):
            raise AnswerError("a request", "timeout", "no answer")
    lml.answers("release", RELEASE)
    station.row(release=11)

    counters = picker.warmer.warm_rotation_tracks_cache()

    assert (counters.release_fetch_positive, counters.elapsed_ms) == (1, 30_000)


# The database


def test_a_database_that_goes_away_mid_walk_ends_it_and_is_reported_once(station, lml, open_picker, events):
    dsn, sent = events
    picker = open_picker(sentry=dsn)
    for release in range(1, 6):
        station.row(release=release)
    lml.answers("release", RELEASE)
    rows = picker.resolver.rows
    read = rows.row

    def row(rotation_id):
        if len(lml.asked()) == 2:
            rows.close()
            rows._pool._database = msgspec.structs.replace(rows._pool._database, port=1)
        return read(rotation_id)

    rows.row = row
    assert not picker.warmer._walked()

    events = sent()
    walk = [event for event in events if "phase" not in event.get("extra", {})]
    assert len(walk) == 1
    assert walk[0]["tags"]["subsystem"] == "rotation-tracks-cache-warm"
    assert len(events) <= 2
    assert len(lml.asked()) == 2


def test_a_row_that_the_database_refuses_is_one_error(station, lml, picker):
    """Say a lock on it: its siblings go on, since the database still answers."""
    for release in (1, 2):
        station.row(release=release)
    lml.answers("release", RELEASE)
    read = picker.resolver.rows.row

    def row(rotation_id):
        if rotation_id == 1:
            raise DatabaseError("canceling statement due to statement timeout")
        return read(rotation_id)

    picker.resolver.rows.row = row

    assert counted(picker.warmer.warm_rotation_tracks_cache()) == {
        "scanned": 2,
        "errors": 1,
        "preResolved": 1,
        "releaseFetchPositive": 1,
    }


# Starting it


def test_start_returns_at_once_and_a_dj_is_served_while_the_walk_is_stuck(station, lml, open_picker):
    picker = open_picker(SystemClock())
    lml.answers("release", RELEASE, ids=[11], hold=True)
    lml.answers("release", RELEASE)
    station.row(release=11)
    other = station.row(release=12)

    picker.warmer.start_rotation_tracks_cache_warm()
    eventually(lambda: lml.held() == 1)
    assert picker.resolver.tracks(other)

    assert picker.warmer.status().state == "walking"
    lml.let_go()
    eventually(lambda: picker.warmer.status().state == "waiting")
    picker.warmer.stop()
    eventually(lambda: not [t for t in threading.enumerate() if t.name == "rotation-tracks-cache-warm"])
    assert picker.warmer.status().state == "ended"
    assert {tuple(call["ids"]) for call in lml.asked()} == {(11,), (12,)}


def test_no_error_escapes_from_start(open_picker, events, monkeypatch):
    """Neither the walk's failure, nor that no thread can be had."""
    dsn, sent = events
    picker = open_picker(SystemClock(), sentry=dsn)
    monkeypatch.setattr(picker.resolver.rows, "active", lambda: 1 / 0)

    picker.warmer.start_rotation_tracks_cache_warm()
    assert eventually(sent)[0]["exception"]["values"][-1]["type"] == "ZeroDivisionError"
    picker.warmer.stop()

    def no_thread(_):
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", no_thread)
    picker.warmer.start_rotation_tracks_cache_warm()


def test_a_walk_that_failed_is_tried_again_after_a_minute_and_reported_once(station, lml, open_picker, events):
    """The database was away when the process started."""
    dsn, sent = events
    picker = open_picker(SystemClock(speed=600), sentry=dsn)
    lml.answers("release", RELEASE)
    station.row(release=11)
    active, failures = picker.resolver.rows.active, []

    def away():
        if len(failures) < 3:
            failures.append(picker.clock.pace())
            raise DatabaseError("the database is away")
        return active()

    picker.resolver.rows.active = away
    picker.warmer.start_rotation_tracks_cache_warm()
    try:
        status = eventually(lambda: next((s for s in [picker.warmer.status()] if s.state == "waiting"), None))
    finally:
        picker.warmer.stop()

    assert status.walks == 4
    assert status.counters.scanned == status.active == 1
    assert status.last_error is None
    assert 19 * 3600 < status.next_in_seconds <= 20 * 3600
    assert all(later - earlier >= 60 for earlier, later in pairwise(failures))
    assert len(sent()) == 1


def test_a_walk_renews_what_would_not_last_until_the_next_one(station, lml, picker):
    """An answer lives a day in a process, and a walk comes every 20 h."""
    lml.answers("release", RELEASE)
    row = station.row(release=11)

    for walk in range(1, 5):
        picker.warmer.warm_rotation_tracks_cache()
        assert len(lml.asked()) == walk
        picker.later(hours=20)
        picker.resolver.tracks(row)
        assert len(lml.asked()) == walk


def test_a_walk_that_is_told_to_stop_opens_no_further_row(station, lml, open_picker):
    picker = open_picker(SystemClock())
    lml.answers("release", RELEASE, hold=True)
    for release in (11, 12):
        station.row(release=release)

    picker.warmer.start_rotation_tracks_cache_warm()
    eventually(lambda: lml.held() == 1)
    picker.warmer.stop()
    lml.let_go()
    eventually(lambda: picker.warmer.status().state == "ended")
    assert len(lml.asked()) == 1


# More rows than a process has room for


def test_rows_beyond_what_the_caches_hold_are_left_out_and_evict_nobody(station, lml, picker, monkeypatch):
    for module in ("core.picker.caches", "core.picker.order", "core.picker.walk"):
        monkeypatch.setattr(f"{module}.ENTRIES", 5)
    lml.answers("release", RELEASE)
    rows = [station.row(release=release) for release in range(1, 13)]

    first = picker.warmer.warm_rotation_tracks_cache()
    assert (first.scanned, first.budget_skipped, first.release_fetch_positive) == (5, 7, 5)
    picker.later(hours=1)
    again = picker.warmer.warm_rotation_tracks_cache()
    assert (again.scanned, again.budget_skipped, again.release_fetch_already_warm) == (5, 7, 5)
    assert [call["ids"] for call in lml.asked()] == [[release] for release in (12, 11, 10, 9, 8)]
    assert all(picker.resolver.tracks(row) for row in rows[-5:])
    assert len(lml.asked()) == 5
