"""A DJ opens a row: the three tiers, what is remembered of each outcome and for how long."""

import json
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

import pytest
from msgspec.structs import replace

from core.clock import SystemClock
from core.picker.limiter import LmlBusyError, StillFetchingError
from core.picker.lookup import AnswerError
from core.picker.rows import DatabaseError, Rows
from tests.eventually import eventually
from tests.integration.picking import DIRECT, RELEASE, lost

MISS = DIRECT | {"search_type": "none", "results": []}
TRACKS = [{"position": "1", "title": "Petty Cash", "duration": None, "artists": ["Ann Uity"]}]


def direct(release_id=77, tracks=(), **fields):
    return DIRECT | {"results": [{"artwork": {"release_id": release_id, "tracklist": list(tracks)}}]} | fields


def titles(tracks):
    return [track.title for track in tracks]


# The tiers


def test_the_release_of_the_row_comes_first(station, lml, picker):
    lml.answers("release", RELEASE)
    row = station.row(release=11, library=22)

    assert titles(picker.resolver.tracks(row)) == ["Opening Balance"]
    assert [call["ids"] for call in lml.asked()] == [[11]]
    assert picker.resolver.resolve_rotation_source(row).how == "release"


def test_the_release_of_the_library_comes_second(station, lml, picker):
    lml.answers("release", RELEASE)
    row = station.row(library=22)

    assert titles(picker.resolver.tracks(row)) == ["Opening Balance"]
    assert [call["ids"] for call in lml.asked()] == [[22]]
    assert picker.resolver.resolve_rotation_source(row).how == "identity"


@pytest.mark.parametrize("library", [0, -5])
def test_a_library_release_that_is_none_leads_to_the_third_tier(station, lml, picker, library):
    lml.answers("lookup", direct(33))
    lml.answers("release", RELEASE)
    row = station.row(library=library)

    assert titles(picker.resolver.tracks(row)) == ["Opening Balance"]
    assert [(call["path"], call["ids"]) for call in lml.asked()] == [("lookup", []), ("release", [33])]


def test_a_lookup_sends_what_lml_asks_for(station, lml, picker):
    row = station.row(artist=" The Ledgers ", album="Double Entry")

    picker.resolver.resolve_rotation_source(row)

    assert lml.bodies() == [
        {
            "raw_message": "The Ledgers - Double Entry",
            "artist": "The Ledgers",
            "album": "Double Entry",
            "extended": True,
        }
    ]
    headers = lml.asked()[0]["headers"]
    assert headers["authorization"] == "Bearer key-of-lml"
    assert {name: headers[name] for name in headers if name.startswith("x-caller")} == {
        "x-caller-class": "2",
        "x-caller-reason": "library-rotation-picker",
    }


def test_for_various_artists_the_album_is_sent_alone(station, lml, picker):
    picker.resolver.resolve_rotation_source(station.row(artist="Various Artists - Soundtrack", album="Double Entry"))

    assert lml.bodies() == [{"raw_message": "Double Entry", "album": "Double Entry", "extended": True}]


def test_a_killed_row_resolves_too(station, lml, picker):
    lml.answers("release", RELEASE)
    assert titles(picker.resolver.tracks(station.row(release=11, killed=-400))) == ["Opening Balance"]


def test_a_row_that_does_not_exist_has_no_tracks(lml, picker):
    assert picker.resolver.tracks(2_147_483_647) == []
    assert lml.asked() == []


@pytest.mark.parametrize(
    ("artist", "album"), [(None, "Album"), ("Artist", None), (None, None), ("  ", "Album"), ("A", "")]
)
def test_without_a_name_nothing_is_asked_and_nothing_remembered(station, lml, picker, artist, album):
    row = station.row(artist=artist, album=album)

    assert picker.resolver.tracks(row) == []
    assert picker.resolver.resolve_rotation_source(row).how == "no_names"
    assert lml.asked() == []
    station.run("UPDATE rotation SET artist_name = 'Artist', album_title = 'Album'")
    picker.resolver.tracks(row)
    assert len(lml.asked("lookup")) == 1


# The negative marker


