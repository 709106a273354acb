"""The ASGI app: tracks, the OpenAPI document, `/health` and `/ready`."""

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
from starlette.types import ASGIApp, Receive, Scope, Send

from core.authorization import Authorizer, KeysUnavailableError
from core.picker import api
from core.picker.api import ApiReply
from core.picker.build import Picker
from core.rotation.postgres import DatabaseError

HEALTH_PATH: Final = "/health"
READY_PATH: Final = "/ready"
AT_ONCE: Final = 40
"""Requests that may wait for the database or LML; the limiter lets few of them wait long."""
READY_SECONDS: Final = 3.0
"""The longest time for the database's answer."""
CORS_SECONDS: Final = 600
EXPOSED: Final = ("etag", "retry-after")
"""Headers of answers that a page of another origin may read."""
_BEFORE, _AFTER = api.PATH.split("{rotation_id}")


def build(picker: Picker, authorizer: Authorizer | None, origins: tuple[str, ...]) -> ASGIApp:
    """Return the app; without an authorizer everybody may read."""
    tracks, ready = Tracks(picker, authorizer), Ready(picker)
    cors = Middleware(
        Cors,
        allow_origins=origins,
        allow_methods=["GET"],
        allow_headers=["authorization", "if-none-match"],
        expose_headers=EXPOSED,
        max_age=CORS_SECONDS,
    )
    app = Starlette(
        routes=[
            Route(api.PATH, tracks, methods=["GET"]),
            Route(api.OPENAPI_PATH, _openapi),
            Route(HEALTH_PATH, _health),
            Route(READY_PATH, ready.answer),
        ],
        middleware=[cors] if origins else [],
        exception_handlers={HTTPException: _refused, Exception: _failed},
    )
    app.router.redirect_slashes = False
    return WarmReads(app, picker, authorizer, origins)


class WarmReads:
    """Answers warm reads before routing and middleware; every other request goes to the app.

    A read is warm where the token was let in a moment ago and the row's tracks are in memory. Routing, middleware and
    a thread would cost such a read more than all else that is done for it.
    """

    def __init__(self, app: ASGIApp, picker: Picker, authorizer: Authorizer | None, origins: tuple[str, ...]) -> None:
        self._app = app
        self._remembered = picker.resolver.remembered
        self._let_in = (lambda _: True) if authorizer is None else authorizer.remembers
        exposed = (b"access-control-expose-headers", ", ".join(EXPOSED).encode())
        self._of_origin: dict[bytes, list[tuple[bytes, bytes]]] = {
            origin.encode(): [(b"access-control-allow-origin", origin.encode()), exposed, (b"vary", b"Origin")]
            for origin in origins
            if "*" not in origins
        }
        # Without a list of origins they do not matter, or matter in a way that Starlette knows.
        self._without_cors = not origins

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        reply = self._at_once(scope) if scope["type"] == "http" and scope["method"] == "GET" else None
        if reply is None:
            await self._app(scope, receive, send)
        else:
            await _send(*reply, send)

    def _at_once(self, scope: Scope) -> tuple[ApiReply, list[tuple[bytes, bytes]]] | None:
        path: str = scope["path"]
        if not (path.startswith(_BEFORE) and path.endswith(_AFTER)):
            return None
        row = api.number(path[len(_BEFORE) : -len(_AFTER)])
        answer = None if row is None else self._remembered(row)
        if answer is None:
            return None
        authorization, if_none_match, cors = "", None, list[tuple[bytes, bytes]]()
        for name, value in scope["headers"]:
            if name == b"authorization":
                authorization = value.decode("latin-1")
            elif name == b"if-none-match":
                if_none_match = value.decode("latin-1")
            elif name == b"origin" and not self._without_cors:
                if value not in self._of_origin:
                    return None
                cors = self._of_origin[value]
        return (api.reply_with(answer, if_none_match), cors) if self._let_in(authorization) else None


class Tracks:
    """Answers with the tracks of a row; what has to be waited for is waited for in threads."""

    def __init__(self, picker: Picker, authorizer: Authorizer | None) -> None:
        self._picker = picker
        self._telemetry = picker.telemetry
        self._authorizer = authorizer
        self._djs = ThreadPoolExecutor(AT_ONCE, "dj")
        self._checks = ThreadPoolExecutor(4, "tokens")

    async def __call__(self, scope: Scope, _: Receive, send: Send) -> None:
        headers = Headers(scope=scope)
        reply = None if self._authorizer is None else await self._turned_away(self._authorizer, headers)
        if reply is None:
            reply = await asyncio.get_running_loop().run_in_executor(
                self._djs, self._picker.reply_to, scope["path_params"]["rotation_id"], headers.get("if-none-match")
            )
        await _send(reply, [], send)

    async def _turned_away(self, authorizer: Authorizer, headers: Headers) -> ApiReply | None:
        authorization = headers.get("authorization")
        try:
            decision = await asyncio.get_running_loop().run_in_executor(self._checks, authorizer.decide, authorization)
        except KeysUnavailableError as error:
            self._telemetry.error("picker", str(error), error=type(error).__name__)
            return api.busy(api.NO_KEYS, 5)
        if decision == "unauthenticated":
            why = ' error="invalid_token"' if authorization else ""
            return api.problem(401, "Unauthorized", www_authenticate=f"Bearer{why}")
        return api.problem(403, "Forbidden") if decision == "forbidden" else None


class Ready:
    """Answers whether the database is reachable, and how far the walk is; one query at a time, whoever asks."""

    def __init__(self, picker: Picker) -> None:
        self._walker = picker.warmer
        self._rows = picker.resolver.rows
        self._look: asyncio.Future[None] | None = None

    async def answer(self, _: Request) -> Response:
        walk = msgspec.to_builtins(self._walker.status())
        walk.pop("lastError", None)  # names hosts; the log has it
        try:
            reachable = await self._reachable()
        except (DatabaseError, TimeoutError):
            reachable = False
        state = {
            "status": "ready" if reachable else "not ready",
            "message": f"the database {'answers' if reachable else 'cannot be reached'}",
            "walk": walk,
        }
        return _response(ApiReply(200 if reachable else 503, msgspec.json.encode(state), {**_NOT_KEPT}))

    async def _reachable(self) -> bool:
        if self._look is None or self._look.done():
            self._look = asyncio.get_running_loop().run_in_executor(None, self._rows.ping)
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
    return _response(ApiReply(200, api.openapi()))


async def _health(_: Request) -> Response:
    return _response(ApiReply(200, b'{"status":"healthy"}', _NOT_KEPT))


async def _refused(_: Request, error: Exception) -> Response:
    """Answer an unknown path or method as all else is answered."""
    assert isinstance(error, HTTPException)  # noqa: S101 - as it is registered
    return _response(api.problem(error.status_code, error.detail, **(error.headers or {})))


async def _failed(_: Request, __: Exception) -> Response:
    return _response(api.problem(500, "the track list cannot be read now"))


def _response(reply: ApiReply) -> Response:
    return Response(reply.body, reply.status, dict(reply.headers))


async def _send(reply: ApiReply, more: list[tuple[bytes, bytes]], send: Send) -> None:
    headers = [(name.encode(), value.encode()) for name, value in reply.headers.items()]
    if reply.status != 304:
        headers.append((b"content-length", b"%d" % len(reply.body)))
    await send({"type": "http.response.start", "status": reply.status, "headers": headers + more})
    await send({"type": "http.response.body", "body": reply.body})
