"""The picker's server (`python -m server`) beside the stand-ins of this machine, and what the demo shows of it."""

import json
import os
import secrets
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final, Self

import httpx
from rich.console import Console

from core.picker import api
from local import postgres, sentry, started
from local.cloud import Cloud
from local.lml.picker import Catalog
from local.lml.running import as_process
from local.postgres import Postgres
from local.process import Process, end, listening, spawn
from local.world import World

SPEED: Final = 25.0
"""Paced seconds in one: LML's 5 s are 0.2 s then, and the walk of 310 rows takes 20 s."""
WALK_SECONDS: Final = 300.0  # for a loaded machine


def start(environment: Mapping[str, str], directory: Path, *, warm: bool = True) -> tuple[Process, str]:
    """Start the server as a process of its own; returns it and its base URL. Raises ProcessError."""
    url_file = directory / "picker.url"
    url_file.unlink(missing_ok=True)
    command = [sys.executable, "-m", "server", "--url-file", str(url_file), *([] if warm else ["--no-walk"])]
    process = spawn(command, directory / "picker.log", {**os.environ, "HOST": "127.0.0.1", "PORT": "0", **environment})
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
    more: Mapping[str, str] = field(default_factory=dict)
    """Settings over those that make a picker run beside them."""

    def with_more(self, more: Mapping[str, str]) -> Self:
        return replace(self, more=more)

    def environment(self) -> dict[str, str]:
        """Return the settings of a picker beside them."""
        return {
            **self.database.environment(),
            "LIBRARY_METADATA_URL": self.lml_url,
            "LML_API_KEY": self.lml_api_key,
            "LOCAL_DEV": "1",
            "CLOCK_SPEED": f"{self.speed:g}",
            **self.more,
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
