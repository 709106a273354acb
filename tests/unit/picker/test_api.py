"""What a DJ's request is answered with (docs/design/picker.md#the-answer)."""

import json
import re

import pytest

from core.picker import api
from core.picker.limiter import LmlBusyError, StillFetchingError
from core.picker.lookup import AnswerError
from core.picker.tracks import Track, TrackList


@pytest.fixture
def reported():
    return []


@pytest.fixture
def ask(reported):
    def ask(rotation_id, tracks=lambda _: []):
        reply = api.reply_to(rotation_id, tracks, reported.append)
        return reply.status, json.loads(reply.body)

    return ask


@pytest.mark.parametrize(
    "rotation_id",
    [
        "0",
        "-1",
        "+1",
        "12abc",
        "1.5",
        "1e3",
        "2147483648",
        "9" * 5000,
        "",
        " 1",
        "1\n",
        "0x1",
        "1_0",
        "٣",
        "\uff13",
        "²",
        "null",
    ],
)
def test_what_is_no_positive_integer_is_refused(ask, rotation_id):
    def never(_):
        raise AssertionError

    assert ask(rotation_id, never) == (400, {"message": "rotation_id must be a positive integer"})


@pytest.mark.parametrize("rotation_id", [1, 2_147_483_647])
def test_the_limits_themselves_are_ids(ask, rotation_id):
    asked = []
    assert ask(str(rotation_id), lambda each: [asked.append(each)][:0]) == (200, [])
    assert asked == [rotation_id]


def test_tracks_have_exactly_these_fields(ask):
    tracks = [Track("A1", "Opening Balance", None, ("The Ledgers", "Ann Uity"))]

    assert ask("7", lambda _: tracks) == (
        200,
        [{"position": "A1", "title": "Opening Balance", "duration": None, "artists": ["The Ledgers", "Ann Uity"]}],
    )


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (AnswerError("GET /x", "timeout", "too late"), 504),
        (AnswerError("GET /x", "connection", "broken"), 502),
        (AnswerError("GET /x", "status", "LML answered 401"), 502),
        (AnswerError("GET /x", "status", "LML answered 403"), 502),
        (AnswerError("GET /x", "malformed", "another shape"), 502),
        (LmlBusyError("detail of a queue"), 503),
        (StillFetchingError("detail of a wait"), 503),
        (ZeroDivisionError("secret detail"), 500),
    ],
    ids=str,
)
def test_trouble_has_a_status_of_its_own_and_is_reported(ask, reported, error, status):
    def trouble(_):
        raise error

    answered, body = ask("7", trouble)

    assert answered == status
    assert body.keys() == {"message"}
    assert str(error) not in body["message"]
    assert reported == [error]


def test_the_openapi_document_is_made_of_the_types_that_are_answered():
    document = json.loads(api.openapi())
    operation = document["paths"][api.PATH]["get"]
    track = document["components"]["schemas"]["Track"]

    assert operation["responses"].keys() == {"200", "304", "400", "401", "403", "500", "502", "503", "504"}
    assert operation["security"] == [{"token": []}]
    assert track["required"] == ["position", "title", "duration", "artists"]
    assert track["properties"]["artists"]["minItems"] == 1
    assert operation["parameters"][0]["schema"] == {"type": "integer", "minimum": 1, "maximum": 2_147_483_647}


def test_the_openapi_document_names_none_of_our_own_documents():
    """A client knows neither them nor our code."""
    text = api.openapi().decode()
    assert not re.findall(r"\w+\.(?:md|py|sql)|docs/|DESIGN|LML|Discogs", text)
    assert "description" not in json.loads(text)["components"]["schemas"]["Track"]


# Kept by the asker


TRACKS = TrackList.of([Track("A1", "Opening Balance", None, ("The Ledgers",))], settled=True)


def reply(answer=TRACKS, if_none_match=None):
    return api.reply_to("7", lambda _: answer, [].append, if_none_match=if_none_match)


def test_tracks_are_kept_for_as_long_as_their_row():
    assert reply().headers == {
        "content-type": "application/json",
        "etag": TRACKS.etag,
        "cache-control": "private, max-age=30",
    }


