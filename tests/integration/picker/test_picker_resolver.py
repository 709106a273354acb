"""A DJ opens a row: the three tiers, what is remembered of each outcome and for how long (PICKER.md)."""

import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

import pytest
from msgspec.structs import replace

from core.clock import SystemClock
from core.picker.lookup import AnswerError
from core.picker.rows import DatabaseError, Rows
from tests.eventually import eventually
from tests.integration.picking import DIRECT, RELEASE

MISS = DIRECT | {"search_type": "none", "results": []}
TRACKS = [{"position": "1", "title": "Petty Cash", "duration": None, "artists": ["Ann Uity"]}]


def direct(release_id=77, tracks=(), **fields):
    return DIRECT | {"results": [{"artwork": {"release_id": release_id, "tracklist": list(tracks)}}]} | fields


def titles(tracks):
    return [track.title for track in tracks]


# The tiers


def test_the_release_of_the_row_comes_first(station, lml, picker):
    lml.says("release", RELEASE)
    row = station.row(release=11, library=22)

    assert titles(picker.resolver.tracks(row)) == ["Opening Balance"]
    assert [call["ids"] for call in lml.asked()] == [[11]]
    assert picker.resolver.resolve_rotation_source(row).how == "release"


def test_the_release_of_the_library_comes_second(station, lml, picker):
    lml.says("release", RELEASE)
    row = station.row(library=22)

    assert titles(picker.resolver.tracks(row)) == ["Opening Balance"]
    assert [call["ids"] for call in lml.asked()] == [[22]]
    assert picker.resolver.resolve_rotation_source(row).how == "identity"


@pytest.mark.parametrize("library", [0, -5])
def test_a_library_release_that_is_none_leads_to_the_third_tier(station, lml, picker, library):
    lml.says("lookup", direct(33))
    lml.says("release", RELEASE)
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
        "x-caller-budget-ms": "5000",
        "x-caller-class": "2",
        "x-caller-reason": "library-rotation-picker",
    }


def test_a_killed_row_resolves_too(station, lml, picker):
    lml.says("release", RELEASE)
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
    lml.says("lookup", direct(33))

    picker.later(days=7, microseconds=-1)
    assert picker.resolver.resolve_rotation_source(row).how == "marker"
    assert lml.asked() == []

    picker.later(microseconds=1)
    assert picker.resolver.resolve_rotation_source(row).how == "lml_positive"


def test_a_marker_counts_only_in_the_third_tier(station, lml, picker):
    lml.says("release", RELEASE)
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
    lml.says("lookup", answer)
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
    lml.says("lookup", answer)
    row = station.row()

    assert picker.resolver.tracks(row) == []
    assert station.marker(row) == picker.clock.utc()
    station.run("UPDATE rotation SET tracklist_lookup_attempted_at = NULL")  # the cache alone, now
    picker.later(hours=24, seconds=-1)
    assert picker.resolver.resolve_rotation_source(row).how == "remembered"
    picker.later(seconds=1)
    assert picker.resolver.resolve_rotation_source(row).how == "lml_negative"


UNSURE = [
    pytest.param({"timeout": True}, id="timeout"),
    pytest.param({"degraded": True, "degraded_reason": "deadline_exceeded"}, id="deadline"),
    pytest.param({"degraded": True, "degraded_reason": "upstream_unavailable"}, id="upstream"),
]


@pytest.mark.parametrize("doubt", UNSURE)
@pytest.mark.parametrize("answer", [MISS, direct(33)], ids=["miss", "find"])
def test_of_an_answer_in_doubt_nothing_is_remembered(station, lml, picker, answer, doubt):
    lml.says("lookup", answer | doubt)
    row = station.row()

    assert [picker.resolver.resolve_rotation_source(row).how for _ in range(2)] == ["failed", "failed"]
    assert len(lml.asked("lookup")) == 2
    assert station.marker(row) is None


def test_a_dj_gets_what_was_found_in_doubt(station, lml, picker):
    lml.says("lookup", direct(33, TRACKS, timeout=True))
    assert titles(picker.resolver.tracks(station.row())) == ["Petty Cash"]


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
    lml.says("lookup", **trouble)
    row = station.row()

    assert picker.resolver.tracks(row) == []
    assert station.marker(row) is None
    lml.reset()
    lml.says("lookup", direct(0, TRACKS))
    assert titles(picker.resolver.tracks(row)) == ["Petty Cash"]


