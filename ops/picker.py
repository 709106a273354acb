"""The picker as one long-lived process over HTTP, and what `rotation demo --picker` shows of it.

`python -m ops.picker --url-file FILE` serves it with the settings of its environment.
"""

import asyncio
import json
import os
import secrets
import sys
import time
from argparse import ArgumentParser
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import httpx
from rich.console import Console
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from core import settings
from core.picker import api, config
from core.picker.build import Picker, build
from core.telemetry import Telemetry
from local import postgres, sentry, serve, started
from local.cloud import Cloud
from local.lml.picker import Catalog
from local.lml.running import as_process
from local.postgres import Postgres
from local.process import Process, end, listening, spawn
from local.world import World

SPEED: Final = 25.0
"""Paced seconds in one: LML's 5 s are 0.2 s then, and the walk of 310 rows takes 20 s."""
WALK_SECONDS: Final = 300.0  # for a loaded machine
AT_ONCE: Final = 40
"""Requests, as many as Starlette would work on; the limiter lets few of them wait, and not for long."""


def app(picker: Picker) -> Starlette:
    """Return the routes of the HTTP API, and a health check that asks nobody."""
    djs = ThreadPoolExecutor(AT_ONCE, "dj")

    # A plain `def` would be run in a thread too, in a way that costs a warm read a fifth more of the processor.
    async def tracks(request: Request) -> Response:
        loop = asyncio.get_running_loop()
        return _json(await loop.run_in_executor(djs, picker.reply_to, request.path_params["rotation_id"]))

    async def openapi(_: Request) -> Response:
        return _json(api.Reply(200, api.openapi(authorized=False)))

    async def health(_: Request) -> Response:
        return _json(api.Reply(200, b'{"status":"healthy"}'))

    return Starlette(routes=[Route(api.PATH, tracks), Route(api.OPENAPI_PATH, openapi), Route("/health", health)])


def _json(reply: api.Reply) -> Response:
    return Response(reply.body, reply.status, media_type="application/json")


@contextmanager
def opened(environment: Mapping[str, str]) -> Iterator[Picker]:
    """Give a picker whose caches are this process's own; raises SettingsError."""
    given = config.read(environment, _no_secret, needs_table=False)
    hidden = [environment.get(name, "") for name in settings.SECRETS]
    picker = build(given, Telemetry(given.sentry, secrets=hidden))
    try:
        yield picker
    finally:
        picker.close()


def _no_secret(arn: str, _anew: bool) -> str:
    raise LookupError(f"{arn}: a process on this machine takes its secrets from its environment")


def start(environment: Mapping[str, str], directory: Path, *, warm: bool = True) -> tuple[Process, str]:
    """Start the server as a process of its own; returns it and its base URL. Raises ProcessError."""
    url_file = directory / "picker.url"
    url_file.unlink(missing_ok=True)
    command = [sys.executable, "-m", "ops.picker", "--url-file", str(url_file), *([] if warm else ["--cold"])]
    process = spawn(command, directory / "picker.log", {**os.environ, **environment})
    return process, listening(process, "the picker", url_file)


def beside(there: Cloud, speed: float) -> tuple[Cloud, str]:
    """Serve the picker beside a cloud of this machine, which then stops it too; returns the cloud and the base URL.

    `speed` is the cloud's; the picker's own is SPEED at most. Raises ProcessError.
    """
    key = there.client("secretsmanager").get_secret_value(SecretId=there.names["LmlApiKeySecret"])["SecretString"]
    directory = Path(there.directory)
    given = StandIns(there.database, there.lml_url, key, min(speed, SPEED), directory).environment()
    process, url = start({**given, "SENTRY_DSN": sentry.dsn(there.sentry_url)}, directory)
    return replace(there, processes=(*there.processes, process)), url


def play(world: World, console: Console, *, speed: float = SPEED) -> dict[str, object]:
    """Show a cold first open, the walk, and the same open in the process that walked; raises ProcessError.

    Returns `open_cold_ms`, `open_warm_ms` and `warm`, the counters of the walk. The opens are of one row in two
    processes, so that the second is warm by the walk and not by the first. Only the walk is faster than real time.
    """
    row = _slowest(world)
    with station(world) as (database, directory):
        with beside_lml(world, database, directory, 1) as there, served(there, warm=False) as (process, url):
            cold, tracks = _open(process, url, row)
        console.print(f"A cold first open of row {row}: {cold:.0f} ms, {tracks} tracks.", highlight=False)
        console.print(f"A new process, and its walk, {speed:g} times faster than real time:", highlight=False)
        with beside_lml(world, database, directory, speed) as there, served(there) as (process, url):
            counters = watched(process, console)
            warm, tracks = _open(process, url, row)
    console.print(f"The same open after the walk: {warm:.1f} ms, {tracks} tracks.", highlight=False)
    return {"open_cold_ms": round(cold, 1), "open_warm_ms": round(warm, 1), "warm": counters}


