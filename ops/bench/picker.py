"""`python -m ops.bench.picker`: what a warm read costs, and what the walk costs beside waiting for LML.

Prints one JSON object. A warm read is a request to the served picker, its query of PostgreSQL included, against a
server that returns the same JSON; the walk is the served picker's.
"""

import json
import sys
import time
from argparse import ArgumentParser
from statistics import median
from typing import Any, Final

import httpx
from rich.console import Console

from core.picker import api
from local.process import end, spawn
from local.world import World
from ops import picker

ROUND: Final = 100  # reads of one server before the other's turn: what disturbs the machine disturbs both
ANSWER_SECONDS: Final = 2.0  # of LML; the walk's 40 calls a minute are then no limit


def warm_read(reads: int) -> dict[str, float]:
    """Measure warm reads: p50 and p99 in milliseconds, reads a second, and each against the bare server."""
    world = World.seeded(60)
    row = next(row.id for row in world.rows if row.active and row.discogs_release_id)
    path = api.PATH.format(rotation_id=row)
    with picker.stand_ins(world, 1) as there, picker.served(there, warm=False) as (_, url):
        body, url_file = there.directory / "body.json", there.directory / "bare.url"
        body.write_bytes(httpx.get(url + path).raise_for_status().content)
        command = [sys.executable, "-m", "ops.bench.bare", str(body), str(url_file)]
        process = spawn(command, there.directory / "bare.log")
        try:
            bare_url = picker.written(process, url_file)
            with httpx.Client(base_url=url) as ours, httpx.Client(base_url=bare_url) as bare:
                rounds = [(_timed(ours, path), _timed(bare, path)) for _ in range(1 + max(1, reads // ROUND))][1:]
        finally:
            end([process])
    read, plain = (_figures([seconds for each in rounds for seconds in each[side]]) for side in (0, 1))
    return {
        **{f"read_{name}": value for name, value in read.items()},
        **{f"bare_{name}": value for name, value in plain.items()},
        "p50_ratio": round(read["p50_ms"] / plain["p50_ms"], 2),
        "p99_ratio": round(read["p99_ms"] / plain["p99_ms"], 2),
        "per_second_ratio": round(median(sum(ours) / sum(bare) for ours, bare in rounds), 2),
    }


def _timed(client: httpx.Client, path: str) -> list[float]:
    seconds = []
    for _ in range(ROUND):
        began = time.perf_counter()
        client.get(path).raise_for_status()
        seconds.append(time.perf_counter() - began)
    return seconds


def _figures(seconds: list[float]) -> dict[str, float]:
    ordered = sorted(seconds)
    return {
        "p50_ms": round(ordered[len(ordered) // 2] * 1000, 3),
        "p99_ms": round(ordered[int(len(ordered) * 0.99)] * 1000, 3),
        "per_second": round(len(ordered) / sum(ordered), 1),
    }


def walk(identities: int, speed: float) -> dict[str, Any]:
    """Measure a walk against the sum of what LML took for its answers; paced seconds."""
    with picker.stand_ins(World.seeded(identities), speed, instant=True) as there:
        for path in ("lookup", "release"):
            slow: dict[str, object] = {"path": path, "times": None, "delay": ANSWER_SECONDS}
            httpx.post(f"{there.lml_url}/_faults", json=[slow]).raise_for_status()
        with picker.served(there) as (process, _):
            counters = picker.watched(process, Console(stderr=True))
        answers = sum(call["seconds"] for call in httpx.get(f"{there.lml_url}/_asked").json())
    walked = counters["elapsedMs"] / 1000
    figures = {"walk_seconds": walked, "lml_seconds": round(answers, 1), "walk_ratio": round(walked / answers, 3)}
    return figures | counters


def main() -> None:
    parser = ArgumentParser(prog="python -m ops.bench.picker", description="Measures the picker on this machine.")
    parser.add_argument("--reads", type=int, default=3000, help="warm reads [%(default)s]")
    parser.add_argument("--identities", type=int, default=310, help="identities of the walk [%(default)s]")
    parser.add_argument("--speed", type=float, default=10.0, help="of the walk; more makes our own part weigh more")
    options = parser.parse_args()
    print(json.dumps(warm_read(options.reads) | walk(options.identities, options.speed)))  # noqa: T201 - its answer


if __name__ == "__main__":
    main()
