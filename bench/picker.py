"""`python -m bench.picker`: what a warm read costs, and what the walk costs beside waiting for LML.

A warm read is one of a row that the process remembers. It is measured over HTTP from the picker's server
(`bench.served`); and of the function, in Lambda's own runtime client, beside a handler that returns the same JSON
(`bench.same_json`). The latter has no limit: carrying a request costs next to nothing there. Both sides take turns of
as many reads; a figure is the median over the turns, so that a moment in which the machine was busy is one turn and not
a percentile. The walk is the served picker's, its baseline the sum of the times that LML took for its
answers.
"""

import json
import os
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

import httpx
from rich.console import Console

from bench import figures, served, stand_in
from bench.figures import Figure, compared
from core.aws import http_api
from core.picker import api
from local import runtime_api
from local.world import World
from ops import picker

READS: Final = 200
"""Reads of a turn: its p99 is its second slowest."""
TURNS: Final = 40
WALK_LIMIT: Final = 1.1
ANSWER_SECONDS: Final = 2.0  # of LML; the walk's 40 calls a minute are then no limit
SPEED: Final = 10.0
"""Of the walk, times faster than real time, which makes what is our own weigh as much more."""
_ROOT: Final = Path(__file__).parents[1]
_SAME: Final = "a handler that returns the same JSON"
_WORLD: Final = World.seeded(60)
_ROW: Final = next(row.id for row in _WORLD.rows if row.active and row.discogs_release_id)

Turn = tuple[float, float, float]
"""Milliseconds of some reads: the median, the 99th percentile, and the mean."""


def measure(quick: bool) -> list[Figure]:
    turns = 2 if quick else TURNS
    return [*function_reads(turns), *served_reads(turns), walk(8 if quick else 310)]


def function_reads(turns: int) -> list[Figure]:
    """Measure warm reads of `handlers.rotation_tracks`, one after the other, as an environment of Lambda gets them."""
    let_in = {"authorizer": {"lambda": http_api.let_in("allowed")["context"]}}
    request = {"routeKey": f"GET {api.PATH}", "pathParameters": {"rotation_id": str(_ROW)}, "requestContext": let_in}
    event = json.dumps(request)
    with picker.stand_ins(_WORLD, 1) as there, stand_in.cloud() as cloud:
        environment = there.environment() | cloud.environment()
        environment["PYTHONPATH"] = os.pathsep.join([str(_ROOT / "src"), str(_ROOT)])
        with runtime_api.running("handlers.rotation_tracks.handler", environment, there.directory / "log") as ours:
            answer = ours.invoke(event)
            if answer["statusCode"] != 200:
                raise RuntimeError(f"the function answered {answer}")
            body = there.directory / "body.json"
            body.write_text(answer["body"], encoding="utf-8")
            environment["BODY_FILE"] = str(body)
            with runtime_api.running("bench.same_json.handler", environment, there.directory / "log") as same:
                cloud.taken()
                pairs = [(_turn(ours.invoke, event), _turn(same.invoke, event)) for _ in range(1 + turns)][1:]
                if asked := cloud.taken():
                    raise RuntimeError(f"reads that were not warm asked for {asked}")
    return _lines("warm read, function", pairs, _SAME, None)


def served_reads(turns: int) -> list[Figure]:
    """Measure warm reads of the picker's server (`bench.served`)."""
    with picker.stand_ins(_WORLD, 1) as there:
        return served.reads(there, _ROW, min(turns, TURNS // 4))


def _lines(what: str, pairs: Sequence[tuple[Turn, Turn]], against: str, limit: float | None) -> list[Figure]:
    return [
        compared(
            f"{what}, {of}",
            [(ours[at], theirs[at]) for ours, theirs in pairs],
            unit="ms",
            against=against,
            limit=limit,
        )
        for at, of in enumerate(("p50", "p99", "1/(reads a second)"))
    ]


def _turn(read: Callable[[str], object], what: str) -> Turn:
    seconds = []
    for _ in range(READS):
        began = time.perf_counter()
        read(what)
        seconds.append(time.perf_counter() - began)
    seconds.sort()
    return 1000 * seconds[READS // 2], 1000 * seconds[READS * 99 // 100], 1000 * sum(seconds) / READS


def walk(identities: int) -> Figure:
    """Measure a walk; paced seconds."""
    with picker.stand_ins(World.seeded(identities), SPEED, instant=True) as there:
        for path in ("lookup", "release"):
            slow: dict[str, object] = {"path": path, "times": None, "delay": ANSWER_SECONDS}
            httpx.post(f"{there.lml_url}/_faults", json=[slow]).raise_for_status()
        with picker.served(there) as (process, _):
            counters = picker.watched(process, Console(stderr=True))
        answers = sum(call["seconds"] for call in httpx.get(f"{there.lml_url}/_asked").json())
    return compared(
        f"walk of {counters['scanned']} rows",
        [(counters["elapsedMs"] / 1000, answers)],
        unit="s",
        against="the sum of LML's answers",
        limit=WALK_LIMIT,
    )


if __name__ == "__main__":
    figures.run("bench.picker", "Measures the picker on this machine.", measure)
