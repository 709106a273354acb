"""The picker over HTTP: what each request is answered with, and the OpenAPI document that says the same."""

import math
import re
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from typing import Any, Final, NamedTuple

import msgspec

from core.aws import http_api
from core.picker.limiter import LmlBusyError
from core.picker.lookup import AnswerError
from core.picker.tracks import Track, TrackList

PATH: Final = "/library/rotation/{rotation_id}/tracks"
OPENAPI_PATH: Final = "/openapi.json"
HIGHEST_ID: Final = 2_147_483_647
"""The largest integer of PostgreSQL, which `rotation.id` is."""
KEPT: Final = "private, max-age=30"
"""A browser keeps tracks for as long as this service keeps their row."""
NO_KEYS: Final = "no token can be checked now; try again in a moment"
_JSON: Final = "application/json"
_DIGITS: Final = re.compile("[0-9]{1,10}")
_NO_ID: Final = "rotation_id must be a positive integer"
_encode = msgspec.json.Encoder().encode


class Problem(msgspec.Struct):
    """The body of every answer but 200 and 304."""

    message: str


class ApiReply(NamedTuple):
    """An HTTP answer, its body JSON."""

    status: int
    body: bytes
    headers: Mapping[str, str] = {"content-type": _JSON}

    def for_lambda(self) -> dict[str, object]:
        """Return it as the HTTP API takes it from a function, payload 2.0."""
        return {"statusCode": self.status, "headers": dict(self.headers), "body": self.body.decode()}


class TracksRequest(NamedTuple):
    """A request: the tracks of a row, unless the client has them already."""

    rotation_id: str
    if_none_match: str | None = None


def asked(event: object) -> TracksRequest | ApiReply:
    """Read an event of the HTTP API, payload 2.0; a reply where it wants no tracks, or is no request of that API."""
    route = event.get("routeKey") if isinstance(event, dict) else None
    if not isinstance(event, dict) or not isinstance(route, str):  # a test of the console, a ping, payload 1.0
        return problem(400, "this is no request of the HTTP API with payload format 2.0")
    if route == f"GET {OPENAPI_PATH}":
        return ApiReply(200, openapi())
    if route != f"GET {PATH}":
        return problem(404, "Not Found")
    path, headers = event.get("pathParameters"), event.get("headers")
    rotation_id = path.get("rotation_id") if isinstance(path, dict) else None
    if_none_match = headers.get("if-none-match") if isinstance(headers, dict) else None
    if not isinstance(rotation_id, str) or number(rotation_id) is None:
        return problem(400, _NO_ID)
    return TracksRequest(rotation_id, if_none_match if isinstance(if_none_match, str) else None)


def turned_away(event: object, *, needs_decision: bool) -> ApiReply | None:
    """Return the answer to a request that is not allowed; None for one that is.

    A developer's machine has no authorizer, and needs no decision.
    """
    match http_api.decision(event) if isinstance(event, dict) else None:
        case "allowed":
            return None
        case "keys_unavailable":
            return busy(NO_KEYS, http_api.CACHED_SECONDS)
        case None if not needs_decision:
            return None
        case _:
            return problem(401, "Unauthorized")


def number(rotation_id: str) -> int | None:
    """Return a row's id, None for anything but plain digits from 1 to 2147483647."""
    if not _DIGITS.fullmatch(rotation_id) or not 1 <= int(rotation_id) <= HIGHEST_ID:
        return None
    return int(rotation_id)


def reply_to(
    rotation_id: str,
    tracks: Callable[[int], TrackList | Sequence[Track]],
    report: Callable[[Exception], None],
    *,
    if_none_match: str | None = None,
) -> ApiReply:
    """Answer a request for the tracks of a row; `report` gets the error, the DJ only its kind."""
    row = number(rotation_id)
    if row is None:
        return problem(400, _NO_ID)
    try:
        found = tracks(row)
    except AnswerError as error:
        report(error)
        if error.cause == "timeout":
            return problem(504, "the catalogue service did not answer in time")
        return problem(502, "the catalogue service gave no usable answer")
    except LmlBusyError as error:
        report(error)
        return busy("the catalogue service is busy; try again in a moment", error.retry_after)
    except Exception as error:  # noqa: BLE001 - the edge: a DJ gets an answer, and the reason goes where it is read
        report(error)
        return problem(500, "the track list cannot be read now")
    return reply_with(found if isinstance(found, TrackList) else TrackList.of(found, settled=True), if_none_match)


