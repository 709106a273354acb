"""`GET /health` of the cloud on this machine: which of its parts take connections."""

import asyncio
from collections.abc import Mapping
from typing import Final
from urllib.parse import unquote, urlsplit

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

PATIENCE: Final = 2.0  # seconds for a part to answer


def route(parts: Mapping[str, str]) -> Route:
    """Return a route that answers 200 while each part takes connections, else 503; its body has each part's state."""

    async def health(_: Request) -> Response:
        states = dict(zip(parts, await asyncio.gather(*map(_state, parts.values())), strict=True))
        healthy = all(state == "ok" for state in states.values())
        return JSONResponse({"status": "healthy" if healthy else "unhealthy", "parts": states}, 200 if healthy else 503)

    return Route("/health", health)


async def _state(url: str) -> str:
    """Return `ok` if a connection can be made to that address, else the reason why not."""
    address = urlsplit(url)
    port = address.port or (443 if address.scheme == "https" else 80)
    try:
        async with asyncio.timeout(PATIENCE):
            if address.scheme == "unix":
                _, writer = await asyncio.open_unix_connection(unquote(address.path))
            else:
                _, writer = await asyncio.open_connection(address.hostname, port)
    except TimeoutError:
        return f"no connection within {PATIENCE:g} s"
    except OSError as error:
        return error.strerror or type(error).__name__
    writer.close()
    return "ok"
