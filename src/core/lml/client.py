"""The client of LML, the service that caches what Discogs knows (docs/design/lml.md); all times are paced seconds."""

import json
import math
import re
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC
from email.utils import parsedate_to_datetime
from typing import Final, Literal, Self, TypeAlias

import msgspec

from core import settings
from core.clock import Clock
from core.lml.error import LmlError
from core.lml.http import Bearer, BoundedHttp, HttpReply, Method, NoReplyError
from core.redaction import hide

LML_REFRESH_BATCH_CAP: Final = settings.LML_REFRESH_BATCH_CAP  # ids in one request

ErrorKind: TypeAlias = Literal["retryable_error", "permanent_error"]

_REFRESH: Final = "/api/v1/cache/refresh-for-identities"
_PROBE_LIMIT: Final = 10.0
_RETRY_AFTER_CAP: Final = 3600.0
_DETAIL: Final = 300  # characters
_BETWEEN_VALUES: Final = re.compile(r",(?!\s*[0-9]{1,2}[ -][A-Za-z])")  # a date has a comma of its own
_LATCHED: Final = "Entity store is not available"
_PERMANENT: Final = frozenset({400, 401, 403, 404, 405, 413, 422})
_NOT_THIS_LML: Final = frozenset({401, 403, 404, 405})
_ADVICE: Final = {
    401: "; check LML_API_KEY: LML does not know this key, or got none",
    403: "; check LML_API_KEY: LML does not accept this key",
    404: "; check LIBRARY_METADATA_URL: no refresh endpoint there",
    405: "; check LIBRARY_METADATA_URL: no refresh endpoint there",
}


@dataclass(eq=False, kw_only=True)
class RefreshError(LmlError):
    """A request to LML without a usable answer; the message says which, why, and for some what to check."""

    kind: ErrorKind
    elapsed: float
    status: int | None = None
    retry_after: float | None = None
    """Seconds, 0 to 3600; None without a header that can be understood."""
    was_sent: bool = True
    """False when the request cannot have arrived."""

    @property
    def may_have_cost(self) -> bool:
        """Whether LML may have called Discogs: not for what never arrived, nor for what it refused."""
        refused = self.status in _PERMANENT | {429} or (self.status == 503 and self.retry_after is not None)
        return self.was_sent and not refused

    @property
    def counts_as_attempt(self) -> bool:
        """False when LML did not try but asked for a pause (docs/design/throttle.md#push-back)."""
        paused = self.status == 503 and (self.retry_after is not None or self.is_latched)
        return not (self.status == 429 or paused)

    @property
    def is_latched(self) -> bool:
        """True where LML misses its store: for a moment, or until it is started again."""
        return self.status == 503 and _LATCHED in self.detail

    def __str__(self) -> str:
        answered = "" if self.status is None else f" answered {self.status}"
        return f"{self.request}{answered}: {self.detail or 'an empty body'}{_ADVICE.get(self.status or 0, '')}"


class RefreshAnswer(msgspec.Struct, frozen=True):
    """The decoded body of a 200, of any shape, and how long it took."""

    body: object
    elapsed: float


class Health(msgspec.Struct, frozen=True):
    """The body of `GET /health`; an unhealthy LML sends it with 503."""

    status_code: int
    body: dict[str, object]


