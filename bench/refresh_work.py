"""`python -m bench.refresh_work`: what the refresh function adds to its calls of DynamoDB and LML.

Messages of 50 ids are worked on by the function's own parts, wired as `handlers.refresh` does it, but for a clock on
which waits take no time. LML is the stand-in, in a process of its own, and answers at once; DynamoDB is `memory_aws`.
Every call is noted with its parameters. After each message a bare loop makes its calls again: the same parameters to
a client made without any options, the same bodies to the same LML through the same kind of `httpx.AsyncClient` (only
cancelling bounds a whole request; the plainer `httpx.Client` is the second baseline), whose answers it decodes and
forgets.
Each seventh message begins a day: the budget's item, which holds what was sent in the last 150 s, is gone as it would
be. Sentry is off: it sends beside the work. Both sides' calls are counted; other numbers are an error.
"""

import asyncio
import os
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext, redirect_stdout
from functools import partial
from pathlib import Path
from random import Random
from typing import Final, TypeAlias

import httpx

from bench import figures
from bench.figures import Figure
from bench.memory_aws import QUEUE_URL, TABLE, Call, MemoryAws
from core import settings
from core.aws.client import CLIENT
from core.aws.queues import ParkedQueue, RefreshQueue
from core.budget.throttle import Throttle
from core.clock import SystemClock
from core.lml.client import Health, RefreshAnswer, RefreshClient
from core.lml.gate import Gate
from core.refresh.consumer import RefreshConsumer
from core.refresh.worker import Worker
from core.runs.fan_out import FanOut
from core.runs.ledger import open_ledger
from core.runs.lifecycle import RunLifecycle
from core.runs.messages import MessageStore, read_deliveries
from core.runs.plan import encode
from core.telemetry import Telemetry
from local.lml.running import as_process
from local.world import World

DAYS: Final = 8
MESSAGES: Final = 7  # of a day: 310 ids and a few
LIMIT: Final = 1.15
_REFRESH: Final = "/api/v1/cache/refresh-for-identities"

Timed: TypeAlias = tuple[float, float]
"""Milliseconds: by the clock, and of this process's processor."""
Asked: TypeAlias = list[int] | None
"""A request to LML: ids for the refresh endpoint, None for `/health`."""


class _Clock(SystemClock):
    def sleep(self, seconds: float) -> None:
        """Wait not at all."""


class _Noted(RefreshClient):
    """LML's client, which notes among the calls of DynamoDB what it is asked."""

    calls: list[Call | Asked]

    def refresh(self, ids: Sequence[int], *, limit: float) -> RefreshAnswer:
        self.calls.append(list(ids))
        return super().refresh(ids, limit=limit)

    def round_trip(self) -> float:
        self.calls.append([])
        return super().round_trip()

    def health(self, *, limit: float = 10.0) -> Health:
        self.calls.append(None)
        return super().health(limit=limit)