def test_a_marker_ends_the_search_until_it_is_seven_days_old(station, lml, picker):
    marked = picker.clock.utc()
    row = station.row(marked=marked)
    lml.answers("lookup", direct(33))

    picker.later(days=7, microseconds=-1)
    assert picker.resolver.resolve_rotation_source(row).how == "marker"
    assert lml.asked() == []

    picker.later(microseconds=1)
    assert picker.resolver.resolve_rotation_source(row).how == "lml_positive"


def test_a_marker_counts_only_in_the_third_tier(station, lml, picker):
    lml.answers("release", RELEASE)
    row = station.row(release=11, marked=picker.clock.utc())

    assert titles(picker.resolver.tracks(row)) == ["Opening Balance"]


# What is remembered of each outcome


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param(direct(33), id="a-release"),
        pytest.param(direct(33, TRACKS), id="a-release-with-tracks"),
        pytest.param(direct(0, TRACKS), id="tracks-without-a-release"),
        pytest.param(direct(-1, TRACKS), id="tracks-and-a-negative-release"),
        pytest.param(direct(33, degraded=True, degraded_reason="cache_only"), id="from-a-cache-only"),
    ],
)
def test_a_find_is_remembered_for_a_day(station, lml, picker, answer):
    lml.answers("lookup", answer)
    row = station.row()

    first = picker.resolver.resolve_rotation_source(row)
    picker.later(hours=24, seconds=-1)
    second = picker.resolver.resolve_rotation_source(row)
    assert (first.how, second.how) == ("lml_positive", "remembered")
    assert (first.release_id, first.tracks) == (second.release_id, second.tracks)
    assert len(lml.asked("lookup")) == 1
    assert station.marker(row) is None

    picker.later(seconds=1)
    assert picker.resolver.resolve_rotation_source(row).how == "lml_positive"


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param(MISS, id="nothing"),
        pytest.param(direct(0), id="direct-without-a-release"),
        pytest.param(direct(-3), id="a-negative-release"),
        pytest.param(direct(33) | {"results": []}, id="direct-without-results"),
        pytest.param(direct(33) | {"results": [{"artwork": None}]}, id="direct-to-the-library-alone"),
        pytest.param(MISS | {"results": [{"artwork": None}, {}]}, id="no-artwork"),
        pytest.param(MISS | {"timeout": None, "degraded": None, "search_type": None}, id="nulls"),
        *(
            pytest.param(direct(33, TRACKS) | {"search_type": kind}, id=kind)
            for kind in ("fallback", "alternative", "compilation", "song_as_artist", "a-new-one")
        ),
    ],
)
def test_a_definite_miss_is_remembered_for_a_day_and_marked(station, lml, picker, answer):
    lml.answers("lookup", answer)
    row = station.row()

    assert picker.resolver.tracks(row) == []
    assert station.marker(row) == picker.clock.utc()
    station.run("UPDATE rotation SET tracklist_lookup_attempted_at = NULL")  # the cache alone, now
    picker.later(hours=24, seconds=-1)
    assert picker.resolver.resolve_rotation_source(row).how == "remembered"
    picker.later(seconds=1)
    assert picker.resolver.resolve_rotation_source(row).how == "lml_negative"


DOUBTS = [
    pytest.param({"timeout": True}, id="timeout"),
    *(
        pytest.param({"degraded": True, "degraded_reason": reason}, id=str(reason))
        for reason in ("deadline_exceeded", "upstream_unavailable", "cache_only", "a-new-one", None, 7)
    ),
]


@pytest.mark.parametrize("doubt", DOUBTS)
def test_of_a_miss_in_doubt_nothing_is_remembered(station, lml, picker, doubt):
    lml.answers("lookup", MISS | doubt)
    row = station.row()

    assert [picker.resolver.resolve_rotation_source(row).how for _ in range(2)] == ["failed", "failed"]
    assert len(lml.asked("lookup")) == 2
    assert station.marker(row) is None
    assert not picker.resolver.answer(row).settled


@pytest.mark.parametrize("doubt", DOUBTS)
def test_a_find_is_a_find_however_lml_came_by_it(station, lml, picker, doubt):
    lml.answers("lookup", direct(33, TRACKS) | doubt)
    row = station.row()

    assert titles(picker.resolver.tracks(row)) == ["Petty Cash"]
    assert picker.resolver.resolve_rotation_source(row).how == "remembered"