def test_of_a_time_out_nothing_is_remembered(station, lml, open_picker):
    """The body, too, has to come within the 5 s."""
    picker = open_picker(SystemClock(speed=50))
    lml.says("lookup", half=True, times=1)
    row = station.row()

    source = picker.resolver.resolve_rotation_source(row)

    assert source.how == "failed"
    assert source.error.cause == "timeout"
    assert picker.resolver.resolve_rotation_source(row).how == "lml_negative"


def test_of_our_own_refusal_nothing_is_remembered(station, lml, picker):
    lml.says("lookup", direct(0, TRACKS))
    row = station.row()
    for _ in range(5):
        with suppress(AnswerError), picker.limiter.admitted():
            raise AnswerError("a request", "timeout", "no answer")

    assert picker.resolver.resolve_rotation_source(row).how == "failed"
    assert lml.asked() == []
    picker.later(seconds=30)
    assert picker.resolver.resolve_rotation_source(row).how == "lml_positive"


def test_a_role_that_may_not_mark_costs_no_answer(station, lml, picker):
    lml.says("lookup", MISS)
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
    lml.says("release", RELEASE)
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
    lml.says("release", status=404)
    row = station.row(release=11)

    assert picker.resolver.tracks(row) == []
    picker.later(minutes=10, seconds=-1)
    assert picker.resolver.tracks(row) == []
    assert len(lml.asked()) == 1
    picker.later(seconds=1)
    assert picker.resolver.tracks(row) == []
    assert len(lml.asked()) == 2


def test_tracks_that_come_with_the_lookup_need_no_release(station, lml, picker):
    lml.says("lookup", direct(33, TRACKS))

    assert titles(picker.resolver.tracks(station.row())) == ["Petty Cash"]
    assert lml.asked("release") == []


@pytest.mark.parametrize(
    "trouble",
    [
        *(pytest.param({"status": status}, id=str(status)) for status in (400, 401, 403, 500, 503)),
        pytest.param({"status": 200, "body": "{}"}, id="no-tracks"),
        pytest.param({"status": 200, "body": '{"tracklist": null}'}, id="tracks-null"),
        pytest.param({"status": 200, "body": '{"tracklist": [{"position": 1, "title": "T"}]}'}, id="position-number"),
        pytest.param({"status": 200, "body": '{"tracklist": [{"position": "1"}]}'}, id="no-title"),
        pytest.param({"status": 200, "body": "[]"}, id="no-object"),
    ],
)
def test_trouble_with_a_release_is_raised_and_not_remembered(station, lml, picker, trouble):
    lml.says("release", times=1, **trouble)
    lml.says("release", RELEASE)
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
    lml.says("release", {"artist": release, "tracklist": [track]})

    (answered,) = picker.resolver.tracks(station.row(artist=row, release=11))

    assert answered.artists == shown


@pytest.mark.parametrize("hostile", ["'; DROP TABLE rotation; --", "<script>\u202e{{7*7}}", '%s :id \\ " 💽 {schema}'])
def test_hostile_names_pass_through_unharmed(station, lml, picker, hostile):
    track = {"position": hostile, "title": hostile, "duration": None, "artists": [hostile]}
    lml.says("lookup", direct(0, [track]))

    (answered,) = picker.resolver.tracks(station.row(artist=hostile, album=hostile))

    assert (answered.position, answered.title, answered.artists) == (hostile, hostile, (hostile,))
    assert hostile in lml.bodies()[0]["raw_message"]


# Together


def test_djs_who_open_a_cold_row_at_once_share_one_call(station, lml, picker):
    lml.says("lookup", direct(0, TRACKS), hold=True)
    row = station.row()

    with ThreadPoolExecutor(8) as djs:
        opened = [djs.submit(picker.resolver.tracks, row) for _ in range(8)]
        eventually(lambda: lml.held() == 1)
        lml.let_go()
        assert [titles(each.result()) for each in opened] == [["Petty Cash"]] * 8
    assert len(lml.asked()) == 1


def test_djs_who_share_a_call_share_its_failure(station, lml, picker):
    lml.says("release", status=500, hold=True)
    row = station.row(release=11)

    with ThreadPoolExecutor(4) as djs:
        opened = [djs.submit(picker.resolver.tracks, row) for _ in range(4)]
        eventually(lambda: lml.held() == 1)
        lml.let_go()
        assert all(isinstance(each.exception(), AnswerError) for each in opened)


# The database


def test_a_connection_that_the_server_closed_is_replaced(station, lml, picker):
    lml.says("release", RELEASE)
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
