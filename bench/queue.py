"""`make load`: 100,000 identities through the emulated queue and the deployed functions, against an instant LML.

The demo's cloud, audited as the demo's run is. Pacing is out of the way, so that what is left is our own work and AWS:
LML has everything cached and takes no time, its budget is as high as a setting can be, and a message is one request.
"""

import json
import os
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import click
import psutil
from rich.console import Console

from core.runs.ledger import Run
from core.runs.request import Start
from core.settings import FASTEST_PACE
from local import cloud
from local.cloud import Cloud, Options
from local.deploy import DeployError
from local.postgres import PostgresError
from local.process import ProcessError
from local.world import World
from ops import evidence, watch
from ops.answer import Answer, give
from ops.audit import Finding, audit
from ops.target import OperatorError, Target, local_target
from ops.watch import View

SPEED: Final = 20.0
UNPACED: Final = {"DISCOGS_BUDGET_PER_MINUTE": str(FASTEST_PACE), "REFRESH_SLICE_MAX": "50"}
"""What is cached costs nothing and does not wait."""
MARKS: Final = (10, 50, 100)  # percent of the messages
MEGABYTE: Final = 1_000_000
FLAT_MB: Final = 4.0  # what a function may grow by in the second half; it settles in the first, by 10 to 13 MB
FLAT_BYTES: Final = 400  # what RUN may: digits of its totals, and at its end how and when it was closed and told


@dataclass(frozen=True, slots=True)
class Mark:
    """What was in use when so much was done; `functions` are the resident megabytes of each worker process."""

    percent: int
    functions: dict[str, float]
    run_bytes: int
    pace_bytes: int


@dataclass(slots=True)
class Watched:
    """The run as it goes by: marks on the way, and processor seconds of whoever takes part."""

    there: Cloud
    target: Target
    run_id: str
    marks: list[Mark] = field(default_factory=list)
    processors: dict[str, float] = field(default_factory=dict)

    def past(self, views: Iterator[View]) -> Iterator[View]:
        """Pass views on, and look around at every mark."""
        before = self._processors()  # what starting took is no part of the load
        ahead = list(MARKS)
        for view in views:
            run = view.run
            done = 100 * run.messages_done // max(1, run.messages_planned) if run.emitted_at is None else 100
            while ahead and done >= ahead[0] and (ahead[0] < 100 or run.emitted_at is not None):
                self.marks.append(self._mark(ahead.pop(0)))
            yield view
        self.processors = {name: seconds - before[name] for name, seconds in self._processors().items()}

    def _mark(self, percent: int) -> Mark:
        resident = {
            f"{name} {worker.pid}": worker.memory_info().rss / MEGABYTE for name, worker in _workers(self.there)
        }
        return Mark(percent, resident, self._bytes(f"RUN#{self.run_id}", "RUN"), self._bytes("PACE", "discogs"))

    def _processors(self) -> dict[str, float]:
        parts = dict(zip(_PARTS, self.there.processes, strict=True))
        seconds = {name: _seconds(psutil.Process(part.pid)) for name, part in parts.items()}
        return {"functions": sum(_seconds(worker) for _, worker in _workers(self.there)), **seconds}

    def _bytes(self, pk: str, sk: str) -> int:
        answer = self.target.client("dynamodb").get_item(
            TableName=self.target.names["LedgerTable"], Key={"pk": {"S": pk}, "sk": {"S": sk}}
        )
        return len(json.dumps(answer.get("Item", {}), separators=(",", ":")))


_PARTS: Final = ("AWS emulator", "Sentry stand-in", "LML stand-in")  # in the order that `local.cloud` starts them in


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """What a run under load showed; `processors` are seconds by part, `busy` the share of all cores."""

    run: Run
    seconds: float
    lml_seconds: float
    requests: int
    duplicates: int
    marks: Sequence[Mark]
    processors: dict[str, float]
    busy: float
    findings: Sequence[Finding]

    @property
    def grown(self) -> float:
        """Megabytes by which the worker that grew most has grown in the second half."""
        half, end = self.marks[-2].functions, self.marks[-1].functions
        return max((end[name] - half[name] for name in half.keys() & end.keys()), default=0.0)

    @property
    def holds(self) -> bool:
        first, last = self.marks[0], self.marks[-1]
        exact = all(finding.holds for finding in self.findings) and not self.duplicates
        same = first.functions.keys() == last.functions.keys()  # a new worker would have hidden what the old one held
        return exact and same and self.grown <= FLAT_MB and last.run_bytes - first.run_bytes <= FLAT_BYTES


@click.command()
@click.option("--identities", type=click.IntRange(500, 1_000_000), default=100_000, show_default=True)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object, and progress to stderr.")
def load(*, identities: int, as_json: bool) -> None:
    """Run a day of many warm identities through the emulated queue: exact totals, flat memory, ids a second."""
    give(_under_load, {"identities": identities}, as_json=as_json)


