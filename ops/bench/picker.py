"""`python -m ops.bench.picker`: what a warm read costs, and what the walk costs beside waiting for LML.

A warm read is a request to the served picker, its query of PostgreSQL included; its baseline is the same server
(`ops.bench.bare`) with a plain `def` that returns the same bytes. The two take turns of as many reads, for the
percentiles over one connection, for reads a second over as many as there are DJs; a figure is the median over the
turns, so that a moment in which the machine was busy is one turn and not a percentile. The walk is the served
picker's, its baseline the sum of the times that LML took for its answers.
"""

import sys
import time
from concurrent.futures import ThreadPoolExecutor
from http.client import HTTPConnection
from typing import Final
from urllib.parse import urlsplit

import httpx
from rich.console import Console

from core.picker import api
from local.process import end, listening, spawn
from local.world import World
from ops import picker
from ops.bench import figures
from ops.bench.figures import Figure, compared

READS: Final = 200
"""Reads of a turn: its p99 is its second slowest."""
TURNS: Final = 40
DJS: Final = 4
"""Who read at once where reads a second are counted; each as fast as answers come."""
READ_LIMIT: Final = 1.5
WALK_LIMIT: Final = 1.1
ANSWER_SECONDS: Final = 2.0  # of LML; the walk's 40 calls a minute are then no limit
SPEED: Final = 10.0
"""Of the walk, times faster than real time, which makes what is our own weigh as much more."""
_BARE: Final = "the same server with a plain `def` that returns the same bytes"


def measure(quick: bool) -> list[Figure]:
    return [*warm_read(2 if quick else TURNS), walk(8 if quick else 310)]


def warm_read(turns: int) -> list[Figure]:
    """Measure warm reads: the p50 and p99 of each turn, and the time that all its reads took."""
    world = World.seeded(60)
    row = next(row.id for row in world.rows if row.active and row.discogs_release_id)
    path = api.PATH.format(rotation_id=row)
    with picker.stand_ins(world, 1) as there, picker.served(there, warm=False) as (_, url):
        body, url_file = there.directory / "body.json", there.directory / "bare.url"
        body.write_bytes(httpx.get(url + path, timeout=60).raise_for_status().content)
        command = [sys.executable, "-m", "ops.bench.bare", str(body), str(url_file)]
        process = spawn(command, there.directory / "bare.log")
        try:
            bare_url = listening(process, "the bare server", url_file)
            with httpx.Client(base_url=url, timeout=60) as ours, httpx.Client(base_url=bare_url, timeout=60) as bare:
                pairs = [(_turn(ours, path), _turn(bare, path)) for _ in range(1 + turns)][1:]
            rushes = [(_rush(url, path), _rush(bare_url, path)) for _ in range(1 + turns)][1:]
        finally:
            end([process])

    def each(at: int) -> list[tuple[float, float]]:
        return [(1000 * ours[at], 1000 * bare[at]) for ours, bare in pairs]

    return [
        compared("warm read, p50", each(READS // 2), unit="ms", against=_BARE, limit=READ_LIMIT),
        compared("warm read, p99", each(READS * 99 // 100), unit="ms", against=_BARE, limit=READ_LIMIT),
        compared(
            f"1/(reads a second), {DJS} DJs at once",
            [(1000 * ours, 1000 * bare) for ours, bare in rushes],
            unit="ms",
            against=_BARE,
            limit=READ_LIMIT,
        ),
    ]


def _turn(client: httpx.Client, path: str) -> list[float]:
    """Read some times; returns the seconds of each, the fastest first."""
    seconds = []
    for _ in range(READS):
        began = time.perf_counter()
        client.get(path).raise_for_status()
        seconds.append(time.perf_counter() - began)
    return sorted(seconds)


def _rush(url: str, path: str) -> float:
    """Let all DJs read at once, with a client that costs less than what it asks; returns the seconds a read took."""

    def read() -> None:
        dj = HTTPConnection(urlsplit(url).netloc, timeout=60)
        for _ in range(READS // DJS):
            dj.request("GET", path)
            answer = dj.getresponse()
            answer.read()
            assert answer.status == 200  # noqa: S101 - else the figure is of something else
        dj.close()

    began = time.perf_counter()
    with ThreadPoolExecutor(DJS) as djs:
        for done in [djs.submit(read) for _ in range(DJS)]:
            done.result()
    return (time.perf_counter() - began) / READS


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
    figures.run("ops.bench.picker", "Measures the picker on this machine.", measure)