def test_nothing_found_is_asked_for_anew_and_an_answer_in_doubt_is_kept_by_nobody():
    empty, doubtful = TrackList.of([], settled=True), TrackList.of([], settled=False)
    assert reply(empty).headers["cache-control"] == "no-cache"
    assert reply(doubtful).headers == {"content-type": "application/json", "cache-control": "no-store"}
    assert reply(doubtful, "*").status == 200


def test_equal_tracks_have_an_equal_tag_and_other_tracks_another():
    again = TrackList.of([Track("A1", "Opening Balance", None, ("The Ledgers",))], settled=True)
    other = TrackList.of([Track("A1", "Opening Balance", "3:05", ("The Ledgers",))], settled=True)
    assert again.etag == TRACKS.etag != other.etag
    assert re.fullmatch('"[!#-~]+"', TRACKS.etag)


@pytest.mark.parametrize(
    "asked", ["*", TRACKS.etag, f"W/{TRACKS.etag}", f'"other", {TRACKS.etag}', f'"a",{TRACKS.etag},"b"']
)
def test_who_has_the_tracks_is_told_so(asked):
    answered = reply(if_none_match=asked)
    assert (answered.status, answered.body) == (304, b"")
    assert answered.headers == {"etag": TRACKS.etag, "cache-control": "private, max-age=30"}


@pytest.mark.parametrize("asked", [None, "", '"other"', TRACKS.etag.strip('"'), '"*"', "x, *"])
def test_who_has_others_gets_the_tracks(asked):
    assert reply(if_none_match=asked).status == 200


def test_our_own_refusals_say_when_to_try_again():
    def refuse(_):
        raise LmlBusyError("full", retry_after=2.2)

    answered = api.reply_to("7", refuse, [].append)
    assert (answered.status, answered.headers["retry-after"]) == (503, "3")


# Events of the HTTP API


ROUTE = {"version": "2.0", "routeKey": f"GET {api.PATH}"}


def test_an_event_asks_for_a_row():
    headers = {"if-none-match": '"x"', "authorization": "Bearer x"}
    event = {**ROUTE, "pathParameters": {"rotation_id": "7"}, "headers": headers}
    assert api.asked(event) == ("7", '"x"')


ODD = {
    "a test of the console": {"key1": "value1"},
    "a ping that keeps warm": {"source": "serverless-plugin-warmup"},
    "a schedule": {"detail-type": "Scheduled Event", "source": "aws.events"},
    "payload 1.0": {
        "version": "1.0",
        "resource": api.PATH,
        "httpMethod": "GET",
        "pathParameters": {"rotation_id": "1"},
    },
    "a list": [],
    "a text": "ping",
    "nothing": None,
    "a route of another type": {"routeKey": 7},
}


@pytest.mark.parametrize("event", ODD.values(), ids=ODD)
def test_what_is_no_request_is_told_so(event):
    answered = api.asked(event)
    assert (answered.status, json.loads(answered.body).keys()) == (400, {"message"})


@pytest.mark.parametrize("route", ["POST /openapi.json", "GET /", "$default", f"HEAD {api.PATH}"])
def test_a_route_that_is_not_ours_is_not_found(route):
    assert api.asked({"routeKey": route}).status == 404


@pytest.mark.parametrize(
    "rest", [{}, {"pathParameters": None}, {"pathParameters": {}}, {"pathParameters": {"rotation_id": None}}]
)
def test_a_request_without_an_id_asks_for_no_row(rest):
    assert api.asked({**ROUTE, **rest}).status == 400


@pytest.mark.parametrize("rotation_id", ["%31", " 1", "\uff11", "1\n", "-0", "2147483648", 7, ["7"]])
def test_an_event_with_what_is_no_id_needs_no_picker(rotation_id):
    answered = api.asked({**ROUTE, "pathParameters": {"rotation_id": rotation_id}})
    assert (answered.status, json.loads(answered.body)) == (400, {"message": "rotation_id must be a positive integer"})