def _under_load(*, identities: int) -> Answer:
    console = Console(stderr=True)
    options = Options(world=World.seeded(identities, warm=True), speed=SPEED, instant=True, settings=UNPACED)
    try:
        with tempfile.TemporaryDirectory(prefix="rotation-load-") as scratch:
            there = cloud.start(options, Path(scratch) / "cloud", lambda line: console.print(line, highlight=False))
            try:
                seen = _loaded(there, options, console)
            finally:
                cloud.stop(there)
    except (DeployError, PostgresError, ProcessError, watch.NeverBegunError) as error:
        raise OperatorError(f"the load did not run: {error}") from None
    return _answer(seen)


def _loaded(there: Cloud, options: Options, console: Console) -> Load:
    target = local_target(there)
    now = datetime.now(UTC)
    run_id = Start(scheduled_time=now).scheduled_id(now)
    watched = Watched(there, target, run_id)
    psutil.cpu_percent()
    began = time.monotonic()
    there.fire(now)
    views = watch.watch(target.ledger, run_id, target.clock(), patience=60)
    run = watch.show(watched.past(views), console)
    seconds, busy = time.monotonic() - began, psutil.cpu_percent()
    if run.closed_at is None or len(watched.marks) < len(MARKS):
        raise OperatorError(f"run {run_id} was {run.status}: {run.reason}")
    messages = list(target.ledger.messages.all(run_id, run.messages_planned))
    seen = evidence.gather(there, messages, options.world)
    calls = evidence.lml_calls(there)
    asked = Counter(identity for call in calls for identity in call["ids"])
    return Load(
        run=run,
        seconds=seconds,
        lml_seconds=sum(call["seconds"] for call in calls) / options.speed,
        requests=len(calls),
        duplicates=sum(count - 1 for count in asked.values()),
        marks=watched.marks,
        processors=watched.processors,
        busy=busy,
        findings=audit(run, seen),
    )


def _answer(load: Load) -> Answer:
    run, held = load.run, sum(finding.holds for finding in load.findings)
    slots = load.seconds * evidence.CONCURRENCY
    shares = {name: round(100 * it / sum(load.processors.values())) for name, it in load.processors.items()}
    data: dict[str, object] = {
        "identities": run.planned,
        "messages": run.messages_planned,
        "exact": held == len(load.findings),
        "wrong": [f"{it.what}: {it.found[:200]}" for it in load.findings if not it.holds],
        "seconds": round(load.seconds, 1),
        "ids_per_second": round(run.planned / load.seconds, 1),
        "requests": load.requests,
        "duplicates": load.duplicates,
        "memory_mb": {mark.percent: {name: round(it, 1) for name, it in mark.functions.items()} for mark in load.marks},
        "memory_grown_mb": round(load.grown, 2),
        "run_item_bytes": {mark.percent: mark.run_bytes for mark in load.marks},
        "pace_item_bytes": {mark.percent: mark.pace_bytes for mark in load.marks},
        "cores": os.cpu_count(),
        "cores_busy_percent": load.busy,
        "processor_percent": shares,
        "lml_percent_of_slots": round(100 * load.lml_seconds / slots, 1),
    }
    return Answer(list(_lines(load, data, shares)), data, ok=load.holds)


def _lines(load: Load, data: dict[str, object], shares: dict[str, int]) -> Iterator[str]:
    run = load.run
    exact = "exact" if data["exact"] else f"[bold red]wrong[/]: {data['wrong']}"
    yield f"{run.planned} identities in {run.messages_planned} messages: totals {exact}, {load.duplicates} duplicates"
    yield f"{data['ids_per_second']} ids a second ({load.seconds:.0f} s, {load.requests} requests to LML)"
    for mark in load.marks:
        memory = ", ".join(f"{name.rpartition(' ')[0]} {it:.1f}" for name, it in mark.functions.items())
        yield f"  at {mark.percent:3} %: {memory} MB; RUN {mark.run_bytes} bytes, PACE {mark.pace_bytes}"
    yield f"memory of a function grew by {load.grown:.2f} MB in the second half"
    users = ", ".join(f"{name} {share} %" for name, share in sorted(shares.items(), key=lambda it: -it[1]))
    yield f"what bounds it: {os.cpu_count()} cores, busy {load.busy:.0f} %; of our share: {users}"
    yield f"LML was at work for {data['lml_percent_of_slots']} % of the two slots' time"


def _workers(there: Cloud) -> Iterator[tuple[str, psutil.Process]]:
    """The processes in which the emulator runs our functions."""
    for process in psutil.Process(there.processes[0].pid).children():
        name = process.environ().get("AWS_LAMBDA_FUNCTION_NAME")
        if name is not None:
            yield name.removeprefix("rotation-"), process


def _seconds(process: psutil.Process) -> float:
    times = process.cpu_times()
    return float(times.user + times.system)


if __name__ == "__main__":
    load()
