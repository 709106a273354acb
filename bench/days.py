"""`python -m bench.days`: runs a cold and a warm day on this machine, counts what AWS would bill, writes it down.

`days.json` beside this file is what it wrote last; `bench.cost` puts prices on it.
"""

import json
import os
import platform
import re
import subprocess
import sys
import tempfile
import time
from argparse import ArgumentParser
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from typing import Final

import httpx
import msgspec
from rich.console import Console
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from core.clock import SystemClock
from core.runs.ledger import open_ledger
from core.runs.request import Start
from local import cloud, deploy, serve
from local.cloud import Cloud, Options
from local.lml.orders import Order
from local.world import World
from ops import watch

STORED: Final = Path(__file__).with_name("days.json")
READERS: Final = 20.0  # calls a minute that DJs cause beside the run, as in the load test
FUNCTIONS: Final = ("FanOutFunction", "RefreshFunction", "DeadLetterFunction")
LOG_EVENT: Final = 26  # bytes that CloudWatch adds to every line
_READS: Final = frozenset({"GetItem", "BatchGetItem", "Query", "Scan"})
_HANDLERS: Final = ("handlers.fan_out", "handlers.refresh")


class Work(msgspec.Struct, kw_only=True):
    """What one function was billed for: invocations and seconds of them, in the run's own time."""

    invocations: int
    seconds: float


class Day(msgspec.Struct, kw_only=True):
    """What a day uses of AWS. Units are DynamoDB's; bytes are those of all log lines."""

    identities: int
    makespan_seconds: float
    functions: dict[str, Work]
    dynamodb_requests: dict[str, int]
    read_units: float
    write_units: float
    sqs_requests: dict[str, int]
    log_bytes: int
    metrics: int
    """Custom metrics that the day writes: names times sets of dimensions."""


class Measured(msgspec.Struct, kw_only=True):
    """Both days, and how they were measured. `init_seconds` is CPU time of a handler's imports."""

    on: str
    commit: str
    machine: str
    speed: float
    readers: float
    init_seconds: float
    cold: Day
    warm: Day


class Meter:
    """Stands between the functions and the emulator, and counts what DynamoDB and SQS would bill."""

    def __init__(self) -> None:
        self.target = ""
        self.requests: Counter[tuple[str, str]] = Counter()
        self.read_units = self.write_units = 0.0

    def app(self) -> Starlette:
        return Starlette(routes=[Route("/{path:path}", self._pass_on, methods=["POST"])], lifespan=self._connected)

    @asynccontextmanager
    async def _connected(self, _: Starlette) -> AsyncIterator[None]:
        async with httpx.AsyncClient(timeout=60) as self._client:
            yield

    async def _pass_on(self, request: Request) -> Response:
        service, _, action = request.headers["x-amz-target"].partition(".")
        body = await request.body()
        dynamodb = service.startswith("DynamoDB")
        if dynamodb:
            body = json.dumps(json.loads(body) | {"ReturnConsumedCapacity": "TOTAL"}).encode()
        headers = {name: value for name, value in request.headers.items() if name not in {"host", "content-length"}}
        answer = await self._client.post(self.target + request.url.path, content=body, headers=headers)
        self.requests["dynamodb" if dynamodb else "sqs", action] += 1
        if dynamodb and action in _READS:
            self.read_units += _units(answer)
        elif dynamodb:
            self.write_units += _units(answer) or 1.0  # a condition that does not hold is billed like a write
        return Response(answer.content, answer.status_code, {"content-type": answer.headers["content-type"]})


def _units(answer: httpx.Response) -> float:
    consumed = answer.json().get("ConsumedCapacity", [])
    return float(sum(it["CapacityUnits"] for it in (consumed if isinstance(consumed, list) else [consumed])))


def day(world: World, *, speed: float, console: Console) -> Day:
    """Run one day, readers beside it, and return what it used."""
    meter = Meter()
    with serve.in_thread(meter.app()) as url, tempfile.TemporaryDirectory(prefix="rotation-day-") as scratch:
        through = {"AWS_ENDPOINT_URL_DYNAMODB": url, "AWS_ENDPOINT_URL_SQS": url}
        options = Options(world=world, speed=speed, settings=through)
        there = cloud.start(options, Path(scratch) / "cloud", lambda line: console.print(f"  {line}", highlight=False))
        try:
            meter.target = there.aws_url
            order = msgspec.json.encode(Order(per_minute=READERS))
            httpx.post(f"{there.lml_url}/_runtime", content=order).raise_for_status()
            makespan, planned = _run(there, speed, console)
            return _used(there, meter, speed=speed, makespan=makespan, planned=planned)
        finally:
            cloud.stop(there)


