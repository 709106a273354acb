"""The picker over HTTP: what each request is answered with, and the OpenAPI document that says the same."""

import re
from collections.abc import Callable
from functools import cache
from typing import Any, Final, NamedTuple

import msgspec

from core.picker.limiter import RefusedError
from core.picker.lookup import AnswerError
from core.picker.tracks import Track

PATH: Final = "/library/rotation/{rotation_id}/tracks"
OPENAPI_PATH: Final = "/openapi.json"
PERMISSION: Final = "catalog:read"
HIGHEST_ID: Final = 2_147_483_647
"""The largest integer of PostgreSQL, which `rotation.id` is."""
_encode = msgspec.json.Encoder().encode


class Problem(msgspec.Struct):
    """The body of every answer but 200."""

    message: str


class Reply(NamedTuple):
    """An HTTP answer with a JSON body."""

    status: int
    body: bytes


def reply_to(rotation_id: str, tracks: Callable[[int], list[Track]], report: Callable[[Exception], None]) -> Reply:
    """Answer a request for the tracks of a row; `report` hears what went wrong, the DJ only what kind of thing."""
    if not re.fullmatch("[0-9]{1,10}", rotation_id) or not 1 <= int(rotation_id) <= HIGHEST_ID:
        return _problem(400, "rotation_id must be a positive integer")
    try:
        return Reply(200, _encode(tracks(int(rotation_id))))
    except AnswerError as error:
        report(error)
        if error.cause == "timeout":
            return _problem(504, "the catalogue service did not answer in time")
        return _problem(502, "the catalogue service gave no usable answer")
    except RefusedError as error:
        report(error)
        return _problem(502, "the catalogue service is busy; try again in a moment")
    except Exception as error:  # noqa: BLE001 - the edge: a DJ gets an answer, and the reason goes where it is read
        report(error)
        return _problem(500, "the track list cannot be read now")


@cache
def openapi(*, authorized: bool) -> bytes:
    """Return the OpenAPI document; `authorized` is whether an authorizer stands before the API, as in the cloud."""
    (tracks, problem), schemas = msgspec.json.schema_components(
        [list[Track], Problem], ref_template="#/components/schemas/{name}"
    )
    failures = {
        "400": "The id is no integer from 1 to 2147483647.",
        "500": "The station's database cannot be read.",
        "502": "The catalogue service is in trouble, or this service spares it.",
        "504": "The catalogue service did not answer in time.",
    }
    operation: dict[str, Any] = {
        "operationId": "getRotationTracks",
        "summary": "The track list of a rotation row, killed ones included.",
        "parameters": [
            {
                "name": "rotation_id",
                "in": "path",
                "required": True,
                "schema": {"type": "integer", "minimum": 1, "maximum": HIGHEST_ID},
            }
        ],
        "responses": {
            "200": _response("The tracks; none when the row does not exist or nothing is known of it.", tracks),
            **{status: _response(why, problem) for status, why in failures.items()},
        },
    }
    document: dict[str, Any] = {
        "openapi": "3.1.0",
        "info": {"title": "rotation-tracks", "version": "1"},
        "paths": {PATH: {"get": operation}},
        "components": {"schemas": schemas},
    }
    if authorized:
        operation["security"] = [{"jwt": [PERMISSION]}]
        document["components"]["securitySchemes"] = {"jwt": {"type": "http", "scheme": "bearer", "bearerFormat": "JWT"}}
    return _encode(document)


def _response(description: str, schema: dict[str, Any]) -> dict[str, Any]:
    return {"description": description, "content": {"application/json": {"schema": schema}}}


def _problem(status: int, message: str) -> Reply:
    return Reply(status, _encode(Problem(message)))
