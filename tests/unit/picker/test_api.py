"""What a DJ's request is answered with (PICKER.md, "The answer")."""

import json

import pytest

from core.picker import api
from core.picker.limiter import RefusedError
from core.picker.lookup import AnswerError
from core.picker.tracks import Track


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
        (RefusedError("detail of a queue"), 502),
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
    document = json.loads(api.openapi(authorized=True))
    operation = document["paths"][api.PATH]["get"]
    track = document["components"]["schemas"]["Track"]

    assert operation["responses"].keys() == {"200", "400", "500", "502", "504"}
    assert operation["security"] == [{"jwt": ["catalog:read"]}]
    assert track["required"] == ["position", "title", "duration", "artists"]
    assert track["properties"]["artists"]["minItems"] == 1
    assert operation["parameters"][0]["schema"] == {"type": "integer", "minimum": 1, "maximum": 2_147_483_647}