def _run(there: Cloud, speed: float, console: Console) -> tuple[float, int]:
    ledger = open_ledger(there.client("dynamodb"), there.names["LedgerTable"])
    now = datetime.now(UTC)
    began = time.monotonic()
    there.fire(now)
    views = watch.watch(ledger, Start(scheduled_time=now).scheduled_id(now), SystemClock(speed), patience=60.0)
    run = watch.show(views, console)
    if run.status != "complete":
        raise SystemExit(f"the run is {run.status}, so that it measures nothing: {run.reason}")
    return (time.monotonic() - began) * speed, run.planned


def _used(there: Cloud, meter: Meter, *, speed: float, makespan: float, planned: int) -> Day:
    functions, log_bytes, metrics = {}, 0, set()
    for name in FUNCTIONS:
        lines = list(_lines(there, name))
        reports = [re.search(r"\tDuration: ([\d.]+) ms", line) for line in lines if line.startswith("REPORT ")]
        millis = [float(report[1]) for report in reports if report]
        functions[name] = Work(invocations=len(millis), seconds=round(sum(millis) * speed / 1000, 1))
        log_bytes += sum(len(line.encode()) + LOG_EVENT for line in lines)
        metrics |= {metric for line in lines if line.startswith("{") for metric in _metrics(json.loads(line))}
    return Day(
        identities=planned,
        makespan_seconds=round(makespan, 1),
        functions=functions,
        dynamodb_requests={action: n for (service, action), n in sorted(meter.requests.items()) if service != "sqs"},
        read_units=meter.read_units,
        write_units=meter.write_units,
        sqs_requests={action: n for (service, action), n in sorted(meter.requests.items()) if service == "sqs"},
        log_bytes=log_bytes,
        metrics=len(metrics),
    )


def _lines(there: Cloud, function: str) -> list[str]:
    group = there.names[function.removesuffix("Function") + "Logs"]
    pages = there.client("logs").get_paginator("filter_log_events").paginate(logGroupName=group)
    return [event["message"] for page in pages for event in page["events"]]


def _metrics(line: dict[str, object]) -> set[tuple[str, tuple[str, ...]]]:
    """Return what CloudWatch would bill of an EMF line: each metric under each set of dimensions and their values."""
    emf = line.get("_aws")
    if not isinstance(emf, dict):
        return set()
    return {
        (metric["Name"], tuple(f"{name}={line[name]}" for name in dimensions))
        for directive in emf["CloudWatchMetrics"]
        for dimensions in directive["Dimensions"]
        for metric in directive["Metrics"]
    }


def _init_seconds() -> float:
    """Return the CPU time that a fresh interpreter takes to import the slower handler; median of five."""

    def seconds(handler: str) -> float:
        before = os.times()
        subprocess.run([sys.executable, "-c", f"import {handler}"], check=True)  # noqa: S603 - our own command
        after = os.times()
        return after.children_user + after.children_system - before.children_user - before.children_system

    return round(max(median(seconds(handler) for _ in range(5)) for handler in _HANDLERS), 2)


def main() -> None:
    parser = ArgumentParser(prog="python -m bench.days", description=__doc__)
    parser.add_argument("--speed", type=float, default=1.0, help="times faster than real time [%(default)s]")
    parser.add_argument("--identities", type=int, default=310, help="active identities [%(default)s]")
    parser.add_argument("-o", "--output", type=Path, default=STORED, help="[%(default)s]")
    given = parser.parse_args()
    console = Console(stderr=True)
    commit = ["git", "-C", str(deploy.ROOT), "describe", "--always", "--dirty"]
    measured = Measured(
        on=datetime.now(UTC).date().isoformat(),
        commit=subprocess.run(commit, capture_output=True, text=True, check=True).stdout.strip(),  # noqa: S603
        machine=f"{platform.machine()}, Python {platform.python_version()}",
        speed=given.speed,
        readers=READERS,
        init_seconds=_init_seconds(),
        warm=day(World.seeded(given.identities, warm=True), speed=given.speed, console=console),
        cold=day(World.seeded(given.identities), speed=given.speed, console=console),
    )
    given.output.write_bytes(msgspec.json.format(msgspec.json.encode(measured), indent=1) + b"\n")


if __name__ == "__main__":
    main()