# A row whose names are put right


def put_right(station, row, artist="The Ledgers", album="Triple Entry"):
    station.run("UPDATE rotation SET artist_name = :artist, album_title = :album", artist=artist, album=album)
    assert row


@pytest.mark.parametrize("cleared", [True, False], ids=["marker-cleared", "marker-left"])
def test_a_corrected_row_is_asked_for_anew_at_once(station, lml, picker, cleared):
    lml.answers("lookup", MISS, times=1)
    lml.answers("lookup", direct(33, TRACKS))
    row = station.row()
    assert picker.resolver.tracks(row) == []

    put_right(station, row)
    if cleared:
        station.run("UPDATE rotation SET tracklist_lookup_attempted_at = NULL")
    assert titles(picker.resolver.tracks(row)) == ["Petty Cash"]
    assert titles(picker.resolver.tracks(row)) == ["Petty Cash"], "the old marker does not end the search again"
    assert [body["album"] for body in lml.bodies()] == ["Double Entry", "Triple Entry"]


def test_a_correction_that_was_wrong_too_is_marked_anew(station, lml, picker):
    lml.answers("lookup", MISS)
    row = station.row()
    picker.resolver.tracks(row)
    put_right(station, row)

    assert [picker.resolver.resolve_rotation_source(row).how for _ in range(2)] == ["lml_negative", "marker"]
    assert len(lml.asked()) == 2


def test_a_find_under_the_old_names_is_not_given_for_the_new_ones(station, lml, picker):
    lml.answers("lookup", direct(33, TRACKS), times=1)
    lml.answers("lookup", direct(44, [TRACKS[0] | {"title": "Grand Total"}]))
    row = station.row()
    picker.resolver.tracks(row)

    put_right(station, row, artist="The Auditors")
    assert titles(picker.resolver.tracks(row)) == ["Grand Total"]
    put_right(station, row, artist=" The Auditors ")
    assert picker.resolver.resolve_rotation_source(row).how == "remembered", "white space is no correction"


def test_a_marker_of_somebody_else_stands(station, lml, picker):
    """This service has kept nothing for the row: it cannot know whether the names have changed."""
    row = station.row(marked=picker.clock.utc())
    put_right(station, row)

    assert picker.resolver.resolve_rotation_source(row).how == "marker"
    assert lml.asked() == []


TROUBLE = [
    *(pytest.param({"status": status}, id=str(status)) for status in (400, 401, 403, 404, 422, 429, 500, 502, 503)),
    pytest.param({"reset": "before"}, id="reset"),
    pytest.param({"status": 200, "body": "not JSON"}, id="no-json"),
    pytest.param({"status": 200, "body": "[]"}, id="no-object"),
    pytest.param({"status": 200, "body": "{}"}, id="empty"),
    pytest.param({"status": 200, "body": '{"search_type": "direct", "results": 3}'}, id="results-no-list"),
    pytest.param({"status": 200, "body": '{"search_type": "direct", "results": [{}]}'}, id="no-artwork-at-all"),
    pytest.param(
        {"status": 200, "body": '{"search_type": "direct", "results": [{"artwork": {"release_id": "7"}}]}'},
        id="id-text",
    ),
    pytest.param({"status": 200, "body": '{"search_type": 7, "results": []}'}, id="type-number"),
    pytest.param({"status": 200, "body": "[" * 100_000}, id="nested"),
]


@pytest.mark.parametrize("trouble", TROUBLE)
def test_of_trouble_nothing_is_remembered_and_a_dj_sees_an_empty_list(station, lml, picker, trouble):
    lml.answers("lookup", **trouble)
    row = station.row()

    assert picker.resolver.tracks(row) == []
    assert station.marker(row) is None
    lml.reset()
    lml.answers("lookup", direct(0, TRACKS))
    assert titles(picker.resolver.tracks(row)) == ["Petty Cash"]


