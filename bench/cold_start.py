"""`python -m bench.cold_start`: from the start of a fresh process to a function's first answer.

Lambda's own runtime client runs our handler and, in turns with it, one of `bench.plain`: a handler without our
code that imports what its dependencies need, makes the same clients, and makes the same requests. Both import from a
directory that holds what Lambda has, and nothing of the development environment. The events need little work: the
refresh and the dead-letter function park a message that is none (one SendMessage), fan-out makes a dry run of an empty
table (one connection, four statements, spans for Sentry), the picker's functions look for a row that is not
there (one connection, one statement). Requests of both sides are counted; other numbers are an error.
"""

import json
import os
import resource
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TypeAlias

from bench import figures, stand_in
from bench.figures import Figure
from local import postgres, runtime_api

HANDLERS: Final = ("refresh", "fan_out", "dead_letter", "rotation_tracks", "warm_tracks")
PAIRS: Final = 11
LIMIT: Final = 1.10
Sides: TypeAlias = tuple[float, float]
"""Seconds of a start: by the clock, and of the processor."""
_ROOT: Final = Path(__file__).parents[1]
_PLAIN: Final = Path(__file__).parent / "plain"
_NO_MESSAGE: Final = {"Records": [{"body": "no message"}]}
_EVENTS: Final[Mapping[str, object]] = {
    "refresh": _NO_MESSAGE,
    "fan_out": {"dry_run": True},
    "dead_letter": _NO_MESSAGE,
    "rotation_tracks": {
        "routeKey": "GET /library",
        "pathParameters": {"rotation_id": "7"},
    },
    "warm_tracks": {},
}


@dataclass(frozen=True, slots=True)
class Bench:
    """Where cold starts are measured; `source` is the tree whose handlers are ours."""

    cloud: stand_in.Cloud
    environment: Mapping[str, str]
    packages: Path
    source: Path
    plain: Path
    log: Path

    def pair(self, function: str) -> tuple[Sides, Sides]:
        """Start ours and the plain handler."""
        ours = self._start(f"handlers.{function}.handler", self.source, function)
        asked = self.cloud.taken()
        plain = self._start(f"plain.{function}.handler", self.plain, function)
        if (others := self.cloud.taken()) != asked:
            raise RuntimeError(f"{function}: ours asked for {asked}, the plain handler for {others}")
        return ours, plain

    def _start(self, handler: str, path: Path, function: str) -> Sides:
        environment = {**self.environment, "PYTHONPATH": os.pathsep.join([str(self.packages), str(path)])}
        event, used, began = json.dumps(_EVENTS[function]), _processor_seconds(), time.perf_counter()
        with runtime_api.running(handler, environment, self.log, "-S") as runtime:
            runtime.invoke(event)
            seconds = time.perf_counter() - began
        return seconds, _processor_seconds() - used


@contextmanager
def bench(source: Path) -> Iterator[Bench]:
    with tempfile.TemporaryDirectory() as name, stand_in.cloud() as cloud:
        directory = Path(name)
        database = postgres.start(directory)
        try:
            environment = {
                **database.environment(),
                **cloud.environment(),
                "REFRESH_QUEUE_URL": f"{cloud.url}/refresh",
                "PARKED_QUEUE_URL": f"{cloud.url}/parked",
                "LIBRARY_METADATA_URL": cloud.url,
                "LML_API_KEY": "key",
                "LOCAL_DEV": "1",
                "SENTRY_DSN": cloud.url.replace("://", "://key@") + "/1",
            }
            packages, plain = stand_in.lay_out(directory / "packages"), directory / "plain"
            plain.mkdir()
            (plain / "plain").symlink_to(_PLAIN)
            yield Bench(cloud, environment, packages, source, plain, directory / "log")
        finally:
            postgres.stop(database)


def measure(quick: bool, source: Path = _ROOT / "src") -> list[Figure]:
    """Return two lines a function: by the clock, which the limit is for, and of the processor."""
    found: list[Figure] = []
    with bench(source) as here:
        taken: dict[str, list[tuple[Sides, Sides]]] = {function: [] for function in HANDLERS}
        for _ in range(1 if quick else 1 + PAIRS):
            for function in HANDLERS:
                taken[function].append(here.pair(function))
    for function, starts in taken.items():
        pairs = starts if quick else starts[1:]  # the first compiles
        against = "a plain handler with the same dependencies, clients and requests (bench/plain)"
        for unit, limit, side in (("ms", LIMIT, 0), ("ms CPU", None, 1)):
            milliseconds = [(1000 * ours[side], 1000 * plain[side]) for ours, plain in pairs]
            found.append(
                figures.compared(f"cold start, {function}", milliseconds, unit=unit, against=against, limit=limit)
            )
    return found


def _processor_seconds() -> float:
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


if __name__ == "__main__":
    figures.run("bench.cold_start", "Measures cold starts.", measure)
