"""The picker's client of LML (LML.md): looking a row up, and fetching a release; safe for threads."""

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final, Literal, TypeAlias, TypeVar

import msgspec

from core import settings
from core.clock import Clock
from core.lml.http import Bearer, BoundedHttp, Method, NoReplyError, Reply
from core.picker.tracks import Credit, Pick, Release

LOOKUP_SECONDS: Final = 5.0
"""Paced seconds in which every request ends, body included."""

Cause: TypeAlias = Literal["timeout", "connection", "status", "malformed"]

_LOOKUP: Final = "/api/v1/lookup"
_RELEASE: Final = "/api/v1/discogs/release"
_HEADERS: Final = {
    "X-Caller-Budget-Ms": str(int(LOOKUP_SECONDS * 1000)),
    "X-Caller-Class": "2",
    "X-Caller-Reason": "library-rotation-picker",
}
_UNSURE: Final = frozenset({"deadline_exceeded", "upstream_unavailable"})
_VARIOUS: Final = re.compile(r"v/a|v\.a\.|various|various artists?|various artist\(s\)|var\. artists", re.IGNORECASE)
_T = TypeVar("_T")


class AnswerError(Exception):
    """LML gave no usable answer: no reply, a status of trouble, or a body of the wrong shape."""

    def __init__(self, request: str, cause: Cause, detail: str) -> None:
        super().__init__(f"{request}: {detail}")
        self.cause = cause


class UnsureError(Exception):
    """LML answered, but ran out of time or of sources: nothing may be remembered; `pick` is what it found so far."""

    def __init__(self, reason: str, pick: Pick) -> None:
        super().__init__(f"LML is not sure: {reason}")
        self.pick = pick


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
    degraded_reason: str | None = None


class _ReleaseFound(msgspec.Struct):
    tracklist: tuple[Credit, ...]
    artist: str | None = None


class LookupClient:
    """LML as the picker uses it; keeps as many connections as were ever needed at once."""

    def __init__(self, config: settings.Lml, clock: Clock) -> None:
        self._config = config
        self._clock = clock
        self._auth = Bearer(config.api_key)
        self._idle: list[BoundedHttp] = []

    def lookup(self, artist: str, album: str) -> Pick:
        """Ask LML which release a row is; raises AnswerError, UnsureError."""
        body = {"raw_message": f"{artist} - {album}", "album": album, "extended": True}
        if not means_various(artist):
            body["artist"] = artist
        reply = self._send("POST", _LOOKUP, body)
        found, pick = _decoded(reply, _read_lookup, f"POST {_LOOKUP}")
        if found.timeout or (found.degraded and found.degraded_reason in _UNSURE):
            raise UnsureError("time-out" if found.timeout else str(found.degraded_reason), pick)
        return pick

    def release(self, release_id: int) -> Release:
        """Fetch a release and its tracks; raises AnswerError."""
        path = f"{_RELEASE}/{release_id}"
        reply = self._send("GET", path)
        if reply.status == 404:
            return Release(found=False)
        found = _decoded(reply, _read_release, f"GET {path}")
        return Release(True, found.artist, found.tracklist)

    def close(self) -> None:
        while self._idle:
            self._idle.pop().close()

    def _send(self, method: Method, path: str, body: object = None) -> Reply:
        self._config.api_key.get()  # fetched before the time starts to count
        limit = self._clock.wall(LOOKUP_SECONDS)
        with self._connection() as http:
            try:
                return http.send(method, self._config.url + path, limit=limit, auth=self._auth, json=body)
            except NoReplyError as error:
                raise AnswerError(f"{method} {path}", error.cause, str(error)) from None

    @contextmanager
    def _connection(self) -> Iterator[BoundedHttp]:
        try:
            http = self._idle.pop()
        except IndexError:  # of the threads that look at once, one gets it
            http = BoundedHttp(_HEADERS)
        try:
            yield http
        finally:
            self._idle.append(http)


def means_various(artist: str) -> bool:
    """Say whether a name stands for "various artists" (PICKER.md, tier 3); "variety" does not."""
    return _VARIOUS.fullmatch(" ".join(artist.split())) is not None


_read_release = msgspec.json.Decoder(_ReleaseFound).decode


def _read_lookup(body: bytes | bytearray) -> tuple[_Found, Pick]:
    """Return what LML says, and of its results the one that counts, the first; raises msgspec.DecodeError."""
    found = msgspec.json.decode(body, type=_Found)
    artwork = msgspec.json.decode(found.results[0], type=_Result).artwork if found.results else None
    if artwork is None or found.search_type != "direct":
        return found, Pick()
    return found, Pick(artwork.release_id if artwork.release_id > 0 else None, artwork.tracklist or ())


def _decoded(reply: Reply, read: Callable[[bytearray], _T], request: str) -> _T:
    if reply.status != 200:
        raise AnswerError(request, "status", f"LML answered {reply.status}")
    try:
        return read(reply.body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise AnswerError(request, "malformed", f"LML's answer has another shape: {error}") from None
