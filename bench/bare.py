"""What a warm read is compared with: a Starlette app whose `async def` returns the same bytes, and no more."""

import sys
from pathlib import Path

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from core.picker import api
from local import serve


def main() -> None:
    """Serve the body in the first file, under uvicorn as the picker's server is; the second gets the base URL."""
    body = Path(sys.argv[1]).read_bytes()

    async def tracks(_: Request) -> Response:
        return Response(body, media_type="application/json")

    given = uvicorn.Config(
        Starlette(routes=[Route(api.PATH, tracks)]),
        loop="asyncio",
        http="httptools",
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
    )
    with serve.listener() as sock:
        draft = Path(f"{sys.argv[2]}.draft")  # whoever waits for the file finds it whole
        draft.write_text(f"http://127.0.0.1:{sock.getsockname()[1]}")
        draft.replace(sys.argv[2])
        uvicorn.Server(given).run([sock])


if __name__ == "__main__":
    main()
