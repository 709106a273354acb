"""Serves an ASGI app on a free port of 127.0.0.1: in a thread of a test, or as a process of its own."""

import asyncio
import logging
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final, Literal, TypeAlias

import uvicorn
from starlette.types import ASGIApp

START_SECONDS: Final = 20.0
Http: TypeAlias = Literal["h11"] | type[asyncio.Protocol]


class ServerStartError(RuntimeError):
    """A server that did not begin to listen."""


def _is_news(record: logging.LogRecord) -> bool:
    """False for the log lines about requests that a test holds: they are cut off at the end on purpose."""
    cancelled = record.exc_info is not None and record.exc_info[0] is asyncio.CancelledError
    return not cancelled and "graceful shutdown" not in str(record.msg)


logging.getLogger("uvicorn.error").addFilter(_is_news)


class _Server(uvicorn.Server):
    def __init__(self, app: ASGIApp, ready: Callable[[str], None], http: Http = "h11") -> None:
        # h11 and asyncio are named so that a machine with faster ones behaves the same. Nothing that a client waits
        # for may delay the end: a test holds requests on purpose.
        config = uvicorn.Config(
            app, loop="asyncio", http=http, ws="none", log_config=None, access_log=False, timeout_graceful_shutdown=0
        )
        super().__init__(config)
        self._ready = ready

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        host, port = (sockets or [])[0].getsockname()
        self._ready(f"http://{host}:{port}")


@contextmanager
def in_thread(app: ASGIApp, http: Http = "h11") -> Iterator[str]:
    """Serve while the context lasts, by uvicorn's protocol of a name or by one's own; gives the base URL."""
    urls: list[str] = []
    listening = threading.Event()

    def ready(url: str) -> None:
        urls.append(url)
        listening.set()

    server = _Server(app, ready, http)
    with listener() as sock:
        thread = threading.Thread(target=server.run, args=([sock],), daemon=True)
        thread.start()
        if not listening.wait(START_SECONDS):
            raise ServerStartError("the server's thread does not listen")
        try:
            yield urls[0]
        finally:
            server.should_exit = True
            thread.join()


def run(app: ASGIApp, url_file: Path) -> None:
    """Serve until SIGTERM or SIGINT; the base URL is in the file, whole, once connections are accepted."""

    def ready(url: str) -> None:
        draft = url_file.with_suffix(".draft")
        draft.write_text(url)
        draft.replace(url_file)

    with listener() as sock:
        _Server(app, ready).run([sock])


def listener() -> socket.socket:
    """Listen on a free port of 127.0.0.1."""
    # With its protocol named: asyncio turns Nagle's algorithm off only where it is, and each answer would cost 40 ms.
    sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    sock.bind(("127.0.0.1", 0))
    sock.listen(512)
    return sock
