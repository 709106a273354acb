"""HTTP requests with one limit for all of it (name lookup, connection, headers, body), in time and in bytes."""

import asyncio
import logging
import zlib
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Final, Literal, Self, TypeAlias

import httpx

from core import connecting, tls
from core.lml.error import NoReplyCause
from core.settings import Secret

Method: TypeAlias = Literal["GET", "POST"]

BODY_LIMIT: Final = 16 * 1024 * 1024  # bytes
# Under the 5 s after which uvicorn closes an idle connection: a request never meets a server that is hanging up.
_KEEP_ALIVE: Final = 4.0

# httpx logs a line a request, and httpcore the headers of answers: no JSON, and more of them than of our own.
logging.getLogger("httpx").setLevel(logging.WARNING)
logging.getLogger("httpcore").setLevel(logging.WARNING)


@dataclass(slots=True)
class HttpReply:
    """What a server answered, 0 before it did; the body of anything but a 200 may be cut short."""

    status: int = 0
    # Not in the repr: a server may have repeated the token, and Sentry sends the variables of frames.
    headers: Mapping[str, str] = field(default_factory=httpx.Headers, repr=False)
    body: bytearray = field(default_factory=bytearray, repr=False)


class NoReplyError(Exception):
    """No complete reply: too late, not connected or broken off, or a body beyond the limit."""

    def __init__(self, cause: NoReplyCause, detail: str) -> None:
        super().__init__(detail)
        self.cause = cause
        self.was_sent = True
        """Whether the other side can have received the request."""


_REFUSED: Final = frozenset({httpx.codes.UNAUTHORIZED, httpx.codes.FORBIDDEN})


class Bearer(httpx.Auth):
    """Adds the token when a request leaves, so that no frame of ours holds it; fetches it anew once it is refused.

    A wrong token is 403 to LML and 401 elsewhere. A token that cannot be read raises SettingsError.
    """

    def __init__(self, token: Secret) -> None:
        self._token = token

    def auth_flow(self, request: httpx.Request) -> Generator[httpx.Request, httpx.Response, None]:
        self._sign(request)
        response = yield request
        if response.status_code in _REFUSED and self._token.fetch_anew():
            self._sign(request)
            yield request

    def _sign(self, request: httpx.Request) -> None:
        token = self._token.get()
        if token is not None:
            request.headers["Authorization"] = f"Bearer {token}"


class _Loop(asyncio.SelectorEventLoop):
    """An event loop that leaves a name lookup behind once its time is over; asyncio's own waits when it closes."""

    async def getaddrinfo(self, host: object, port: object, **hints: int) -> connecting.Addresses:
        return await asyncio.wrap_future(connecting.begin_lookup(host, port, **hints), loop=self)


class BoundedHttp:
    """A client for one host, one request at a time; keeps its connection, and must be closed outside Lambda.

    Certificates are verified always. Redirects are not followed and the environment is not read (proxies,
    certificate files): where a request with a token goes is decided by the settings alone.
    """

    def __init__(self, headers: Mapping[str, str] | None = None, *, body_limit: int = BODY_LIMIT) -> None:
        # asyncio, because only cancelling bounds a whole request: httpx's own time-outs start anew with every byte.
        self._runner = asyncio.Runner(loop_factory=_Loop)
        # Nobody needs to compress; a server in between that does so all the same is met by _unpacker.
        self._headers = {"User-Agent": "rotation-artist-backfill", "Accept-Encoding": "identity"} | dict(headers or {})
        self._body_limit = body_limit
        self._client = self._new_client()

    def send(
        self, method: Method, url: str, *, limit: float, auth: httpx.Auth | None = None, json: object = None
    ) -> HttpReply:
        """Send one request and read its whole answer within `limit` wall seconds; raises NoReplyError."""
        return self._runner.run(self._exchange(method, url, limit, auth, json))

    async def _exchange(
        self, method: Method, url: str, limit: float, auth: httpx.Auth | None, json: object
    ) -> HttpReply:
        reply, sent = HttpReply(), False

        async def trace(event: str, _: object) -> None:
            nonlocal sent
            sent = sent or event.endswith("send_request_headers.started")

        try:
            request = self._client.build_request(method, url, json=json, extensions={"trace": trace})
            async with asyncio.timeout(limit):
                response = await self._client.send(request, auth=auth, stream=True)
                reply.status, reply.headers = response.status_code, response.headers
                unpack = _unpacker(response.headers.get_list("Content-Encoding", split_commas=True))
                try:
                    async for chunk in response.aiter_raw():
                        # A byte more than is allowed shows that there is more, however much it would unpack to.
                        reply.body += unpack(chunk, self._body_limit + 1 - len(reply.body))
                        if len(reply.body) > self._body_limit:
                            raise NoReplyError("malformed", f"the body is longer than {self._body_limit >> 20} MiB")
                finally:
                    await response.aclose()
        except (
            httpx.HTTPError,
            httpx.InvalidURL,
            OSError,
            NoReplyError,
        ) as error:
            await self._start_over()
            # A status other than 200 is an answer, whatever became of its body. (TimeoutError is an OSError.)
            if reply.status in {0, 200}:
                failure = _no_reply(error, limit)
                failure.was_sent = sent
                raise failure from None  # the chain would carry the request, token and all
        return reply

    def _new_client(self) -> httpx.AsyncClient:
        return httpx.AsyncClient(
            headers=self._headers,
            verify=tls.context(),
            timeout=None,  # noqa: S113 - asyncio.timeout() in _exchange bounds more than this could
            limits=httpx.Limits(max_connections=1, keepalive_expiry=_KEEP_ALIVE),
            trust_env=False,
        )

    async def _start_over(self) -> None:
        """Drop the connection: httpcore counts one that was cancelled at the wrong moment as in use for ever."""
        given_up, self._client = self._client, self._new_client()
        with suppress(httpx.HTTPError, OSError):
            await given_up.aclose()

    def close(self) -> None:
        self._runner.run(self._client.aclose())
        self._runner.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _unpacker(encodings: Sequence[str]) -> Callable[[bytes, int], bytes]:
    """Return what unpacks a body chunk by chunk, each to no more than a number of bytes.

    httpx unpacks a chunk as far as it goes: two layers make terabytes of a packet. An unknown encoding stays as it is.
    """
    packed = [encoding.strip().lower() for encoding in encodings if encoding.strip().lower() not in {"", "identity"}]
    if len(packed) > 1:
        raise NoReplyError("malformed", f"the body is packed {len(packed)} times over")
    if not packed or packed[0] not in {"gzip", "x-gzip", "deflate"}:
        return lambda chunk, _most: chunk
    stream = zlib.decompressobj(zlib.MAX_WBITS | 32)  # gzip's header or zlib's

    def unpack(chunk: bytes, most: int) -> bytes:
        try:
            return stream.decompress(chunk, most)
        except zlib.error:
            raise NoReplyError("malformed", "the body is not in the encoding that its header names") from None

    return unpack


def _no_reply(error: Exception, limit: float) -> NoReplyError:
    match error:
        case NoReplyError():
            return error
        case TimeoutError() | httpx.TimeoutException():
            return NoReplyError("timeout", f"no complete answer within {limit:g} s")
        case _:
            return NoReplyError("connection", ": ".join(filter(None, (type(error).__name__, str(error)))))
