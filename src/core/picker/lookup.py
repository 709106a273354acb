"""The picker's client of LML: looking a row up, and fetching a release; safe for threads (docs/design/lml.md)."""

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Final, TypeVar

import msgspec

from core import settings
from core.clock import Clock
from core.lml.error import LmlError
from core.picker.tracks import Credit, Pick, ReleaseTracks

if TYPE_CHECKING:
    from core.lml.http import BoundedHttp, HttpReply, Method

# core.lml.http is imported where LML is asked: a warm row needs no HTTP client, and loading one is a part of a start.

LOOKUP_SECONDS: Final = 25.0
"""Paced seconds in which a lookup ends, body included: LML works that long itself, and a cold one takes 4 to 20 s."""
RELEASE_SECONDS: Final = 30.0
"""The same for a release fetch, which takes LML 2 to 9 s, and its own retries longer."""

_LOOKUP: Final = "/api/v1/lookup"
_RELEASE: Final = "/api/v1/discogs/release"
_HEADERS: Final = {"X-Caller-Class": "2", "X-Caller-Reason": "library-rotation-picker"}
"""No X-Caller-Budget-Ms: its mere presence makes LML end a search that is still empty after 4 s."""
_VARIOUS: Final = re.compile(
    r"(various|var\.?) ?(artist\(s\)|artists?|artistes?)( ?[-\u2013\u2014(].*)?"
    r"|(various|v\.? ?/? ?a\.?)( ?\(.*| [-\u2013\u2014].*|[-\u2013\u2014] .*)?",  # "Va-Va" is somebody's name
    re.IGNORECASE,
)
_T = TypeVar("_T")


class AnswerError(LmlError):
    """LML gave no usable answer: no reply, a status of trouble, or a body of the wrong shape."""


class UnsureError(Exception):
    """LML found nothing, but ran out of time or of sources: the miss is in doubt, and nothing may be remembered."""

    def __init__(self, reason: str) -> None:
        super().__init__(f"LML is not sure: {reason}")


class _Artwork(msgspec.Struct):
    release_id: int
    tracklist: tuple[Credit, ...] | None = None


class _Result(msgspec.Struct):
    artwork: _Artwork | None
    """LML's null: a row of the library, and no release for it."""


class _Found(msgspec.Struct):
    search_type: str | None
    results: list[msgspec.Raw]
    timeout: bool | None = False
    degraded: bool | None = False
    degraded_reason: object = None


class _ReleaseFound(msgspec.Struct):
    tracklist: tuple[Credit, ...]
    artist: str | None = None


class LookupClient:
    """LML as the picker uses it; keeps as many connections as were ever needed at once."""

    def __init__(self, config: settings.Lml, clock: Clock) -> None:
        self._config = config
        self._clock = clock
        self._idle: list[BoundedHttp] = []
        self._closed = False

    def lookup(self, artist: str, album: str) -> Pick:
        """Ask LML which release a row is; raises AnswerError, and UnsureError for a miss that is in doubt."""
        body = {"raw_message": album, "album": album, "extended": True}
        if not means_various(artist):
            body |= {"raw_message": f"{artist} - {album}", "artist": artist}
        reply = self._send("POST", _LOOKUP, LOOKUP_SECONDS, body)
        found, pick = _decoded(reply, _read_lookup, f"POST {_LOOKUP}")
        if not pick.found and (found.timeout or found.degraded):
            raise UnsureError("time-out" if found.timeout else f"degraded, {found.degraded_reason}")
        return pick

    def release(self, release_id: int) -> ReleaseTracks:
        """Fetch a release and its tracks; raises AnswerError. LML's own 404 is a release that is not found."""
        path = f"{_RELEASE}/{release_id}"
        reply = self._send("GET", path, RELEASE_SECONDS)
        if reply.status == 404 and _is_own_404(reply, release_id):
            return ReleaseTracks(found=False)
        found = _decoded(reply, _read_release, f"GET {path}")
        return ReleaseTracks(True, found.artist, found.tracklist)

    def close(self) -> None:
        """Close what is idle; what is under way is closed when it ends."""
        self._closed = True
        self._close_idle()

    def _close_idle(self) -> None:
        while self._idle:
            with suppress(IndexError):  # of the threads that look at once, one gets it
                self._idle.pop().close()

    def _send(self, method: "Method", path: str, seconds: float, body: object = None) -> "HttpReply":
        from core.lml.http import Bearer, NoReplyError  # noqa: PLC0415 - see above

        self._config.api_key.get()  # fetched before the time starts to count
        limit, auth = self._clock.wall(seconds), Bearer(self._config.api_key)
        with self._connection() as http:
            try:
                return http.send(method, self._config.url + path, limit=limit, auth=auth, json=body)
            except NoReplyError as error:
                raise AnswerError(f"{method} {path}", error.cause, str(error)) from None

    @contextmanager
    def _connection(self) -> "Iterator[BoundedHttp]":
        from core.lml.http import BoundedHttp  # noqa: PLC0415 - see above

        try:
            http = self._idle.pop()
        except IndexError:  # of the threads that look at once, one gets it
            http = BoundedHttp(_HEADERS)
        try:
            yield http
        finally:
            self._idle.append(http)
            if self._closed:
                self._close_idle()


def means_various(artist: str) -> bool:
    """True if a name stands for "various artists", in the spellings that the station uses; "variety" does not."""
    return _VARIOUS.fullmatch(" ".join(artist.split())) is not None


_read_release = msgspec.json.Decoder(_ReleaseFound).decode


def _read_lookup(body: bytes | bytearray) -> tuple[_Found, Pick]:
    """Return LML's answer and the first of its results, the one that counts; raises msgspec.DecodeError."""
    found = msgspec.json.decode(body, type=_Found)
    artwork = msgspec.json.decode(found.results[0], type=_Result).artwork if found.results else None
    if artwork is None or found.search_type != "direct":
        return found, Pick()
    return found, Pick(artwork.release_id if artwork.release_id > 0 else None, artwork.tracklist or ())


class _Detail(msgspec.Struct):
    detail: str


def _is_own_404(reply: "HttpReply", release_id: int) -> bool:
    """True if the 404 is LML's own about a release, and not a proxy's page or a missing route."""
    try:
        return msgspec.json.decode(reply.body, type=_Detail).detail == f"Release {release_id} not found"
    except (msgspec.DecodeError, UnicodeDecodeError):
        return False


def _decoded(reply: "HttpReply", read: Callable[[bytearray], _T], request: str) -> _T:
    if reply.status != 200:
        raise AnswerError(request, "status", f"LML answered {reply.status}")
    try:
        return read(reply.body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise AnswerError(request, "malformed", f"LML's answer has another shape: {error}") from None