class Ours:
    """The refresh function's parts, and a run of so many messages of 50 ids for them to work on."""

    def __init__(self, file: Path, lml_url: str, ids: Sequence[int]) -> None:
        nobody = settings.Secret("none", fetch=lambda _arn, _anew: "")
        sentry = settings.Sentry(dsn=nobody, release=None, environment="bench", traces_sample_rate=1.0)
        self.calls: list[Call | Asked] = []
        self.aws = aws = MemoryAws(file, self.calls.append, CLIENT)
        clock, queue = _Clock(), RefreshQueue(aws.sqs, QUEUE_URL)
        lifecycle = RunLifecycle(open_ledger(aws.dynamodb, TABLE), Telemetry(sentry), clock)
        self.lml = _Noted(settings.Lml(url=lml_url, api_key=nobody), clock)
        self.lml.calls = self.calls
        gate = Gate(allowed=True, reason="bench")
        fan_out = FanOut(lifecycle, queue, nullcontext, lambda: gate, 50)  # type: ignore[arg-type]  # ids are given
        run_id = str(fan_out.start({"identity_ids": list(ids)}, "bench")["run_id"])
        messages = lifecycle.ledger.messages.all(run_id, len(ids) // 50)
        self.bodies = [encode(message.left) for message in messages if message.left]
        pacing = settings.Pacing(budget=9_000)
        throttle = Throttle(lifecycle.ledger.pace, self.lml, clock, pacing, Random(1))  # noqa: S311 - reproducible
        worker = Worker(self.lml, throttle, clock, lifecycle.telemetry, 3)
        store = MessageStore(lifecycle, queue, ParkedQueue(aws.sqs, QUEUE_URL))
        self.consumer = RefreshConsumer(store, 50, worker)

    def work(self, body: str) -> None:
        """Do what `handlers.refresh` does with an event of this body."""
        with self.consumer.telemetry.invocation("slice_error", but_not=ValueError):
            for delivery in read_deliveries({"Records": [{"body": body}]}, "request"):
                self.consumer.handle(delivery, lambda: 900.0)

    def close(self) -> None:
        self.lml.close()
        self.aws.close()


class Bare:
    """Makes noted calls again, to a table of its own and to the same LML."""

    def __init__(self, file: Path, lml_url: str) -> None:
        self.aws = MemoryAws(file)
        self._lml_url = lml_url
        self._runner = asyncio.Runner()
        self._http = httpx.AsyncClient(timeout=None, trust_env=False)  # noqa: S113 - the stand-in answers at once
        self._plain = httpx.Client(timeout=None, trust_env=False)  # noqa: S113

    def work(self, calls: Sequence[Call | Asked], *, plainly: bool = False) -> None:
        for call in calls:
            if isinstance(call, tuple):
                self.aws.replay(call)
                continue
            method, path = ("GET", "/health") if call is None else ("POST", _REFRESH)
            body = None if call is None else {"identity_ids": call}
            if plainly:
                answer = self._plain.request(method, self._lml_url + path, json=body)
            else:
                answer = self._runner.run(self._http.request(method, self._lml_url + path, json=body))
            answer.json()

    def close(self) -> None:
        self._runner.run(self._http.aclose())
        self._runner.close()
        self._plain.close()
        self.aws.close()


def measure(quick: bool) -> list[Figure]:
    """Return milliseconds a request to LML that refreshes ids, by the clock and of this process's processor."""
    world = World.seeded(50 * MESSAGES * (1 if quick else DAYS))
    taken: list[tuple[Timed, Timed, Timed]] = []
    with _instant_lml(world) as (directory, url), _silence():
        ours, bare = Ours(directory / "ours", url, world.identity_ids()), Bare(directory / "bare", url)
        bare.work(ours.calls)
        counted: Counter[str] = Counter()
        for number, body in enumerate(ours.bodies):
            if number % MESSAGES == 0:
                ours.aws.forget("PACE")
                bare.aws.forget("PACE")
            for noted in (ours.calls, ours.aws.counted, bare.aws.counted):
                noted.clear()
            mine = _timed(partial(ours.work, body))
            theirs = _timed(partial(bare.work, ours.calls))
            if ours.aws.counted != bare.aws.counted:
                raise RuntimeError(f"ours called {ours.aws.counted}, the bare loop {bare.aws.counted}")
            plain = _timed(partial(bare.work, ours.calls, plainly=True))
            requests = sum(isinstance(call, list) and bool(call) for call in ours.calls)
            counted += ours.aws.counted + Counter({"requests to LML": requests})
            taken.append((_each(mine, requests), _each(theirs, requests), _each(plain, requests)))
        ours.close()
        bare.close()
    note = "on both sides " + ", ".join(f"{count} {name}" for name, count in sorted(counted.items()))
    against = "the same calls of DynamoDB and LML in a bare loop"
    what, taken = "refresh, a request to LML", taken[1:]
    return [
        figures.compared(what, _pairs(taken, 0, 1), unit="ms", against=against, limit=LIMIT, note=note),
        figures.compared(what, _pairs(taken, 1, 1), unit="ms CPU", against=against),
        figures.compared(
            f"{what}, plainly",
            _pairs(taken, 1, 2),
            unit="ms CPU",
            against=f"{against} with httpx.Client",
            note="asyncio included, without which no request is bounded as a whole",
        ),
    ]


def _pairs(taken: Sequence[tuple[Timed, ...]], clock: int, other: int) -> list[tuple[float, float]]:
    return [(each[0][clock], each[other][clock]) for each in taken]


def _each(timed: Timed, requests: int) -> Timed:
    return timed[0] / requests, timed[1] / requests


def _timed(act: Callable[[], None]) -> Timed:
    began, used = time.perf_counter(), time.process_time()
    act()
    return 1000 * (time.perf_counter() - began), 1000 * (time.process_time() - used)


@contextmanager
def _silence() -> Iterator[None]:
    """Let log and metrics be written, and go nowhere."""
    with Path(os.devnull).open("w") as nowhere, redirect_stdout(nowhere):
        yield


@contextmanager
def _instant_lml(world: World) -> Iterator[tuple[Path, str]]:
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        with as_process(world, directory, "--instant") as url:
            yield directory, url


if __name__ == "__main__":
    figures.run("bench.refresh_work", "Measures what the refresh function adds to its calls.", measure)
