"""The access log: a JSON line a request, written every half second, so that no request waits for a pipe."""

import asyncio
import time
from collections.abc import Callable

import msgspec
from starlette.types import ASGIApp, Message, Receive, Scope, Send

FLUSH_SECONDS = 0.5


class AccessLine(msgspec.Struct):
    """Of a request; without its query and its headers, which may hold what nobody should read."""

    timestamp: str
    client: str | None
    method: str
    path: str
    status: int
    """499 where the client went away before its answer."""
    bytes: int
    millis: float
    level: str = "INFO"
    step: str = "access"


class AccessLog:
    """ASGI middleware that notes every request; `write` gets some lines at once."""

    def __init__(self, app: ASGIApp, write: Callable[[bytes], object]) -> None:
        self._app = app
        self._write = write
        self._lines = bytearray()
        self._encode = msgspec.json.Encoder().encode
        self._second, self._text = 0, ""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        began = time.perf_counter()
        status, sent = 499, 0

        async def noting(message: Message) -> None:
            nonlocal status, sent
            if message["type"] == "http.response.start":
                status = message["status"]
            else:
                sent += len(message.get("body", b""))
            await send(message)

        try:
            await self._app(scope, receive, noting)
        finally:
            self._note(scope, status, sent, time.perf_counter() - began)

    def _note(self, scope: Scope, status: int, sent: int, seconds: float) -> None:
        now, client = time.time(), scope.get("client")
        if int(now) != self._second:
            self._second = int(now)
            self._text = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(now))
        at = f"{self._text}.{int(now % 1 * 1000):03}Z"
        address = client[0] if client else None
        line = AccessLine(at, address, scope["method"], scope["path"], status, sent, round(seconds * 1000, 3))
        if not self._lines:
            asyncio.get_running_loop().call_later(FLUSH_SECONDS, self.flush)
        self._lines += self._encode(line) + b"\n"

    def flush(self) -> None:
        """Write what was noted; also for the end of the process."""
        lines, self._lines = bytes(self._lines), bytearray()
        if lines:
            self._write(lines)