@pytest.mark.parametrize(("path", "seconds"), [("lookup", 25), ("release", 30)])
def test_of_a_time_out_nothing_is_remembered(station, lml, open_picker, path, seconds):
    """The body, too, has to come within the time that the walk gives LML."""
    picker = open_picker(SystemClock(speed=50))
    lml.answers(path, half=True, times=1)
    lml.answers("lookup", direct(33))
    lml.answers("release", RELEASE)
    row = station.row()
    began = picker.clock.pace()

    counters = picker.warmer.warm_rotation_tracks_cache()

    assert (counters.errors, counters.release_fetch_errors) == ((1, 0) if path == "lookup" else (0, 1))
    assert picker.clock.pace() - began >= seconds
    assert titles(picker.resolver.tracks(row)) == ["Opening Balance"]


# What a DJ cannot wait for


@pytest.mark.parametrize(("path", "seconds"), [("lookup", 10), ("release", 15)])
def test_what_a_dj_cannot_wait_for_is_fetched_and_kept(station, lml, open_picker, path, seconds):
    """The row is finished, too: its release comes after the lookup that nobody waited for."""
    picker = open_picker(SystemClock(speed=10))
    lml.answers(path, direct(33) if path == "lookup" else RELEASE, hold=True, times=1)
    lml.answers("lookup", direct(33))
    lml.answers("release", RELEASE)
    row = station.row()
    began = picker.clock.pace()

    with pytest.raises(StillFetchingError) as left:
        picker.resolver.tracks(row)
    assert left.value.retry_after > 0
    assert seconds <= picker.clock.pace() - began
    lml.let_go()
    assert picker.resolver.background.wait(30)

    assert titles(picker.resolver.tracks(row)) == ["Opening Balance"]
    assert [call["path"] for call in lml.asked()] == ["lookup", "release"]


def test_a_dj_is_answered_within_his_patience(station, lml, open_picker):
    picker = open_picker(SystemClock(speed=10))
    lml.answers("release", RELEASE, hold=True)
    began = picker.clock.pace()

    with pytest.raises(StillFetchingError):
        picker.resolver.answer(station.row(release=11), patience=3)
    assert picker.clock.pace() - began < 15
    lml.let_go()
    assert picker.resolver.background.wait(30)


def test_a_lookup_of_seven_seconds_is_waited_for(station, lml, open_picker):
    """Faster than this LML seldom is with a cold row."""
    picker = open_picker(SystemClock(speed=4))
    lml.answers("lookup", direct(33), delay=7 / 4)
    lml.answers("release", RELEASE, delay=7 / 4)

    assert titles(picker.resolver.tracks(station.row())) == ["Opening Balance"]


# What needs nobody


def test_an_answer_is_given_again_for_half_a_minute_without_its_row(station, lml, picker):
    lml.answers("release", RELEASE)
    row = station.row(release=11)
    assert picker.resolver.remembered(row) is None
    answer = picker.resolver.answer(row)
    lml.reset()
    station.empty()

    picker.later(seconds=29.9)
    assert picker.resolver.remembered(row) == answer
    assert json.loads(answer.body)[0]["title"] == "Opening Balance"
    assert answer.etag.startswith('"')
    assert answer.settled
    picker.later(seconds=0.1)
    assert picker.resolver.remembered(row) is None


def test_an_empty_answer_is_not_given_again_without_its_row(station, lml, picker):
    """Else a row that was just put right would stay empty for half a minute."""
    lml.answers("lookup", MISS)
    row = station.row()

    assert picker.resolver.answer(row).body == b"[]"
    assert picker.resolver.remembered(row) is None


def test_the_same_tracks_have_the_same_tag(station, lml, open_picker):
    lml.answers("release", RELEASE)
    row, other = station.row(release=11), station.row(release=11, artist="Somebody Else")
    tags = [open_picker().resolver.answer(row).etag, open_picker().resolver.answer(row).etag]
    assert len(set(tags)) == 1

    lml.reset()
    lml.answers("release", RELEASE | {"artist": "Other Ledgers"})
    assert open_picker().resolver.answer(other).etag != tags[0]