def _slowest(world: World) -> int:
    """Return an active row that needs both a lookup and a release fetch; in a small world as much as there is."""
    shapes = Catalog(world).shapes
    active = [row for row in world.rows if row.active]
    return min(active, key=lambda row: (shapes.get(row.id) != "direct", not row.discogs_release_id)).id


@dataclass(frozen=True, slots=True)
class StandIns:
    """A database with a world in it, and an LML with empty caches."""

    database: Postgres
    lml_url: str
    lml_api_key: str
    speed: float
    directory: Path

    def environment(self) -> dict[str, str]:
        """Return the settings of a picker beside them."""
        return {
            **self.database.environment(),
            "LIBRARY_METADATA_URL": self.lml_url,
            "LML_API_KEY": self.lml_api_key,
            "LOCAL_DEV": "1",
            "CLOCK_SPEED": f"{self.speed:g}",
        }


@contextmanager
def stand_ins(world: World, speed: float, *, instant: bool = False) -> Iterator[StandIns]:
    """Run what a picker needs, if `instant` with an LML that costs nothing; raises ProcessError, PostgresError."""
    with station(world) as found, beside_lml(world, *found, speed, instant=instant) as there:
        yield there


@contextmanager
def station(world: World) -> Iterator[tuple[Postgres, Path]]:
    """Run a database with a world in it; gives it, and a directory that lasts as long. Raises PostgresError."""
    with started.scratch("picker") as directory:
        database = postgres.start(directory)
        try:
            postgres.load(database, world)
            yield database, directory
        finally:
            postgres.stop(database)


@contextmanager
def beside_lml(
    world: World, database: Postgres, directory: Path, speed: float, *, instant: bool = False
) -> Iterator[StandIns]:
    """Run an LML with empty caches beside a database; raises ProcessError."""
    key = secrets.token_hex()
    options = ["--speed", str(speed), "--token", key, *(["--instant"] if instant else [])]
    with as_process(world, directory, *options) as url:
        yield StandIns(database, url, key, speed, directory)


@contextmanager
def served(there: StandIns, *, warm: bool = True) -> Iterator[tuple[Process, str]]:
    """Serve the picker in a process of its own, which then walks if it shall; gives it and its base URL."""
    process, url = start(there.environment(), there.directory, warm=warm)
    try:
        yield process, url
    finally:
        end([process])


def _open(process: Process, url: str, row: int) -> tuple[float, int]:
    """Return how long a DJ waited, in milliseconds of this machine, and how many tracks came; raises ProcessError."""
    try:
        with httpx.Client(base_url=url, timeout=60) as dj:
            dj.get("/health")  # a DJ's browser has its connection already
            began = time.perf_counter()
            answer = dj.get(api.PATH.format(rotation_id=row)).raise_for_status()
            return (time.perf_counter() - began) * 1000, len(answer.json())
    except httpx.HTTPError as error:
        raise process.failure(f"row {row} could not be opened: {error}") from None


def watched(process: Process, console: Console) -> dict[str, Any]:
    """Show the walk's progress from its log, and return the counters of its summary."""
    for line in _lines(process):
        if line.get("step") == "warm" and "scanned" in line:
            console.print(f"  {line['message']}: {line['scanned']} rows", highlight=False)
            if line["message"] == "the warm-up has ended":
                names = [name for name in line if name[0].islower() and isinstance(line[name], int)]
                return {name: line[name] for name in names}
    raise process.failure("the walk did not end")


def _lines(process: Process) -> Iterator[dict[str, Any]]:
    deadline = time.monotonic() + WALK_SECONDS
    with Path(process.log).open() as log:
        while process.alive and time.monotonic() < deadline:
            line = log.readline()
            if line.startswith("{") and line.endswith("\n"):
                yield json.loads(line)
            elif not line:
                time.sleep(0.05)


def main() -> None:
    parser = ArgumentParser(prog="python -m ops.picker", description="Serves the picker on 127.0.0.1.")
    parser.add_argument("--url-file", type=Path, required=True, help="gets the base URL when it listens")
    parser.add_argument("--cold", action="store_true", help="no walk: caches fill as DJs ask")
    options = parser.parse_args()
    with opened(os.environ) as picker:
        walk: Callable[[], None] = picker.warmer.start_rotation_tracks_cache_warm
        serve.run(app(picker), options.url_file, listening=(lambda: None) if options.cold else walk)


if __name__ == "__main__":
    main()
