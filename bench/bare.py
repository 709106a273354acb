"""What a warm read is compared with: a server that returns the same JSON, and does nothing for it."""

import sys
from pathlib import Path

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from core.picker import api
from local import serve


def main() -> None:
    """Serve the body in the first file; the second gets the base URL."""
    body = Path(sys.argv[1]).read_bytes()

    def tracks(_: Request) -> Response:  # in a thread, as the picker's: Starlette's own way of running a plain `def`
        return Response(body, media_type="application/json")

    serve.run(Starlette(routes=[Route(api.PATH, tracks)]), Path(sys.argv[2]))


if __name__ == "__main__":
    main()
