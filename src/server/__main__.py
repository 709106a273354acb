"""`python -m server`: serves the picker until SIGTERM or SIGINT; settings come from the environment."""

import socket
import sys
from argparse import ArgumentParser
from collections.abc import Callable
from pathlib import Path
from typing import Final

import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from core import authorization
from core.environment import SettingsError
from core.picker import api
from core.picker.build import Picker
from core.picker.build import build as build_picker
from core.telemetry import Telemetry
from handlers import secrets
from handlers.settings import load_settings
from server import app, config
from server.access import AccessLog

GRACE_SECONDS: Final = 30
"""For which requests under way may go on once the end is asked for; no answer takes longer."""
HEAD_MOST: Final = 64 * 1024
"""Bytes of a request's head."""


class Protocol(HttpToolsProtocol):
    """uvicorn's, which takes a head of any length, and answers what is no HTTP in plain text."""

    _head = 0

    def data_received(self, data: bytes) -> None:
        cycle: RequestResponseCycle | None = self.cycle
        super().data_received(data)
        self._head = 0 if self.cycle is not cycle else self._head + len(data)
        # GET alone is served, so that what comes without a new request is the head of one, or a body that nobody reads.
        if self._head > HEAD_MOST and (cycle is None or cycle.response_complete):
            self.transport.close()

    def send_400_response(self, msg: str) -> None:
        reply = api.problem(400, msg)
        headers = {**reply.headers, "content-length": str(len(reply.body)), "connection": "close"}
        head = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        self.transport.write(f"HTTP/1.1 400 Bad Request\r\n{head}\r\n".encode() + reply.body)
        self.transport.close()


class Server(uvicorn.Server):
    """Calls `listening` with its base URL once it accepts connections, and `ended` when the last request has ended."""

    def __init__(self, given: uvicorn.Config, listening: Callable[[str], None], ended: Callable[[], None]) -> None:
        super().__init__(given)
        self._listening = listening
        self._ended = ended

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self.started:
            host, port, *_ = (sockets or [])[0].getsockname()
            self._listening(f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}")

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        await super().shutdown(sockets)
        self._ended()


def listener(host: str, port: int) -> socket.socket:
    """Listen; raises OSError."""
    family, kind, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
    # With its protocol named: asyncio turns Nagle's algorithm off only where it is, and each answer would cost 40 ms.
    sock = socket.socket(family, kind, socket.IPPROTO_TCP)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    sock.bind(address)
    sock.listen(512)
    return sock


def serve(settings: config.ServerSettings, picker: Picker, *, url_file: Path | None, walk: bool) -> None:
    """Serve until a signal ends it; the walk begins right after the first connection could be accepted."""
    tokens = None if settings.authorization is None else authorization.authorizer(settings.authorization)
    logged = AccessLog(app.build(picker, tokens, settings.origins), _write)

    def listening(url: str) -> None:
        if url_file is not None:
            draft = url_file.with_suffix(".draft")
            draft.write_text(url)
            draft.replace(url_file)
        picker.telemetry.info("picker", f"listening on {url}")
        if tokens is None:
            picker.telemetry.warning("picker", "everybody may read: LOCAL_DEV is 1, and no PICKER_JWKS_URL is set")
        if walk:
            picker.warmer.start_rotation_tracks_cache_warm()

    def ended() -> None:
        picker.warmer.stop()
        logged.flush()
        picker.telemetry.info("picker", "ended")
        picker.telemetry.flush()

    given = uvicorn.Config(
        logged,
        loop="asyncio",
        http=Protocol,
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=GRACE_SECONDS,
    )
    with listener(settings.host, settings.port) as sock:
        Server(given, listening, ended).run([sock])


def _write(lines: bytes) -> None:
    sys.stdout.flush()
    sys.stdout.buffer.write(lines)
    sys.stdout.buffer.flush()


def main() -> None:
    parser = ArgumentParser(prog="python -m server", description=__doc__)
    parser.add_argument("--url-file", type=Path, help="gets the base URL once it listens, for PORT=0")
    parser.add_argument("--no-walk", action="store_true", help="caches fill as DJs ask")
    options = parser.parse_args()
    try:
        settings = load_settings(
            config.read, lambda its: (its.picker.lml.api_key.get, its.picker.database.password.login)
        )
    except SettingsError as error:
        sys.exit(f"server: {error}")
    picker = build_picker(settings.picker, Telemetry(settings.picker.sentry, secrets=secrets.hidden))
    try:
        serve(settings, picker, url_file=options.url_file, walk=not options.no_walk)
    except OSError as error:
        sys.exit(f"server: {settings.host}:{settings.port} cannot be listened on: {error}")
    finally:
        picker.close()


if __name__ == "__main__":
    main()