def test_of_our_own_refusal_nothing_is_remembered(station, lml, picker):
    lml.answers("lookup", direct(0, TRACKS))
    row = station.row()
    for _ in range(5):
        with suppress(AnswerError), picker.limiter.admitted():
            raise AnswerError("a request", "timeout", "no answer")

    assert picker.resolver.resolve_rotation_source(row).how == "failed"
    assert lml.asked() == []
    with pytest.raises(LmlBusyError):
        picker.resolver.tracks(row)
    picker.later(seconds=30)
    assert picker.resolver.resolve_rotation_source(row).how == "lml_positive"


def test_a_role_that_may_not_mark_costs_no_answer(station, lml, picker):
    lml.answers("lookup", MISS)
    row = station.row()
    station.run(f"REVOKE UPDATE (tracklist_lookup_attempted_at) ON rotation FROM {station.settings.username}")
    try:
        assert picker.resolver.resolve_rotation_source(row).how == "lml_negative"
    finally:
        station.run(f"GRANT UPDATE (tracklist_lookup_attempted_at) ON rotation TO {station.settings.username}")

    assert station.marker(row) is None
    assert "permission denied" in str(picker.warned)
    assert picker.resolver.resolve_rotation_source(row).how == "remembered"


# The release


def test_a_release_is_remembered_for_a_day(station, lml, picker):
    lml.answers("release", RELEASE)
    rows = [station.row(release=11), station.row(release=11)]

    for row in rows:
        assert picker.resolver.tracks(row)
    picker.later(hours=24, seconds=-1)
    assert picker.resolver.tracks(rows[0])
    assert len(lml.asked()) == 1
    picker.later(seconds=1)
    assert picker.resolver.tracks(rows[0])
    assert len(lml.asked()) == 2


def test_a_release_that_discogs_lost_is_remembered_for_ten_minutes(station, lml, picker):
    lml.answers("release", **lost(11))
    row = station.row(release=11)

    assert picker.resolver.tracks(row) == []
    picker.later(minutes=10, seconds=-1)
    assert picker.resolver.tracks(row) == []
    assert len(lml.asked()) == 1
    picker.later(seconds=1)
    assert picker.resolver.tracks(row) == []
    assert len(lml.asked()) == 2


def test_tracks_that_come_with_the_lookup_need_no_release(station, lml, picker):
    lml.answers("lookup", direct(33, TRACKS))

    assert titles(picker.resolver.tracks(station.row())) == ["Petty Cash"]
    assert lml.asked("release") == []


@pytest.mark.parametrize(
    "trouble",
    [
        *(pytest.param({"status": status}, id=str(status)) for status in (400, 401, 403, 404, 500, 503)),
        pytest.param({"status": 404, "body": '{"detail": "Not Found"}'}, id="404-of-a-route-that-is-missing"),
        pytest.param({"status": 404, "body": "<h1>404 Not Found</h1>"}, id="404-of-a-proxy"),
        pytest.param(lost(12), id="404-of-another-release"),
        pytest.param({"status": 404, "body": "[" * 100_000}, id="404-nested"),
        pytest.param({"status": 200, "body": "{}"}, id="no-tracks"),
        pytest.param({"status": 200, "body": '{"tracklist": null}'}, id="tracks-null"),
        pytest.param({"status": 200, "body": '{"tracklist": [{"position": 1, "title": "T"}]}'}, id="position-number"),
        pytest.param({"status": 200, "body": '{"tracklist": [{"position": "1"}]}'}, id="no-title"),
        pytest.param({"status": 200, "body": "[]"}, id="no-object"),
    ],
)
def test_trouble_with_a_release_is_raised_and_not_remembered(station, lml, picker, trouble):
    lml.answers("release", times=1, **trouble)
    lml.answers("release", RELEASE)
    row = station.row(release=11)

    with pytest.raises(AnswerError):
        picker.resolver.tracks(row)
    assert titles(picker.resolver.tracks(row)) == ["Opening Balance"]


@pytest.mark.parametrize(
    ("row", "release", "credited", "shown"),
    [
        ("Row", "Release", ["Track", "Guest"], ("Track", "Guest")),
        ("Row", "Release", None, ("Release",)),
        ("Row", "Release", [], ("Release",)),
        ("Row", "Release", ["", " "], ("Release",)),
        ("Row", "", None, ("Row",)),
        ("Row", None, None, ("Row",)),
        (None, None, None, ("Unknown artist",)),
    ],
)
def test_artists_are_never_empty(station, lml, picker, row, release, credited, shown):  # noqa: PLR0917 - a table
    track = {"position": "1", "title": "Track", "duration": None, "artists": credited}
    lml.answers("release", {"artist": release, "tracklist": [track]})

    (answered,) = picker.resolver.tracks(station.row(artist=row, release=11))

    assert answered.artists == shown


