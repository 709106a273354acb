"""The ASGI app: reading tracks, the OpenAPI document, whether it is alive, whether it is ready."""

import asyncio
from concurrent.futures import ThreadPoolExecutor
from typing import Final

import msgspec
from starlette.applications import Starlette
from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from core.authorization import Authorizer, KeysUnavailableError
from core.picker import api
from core.picker.api import Reply
from core.picker.build import Picker
from core.rotation.postgres import DatabaseError

AT_ONCE: Final = 40
"""Requests that may wait for the database or LML; the limiter lets few of them wait long."""
READY_SECONDS: Final = 3.0
"""For which the database may take to say that it is there."""
CORS_SECONDS: Final = 600


def build(picker: Picker, authorizer: Authorizer | None, origins: tuple[str, ...]) -> Starlette:
    """Return the app; without an authorizer everybody may read."""
    tracks, ready = Tracks(picker, authorizer), Ready(picker)
    cors = Middleware(
        Cors,
        allow_origins=origins,
        allow_methods=["GET"],
        allow_headers=["authorization", "if-none-match"],
        expose_headers=["etag", "retry-after"],
        max_age=CORS_SECONDS,
    )
    app = Starlette(
        routes=[
            Route(api.PATH, tracks, methods=["GET"]),
            Route(api.OPENAPI_PATH, _openapi),
            Route("/health", _health),
            Route("/ready", ready.answer),
        ],
        middleware=[cors] if origins else [],
        exception_handlers={HTTPException: _refused, Exception: _failed},
    )
    app.router.redirect_slashes = False
    return app


class Tracks:
    """Answers with the tracks of a row: in the event loop where nothing has to be waited for, else in a thread."""

    def __init__(self, picker: Picker, authorizer: Authorizer | None) -> None:
        self._picker = picker
        self._authorizer = authorizer
        self._djs = ThreadPoolExecutor(AT_ONCE, "dj")
        self._checks = ThreadPoolExecutor(4, "tokens")

    async def __call__(self, scope: Scope, _: Receive, send: Send) -> None:
        authorization = if_none_match = None
        for name, value in scope["headers"]:
            if name == b"authorization":
                authorization = value.decode("latin-1")
            elif name == b"if-none-match":
                if_none_match = value.decode("latin-1")
        reply = None
        if self._authorizer is not None and not (authorization and self._authorizer.remembers(authorization)):
            reply = await self._turned_away(self._authorizer, authorization)
        if reply is None:
            reply = await self._reply(scope["path_params"]["rotation_id"], if_none_match)
        await _send(reply, send)

    async def _reply(self, rotation_id: str, if_none_match: str | None) -> Reply:
        row = api.number(rotation_id)
        if row is not None:
            answer = self._picker.resolver.remembered(row)
            if answer is not None:
                return api.reply_with(answer, if_none_match)
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._djs, self._picker.reply_to, rotation_id, if_none_match)

    async def _turned_away(self, authorizer: Authorizer, authorization: str | None) -> Reply | None:
        try:
            decision = await asyncio.get_running_loop().run_in_executor(self._checks, authorizer.decide, authorization)
        except KeysUnavailableError as error:
            self._picker.telemetry.error("picker", str(error), error=type(error).__name__)
            return api.busy("no token can be checked now; try again in a moment", 5)
        if decision == "unauthenticated":
            why = ' error="invalid_token"' if authorization else ""
            return api.problem(401, "Unauthorized", www_authenticate=f"Bearer{why}")
        return api.problem(403, "Forbidden") if decision == "forbidden" else None


class Ready:
    """Tells whether the database is reachable, and how far the walk is; one look at a time, whoever asks."""

    def __init__(self, picker: Picker) -> None:
        self._picker = picker
        self._look: asyncio.Future[None] | None = None

    async def answer(self, _: Request) -> Response:
        walk = msgspec.to_builtins(self._picker.warmer.status())
        walk.pop("lastError", None)  # names hosts; the log has it
        try:
            reachable = await self._reachable()
        except (DatabaseError, TimeoutError):
            reachable = False
        told = {
            "status": "ready" if reachable else "not ready",
            "message": f"the database {'answers' if reachable else 'cannot be reached'}",
            "walk": walk,
        }
        return _response(Reply(200 if reachable else 503, msgspec.json.encode(told), {**_NOT_KEPT}))

    async def _reachable(self) -> bool:
        if self._look is None or self._look.done():
            self._look = asyncio.get_running_loop().run_in_executor(None, self._picker.resolver.rows.ping)
            self._look.add_done_callback(lambda look: look.exception())  # also where nobody waits for it any more
        async with asyncio.timeout(READY_SECONDS):
            await asyncio.shield(self._look)
        return True


_NOT_KEPT: Final = {"content-type": "application/json", "cache-control": "no-store"}


class Cors(CORSMiddleware):
    """Starlette's, with answers to preflights that have no text."""

    def preflight_response(self, request_headers: Headers) -> Response:
        answer = super().preflight_response(request_headers)
        if answer.status_code == 200:
            kept = {name: value for name, value in answer.headers.items() if name.startswith(("access-", "vary"))}
            return Response(status_code=204, headers=kept)
        return _response(api.problem(400, bytes(answer.body).decode()))


async def _openapi(_: Request) -> Response:
    return _response(Reply(200, api.openapi()))


async def _health(_: Request) -> Response:
    return _response(Reply(200, b'{"status":"healthy"}', _NOT_KEPT))


async def _refused(_: Request, error: Exception) -> Response:
    """Answer an unknown path or method as all else is answered."""
    assert isinstance(error, HTTPException)  # noqa: S101 - as it is registered
    return _response(api.problem(error.status_code, error.detail, **(error.headers or {})))


async def _failed(_: Request, __: Exception) -> Response:
    return _response(api.problem(500, "the track list cannot be read now"))


def _response(reply: Reply) -> Response:
    return Response(reply.body, reply.status, dict(reply.headers))


async def _send(reply: Reply, send: Send) -> None:
    headers = [(name.encode(), value.encode()) for name, value in reply.headers.items()]
    if reply.status != 304:
        headers.append((b"content-length", b"%d" % len(reply.body)))
    await send({"type": "http.response.start", "status": reply.status, "headers": headers})
    await send({"type": "http.response.body", "body": reply.body})