class RefreshClient:
    """LML behind one kept connection, one request at a time; a context manager."""

    def __init__(self, settings: settings.Lml, clock: Clock) -> None:
        self._settings = settings
        self._clock = clock
        self._http = BoundedHttp()
        self._auth = Bearer(settings.api_key)

    def refresh(self, ids: Sequence[int], *, limit: float) -> RefreshAnswer:
        """Have LML refresh 1 to 50 identities; `limit` bounds the request as a whole, body included.

        Raises ValueError, before anything is sent, for no ids or more than LML_REFRESH_BATCH_CAP; RefreshError.
        """
        if not 1 <= len(ids) <= LML_REFRESH_BATCH_CAP:
            raise ValueError(f"{len(ids)} ids in one request; LML takes 1 to {LML_REFRESH_BATCH_CAP}")
        reply, elapsed = self._send("POST", _REFRESH, limit, ids)
        if reply.status != 200:
            raise self._refusal(reply, elapsed)
        try:
            return RefreshAnswer(_decoded(reply.body), elapsed)
        except ValueError:
            raise RefreshError(
                request=f"POST {self._settings.url}{_REFRESH}",
                kind="retryable_error",
                cause="malformed",
                elapsed=elapsed,
                status=reply.status,
                detail=self._head(reply, "no JSON: "),
            ) from None

    def round_trip(self) -> float:
        """Return the seconds of a request that LML refuses without any work, the empty list; raises RefreshError."""
        reply, elapsed = self._send("POST", _REFRESH, _PROBE_LIMIT, ())
        if reply.status != 422:
            raise self._refusal(reply, elapsed, permanent=_NOT_THIS_LML)
        return elapsed

    def probe(self, *, limit: float = _PROBE_LIMIT) -> int:
        """Send an empty list and return the status, which shows whether the endpoint exists; raises RefreshError."""
        return self._send("POST", _REFRESH, limit, ())[0].status

    def health(self, *, limit: float = _PROBE_LIMIT) -> Health:
        """Ask LML for its state, which costs a Discogs call. Raises RefreshError unless the answer is a JSON object."""
        reply, elapsed = self._send("GET", "/health", limit)
        try:
            body = _decoded(reply.body)
        except ValueError:
            body = None
        if isinstance(body, dict):
            return Health(reply.status, body)
        raise RefreshError(
            request=f"GET {self._settings.url}/health",
            kind="retryable_error",
            cause="malformed" if reply.status == 200 else "status",
            elapsed=elapsed,
            status=reply.status,
            detail=self._head(reply, "no JSON object: "),
        )

    def close(self) -> None:
        self._http.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _send(
        self, method: Method, path: str, limit: float, ids: Sequence[int] | None = None
    ) -> tuple[HttpReply, float]:
        """Send a request, with the key where it has ids; returns the reply without the key, and paced seconds."""
        url = self._settings.url + path
        body, auth = (None, None) if ids is None else ({"identity_ids": list(ids)}, self._auth)
        if auth is not None:
            self._settings.api_key.get()  # fetched before the time starts to count: it would pass for Discogs work
        wall = math.ceil(self._clock.wall(limit))
        started = self._clock.pace()
        try:
            reply = self._http.send(method, url, limit=wall, auth=auth, json=body)
        except NoReplyError as error:
            raise RefreshError(
                request=f"{method} {url}",
                kind="retryable_error",
                cause=error.cause,
                elapsed=self._since(started),
                detail=str(error)[:_DETAIL],
                was_sent=error.was_sent,
            ) from None
        elapsed = self._since(started)
        if auth is not None:
            reply.body = _without(self._settings.api_key, reply.body)  # what LML says ends in logs and ledger
        return reply, elapsed

    def _since(self, started: float) -> float:
        return max(0.0, self._clock.pace() - started)

    def _refusal(self, reply: HttpReply, elapsed: float, permanent: frozenset[int] = _PERMANENT) -> RefreshError:
        return RefreshError(
            request=f"POST {self._settings.url}{_REFRESH}",
            kind="permanent_error" if reply.status in permanent else "retryable_error",
            cause="status",
            elapsed=elapsed,
            status=reply.status,
            retry_after=self._retry_after(reply.headers.get("Retry-After", "")),
            detail=self._head(reply),
        )

    def _retry_after(self, header: str) -> float | None:
        """Read delta-seconds or an HTTP date (RFC 9110 §10.2.3), the longest of several; None for anything else."""
        values = (self._pause(value.strip()) for value in _BETWEEN_VALUES.split(header))
        return max((seconds for seconds in values if seconds is not None), default=None)

    def _pause(self, value: str) -> float | None:
        if re.fullmatch(r"[0-9]+(\.[0-9]+)?", value):
            return min(float(value), _RETRY_AFTER_CAP)
        try:
            date = parsedate_to_datetime(value)
        except (ValueError, OverflowError):
            return None
        wait = (date.replace(tzinfo=date.tzinfo or UTC) - self._clock.utc()).total_seconds()
        return min(max(0.0, wait * self._clock.speed), _RETRY_AFTER_CAP)

    def _head(self, reply: HttpReply, fault: str = "") -> str:
        """Return the fault and the message of the body, or the body's head, on one line."""
        text = _message(reply.body) or reply.body[: 4 * _DETAIL].decode(errors="replace")
        line = " ".join("".join(c if c.isprintable() else " " for c in text).split())
        return (fault + (line or "an empty body") if fault else line)[:_DETAIL]


def _message(body: bytearray) -> str | None:
    """Return the message of an error body, `{"message": ..., "details"?: ...}`; None for a body of another shape."""
    with suppress(ValueError):
        body_ = _decoded(body)
        if isinstance(body_, dict) and isinstance(message := body_.get("message"), str):
            details = body_.get("details")
            return message if details in (None, "", {}, []) else f"{message}: {json.dumps(details, ensure_ascii=False)}"
    return None


def _without(key: settings.Secret, body: bytearray) -> bytearray:
    """Return a body without the key, should the server have repeated it, escaped or not."""
    secret = key.get()
    if secret is None:
        return body
    return bytearray(hide(secret, body.decode("latin-1"), "***").encode("latin-1"))  # a key is ASCII


def _decoded(body: bytearray) -> object:
    """Decode JSON; raises ValueError, also for a nesting that would overflow the stack."""
    try:
        decoded: object = json.loads(body)
    except RecursionError:
        raise ValueError("nested too deeply") from None
    return decoded