@pytest.mark.parametrize("hostile", ["'; DROP TABLE rotation; --", "<script>\u202e{{7*7}}", '%s :id \\ " 💽 {schema}'])
def test_hostile_names_pass_through_unharmed(station, lml, picker, hostile):
    track = {"position": hostile, "title": hostile, "duration": None, "artists": [hostile]}
    lml.answers("lookup", direct(0, [track]))

    (answered,) = picker.resolver.tracks(station.row(artist=hostile, album=hostile))

    assert (answered.position, answered.title, answered.artists) == (hostile, hostile, (hostile,))
    assert hostile in lml.bodies()[0]["raw_message"]


# Together


def test_djs_who_open_a_cold_row_at_once_share_one_call(station, lml, picker):
    lml.answers("lookup", direct(0, TRACKS), hold=True)
    row = station.row()

    with ThreadPoolExecutor(8) as djs:
        opened = [djs.submit(picker.resolver.tracks, row) for _ in range(8)]
        eventually(lambda: lml.held() == 1)
        lml.let_go()
        assert [titles(each.result()) for each in opened] == [["Petty Cash"]] * 8
    assert len(lml.asked()) == 1


def test_djs_who_share_a_call_share_its_failure(station, lml, picker):
    lml.answers("release", status=500, hold=True, times=1)
    lml.answers("release", status=500)  # for a DJ who comes when the others have had their answer
    row = station.row(release=11)

    with ThreadPoolExecutor(4) as djs:
        opened = [djs.submit(picker.resolver.tracks, row) for _ in range(4)]
        eventually(lambda: lml.held() == 1)
        lml.let_go()
        assert all(isinstance(each.exception(), AnswerError) for each in opened)


# The database


def test_a_connection_that_the_server_closed_is_replaced(station, lml, picker):
    lml.answers("release", RELEASE)
    row = station.row(release=11)
    picker.resolver.tracks(row)
    station.hang_up()

    assert titles(picker.resolver.tracks(row)) == ["Opening Balance"]


def test_a_connection_is_not_trusted_after_five_idle_minutes(station, picker):
    row = station.row()
    count = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'rotation-artist-backfill'"
    picker.resolver.rows.row(row)
    (before,) = picker.resolver.rows._pool._idle

    picker.later(minutes=5)
    picker.resolver.rows.row(row)

    (after,) = picker.resolver.rows._pool._idle
    assert after is not before
    assert eventually(lambda: station.run(count) == [[1]])


def test_a_burst_leaves_five_connections_and_a_quiet_time_after_it_one(station, picker):
    count = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'rotation-artist-backfill'"
    pool, row = picker.resolver.rows._pool, station.row()
    with ThreadPoolExecutor(40) as djs:
        for read in [djs.submit(pool.run, "burst", "SELECT pg_sleep(0.05)") for _ in range(40)]:
            read.result()
    assert station.run(count) == [[5]]

    for _ in range(3):
        picker.later(minutes=2)
        picker.resolver.rows.row(row)

    assert eventually(lambda: station.run(count) == [[1]])


def test_threads_have_connections_of_their_own(station, picker):
    row = station.row()
    together = threading.Barrier(4)

    def read():
        together.wait(30)
        return [picker.resolver.rows.row(row).artist for _ in range(20)]

    with ThreadPoolExecutor(4) as djs:
        reads = [djs.submit(read) for _ in range(4)]
        assert {artist for each in reads for artist in each.result()} == {"The Ledgers"}


def test_a_database_that_is_away_is_an_error_that_says_so(station, open_picker):
    picker = open_picker()
    picker.resolver.rows = Rows(replace(station.settings, port=1), picker.clock)

    with pytest.raises(DatabaseError, match=r"127\.0\.0\.1:1"):
        picker.resolver.tracks(1)