def reply_with(answer: TrackList, if_none_match: str | None = None) -> ApiReply:
    """Answer with tracks, or 304 where the asker has them; an answer that may change soon is kept by nobody."""
    if not answer.settled:
        return ApiReply(200, answer.body, {"content-type": _JSON, "cache-control": "no-store"})
    kept = {"etag": answer.etag, "cache-control": KEPT if answer.tracks else "no-cache"}
    if if_none_match is not None and _matches(if_none_match, answer.etag):
        return ApiReply(304, b"", kept)
    return ApiReply(200, answer.body, {"content-type": _JSON, **kept})


def problem(status: int, message: str, **headers: str) -> ApiReply:
    """Answer with a message for a person; underscores in names of headers stand for dashes."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return ApiReply(status, _encode(Problem(message)), {"content-type": _JSON, "cache-control": "no-store", **named})


def busy(message: str, seconds: float) -> ApiReply:
    """Answer 503 and when to try again."""
    return problem(503, message, retry_after=str(max(1, math.ceil(seconds))))


def _matches(if_none_match: str, etag: str) -> bool:
    """Compare as RFC 9110, section 13.1.2, has it: any of a list, strong or weak, or an asterisk."""
    tags = [tag.strip().removeprefix("W/") for tag in if_none_match.split(",")]
    return etag in tags or tags == ["*"]


@cache
def openapi() -> bytes:
    """Return the OpenAPI document of both forms, on Lambda and long-lived."""
    (tracks, trouble), schemas = msgspec.json.schema_components(
        [list[Track], Problem], ref_template="#/components/schemas/{name}"
    )
    # Docstrings are for who reads this code; what a client needs is in the types.
    schemas = {name: {k: v for k, v in schema.items() if k != "description"} for name, schema in schemas.items()}
    failures = {
        "400": "The id is no integer from 1 to 2147483647.",
        "401": "There is no valid token.",
        "403": "The token's owner may not read tracks.",
        "500": "The station's database cannot be read.",
        "502": "The catalogue service is in trouble.",
        "503": "This service spares the catalogue service, still waits for it, or cannot check tokens: try again.",
        "504": "The catalogue service did not answer in time.",
    }
    headers = {
        "ETag": _header("The version of the tracks, for If-None-Match."),
        "Cache-Control": _header("How long a client may keep them."),
    }
    responses: dict[str, Any] = {
        "200": {
            **_response("The tracks; none when the row does not exist or nothing is known of it.", tracks),
            "headers": headers,
        },
        "304": {"description": "The client has these tracks already.", "headers": headers},
        **{status: _response(why, trouble) for status, why in failures.items()},
    }
    responses["503"]["headers"] = {"Retry-After": _header("In how many seconds to try again.", "integer")}
    operation = {
        "operationId": "getRotationTracks",
        "summary": "The track list of a rotation row, killed ones included.",
        "security": [{"token": []}],
        "parameters": [
            {
                "name": "rotation_id",
                "in": "path",
                "required": True,
                "schema": {"type": "integer", "minimum": 1, "maximum": HIGHEST_ID},
            },
        ],
        "responses": responses,
    }
    scheme = {"type": "http", "scheme": "bearer", "bearerFormat": "JWT"}
    return _encode(
        {
            "openapi": "3.1.0",
            "info": {"title": "rotation-tracks", "version": "1"},
            "paths": {PATH: {"get": operation}},
            "components": {"schemas": schemas, "securitySchemes": {"token": scheme}},
        }
    )


def _header(description: str, kind: str = "string") -> dict[str, Any]:
    return {"description": description, "schema": {"type": kind}}


def _response(description: str, schema: dict[str, Any]) -> dict[str, Any]:
    return {"description": description, "content": {_JSON: {"schema": schema}}}
