"""`GET /health` of the cloud on this machine: which of its parts take connections.

`python -m local.health --url-file FILE --part NAME URL ...` runs it as a process.
"""

import asyncio
from argparse import ArgumentParser
from collections.abc import Mapping
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from local import serve

PATIENCE: Final = 2.0  # seconds for a part to answer


def build(parts: Mapping[str, str]) -> Starlette:
    """Return an app that answers 200 while each part's URL does, else 503; both tell each part's state."""

    async def health(_: Request) -> Response:
        states = dict(zip(parts, await asyncio.gather(*map(_state, parts.values())), strict=True))
        healthy = all(state == "ok" for state in states.values())
        return JSONResponse({"status": "healthy" if healthy else "unhealthy", "parts": states}, 200 if healthy else 503)

    return Starlette(routes=[Route("/health", health)])


async def _state(url: str) -> str:
    """Return `ok` if somebody takes a connection there, else what happened instead."""
    address = urlsplit(url)
    port = address.port or (443 if address.scheme == "https" else 80)
    try:
        async with asyncio.timeout(PATIENCE):
            _, writer = await asyncio.open_connection(address.hostname, port)
    except TimeoutError:
        return f"no connection within {PATIENCE:g} s"
    except OSError as error:
        return error.strerror or type(error).__name__
    writer.close()
    return "ok"


def main() -> None:
    parser = ArgumentParser(prog="python -m local.health", description="/health of the cloud on this machine.")
    parser.add_argument("--url-file", type=Path, required=True, help="gets the base URL when it listens")
    parser.add_argument("--part", nargs=2, action="append", metavar=("NAME", "URL"), help="whom to look for")
    options = parser.parse_args()
    serve.run(build(dict(options.part or [])), options.url_file)


if __name__ == "__main__":
    main()
