"""LML's other callers: DJs whose lookups cost several Discogs calls each, and jobs that come at fixed times.

docs/design/lml.md#what-readers-do: a cold lookup makes about five calls, mostly one after
another; one of artist and song some 26, five at once.
"""

import asyncio
from collections.abc import Coroutine, Iterator, Sequence
from random import Random
from typing import Literal

from local.lml.limits import LmlClock
from local.lml.orders import Order
from local.lml.process import DiscogsBreakerOpenError, LmlProcess
from local.lml.records import Caller, ReaderCall


class Readers:
    """The callers of an order; the same seed gives the same arrivals whatever else LML does."""

    def __init__(self, processes: Sequence[LmlProcess], clock: LmlClock, kind: Caller = "runtime") -> None:
        self._processes = processes
        self._clock = clock
        self._kind: Caller = kind
        self._tasks: set[asyncio.Task[None]] = set()
        self.readings: list[ReaderCall] = []

    def start(self, order: Order) -> None:
        """Replace the readers by those of another order; at 0 a minute there are none."""
        self.stop()
        if order.per_minute > 0:
            self._spawn(self._arrive(order))

    def stop(self) -> None:
        for task in self._tasks:
            task.cancel()

    def _spawn(self, work: Coroutine[None, None, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _arrive(self, order: Order) -> None:
        began = self._clock.now()
        luck = Random(f"{order.seed}/process")  # noqa: S311  reproducible, not secret
        for at, calls in order.arrivals():
            await self._clock.sleep(max(0.0, began + at - self._clock.now()))
            process = self._processes[0] if len(self._processes) == 1 else luck.choice(self._processes)
            left = iter(range(calls))
            for _ in range(min(order.at_once, calls)):
                self._spawn(self._look_up(process, left))

    async def _look_up(self, process: LmlProcess, calls: Iterator[int]) -> None:
        """Make a lookup's calls one after another; a shed does not end it (its other calls are shed too: not known)."""
        for _ in calls:
            arrived = self._clock.now()
            outcome: Literal["answered", "shed", "failed"] = "answered"
            try:
                answer = await process.call(self._kind)
            except DiscogsBreakerOpenError:
                outcome = "shed"
            else:
                if answer.status not in {200, 404}:
                    outcome = "failed"
            self.readings.append(ReaderCall(arrived, self._clock.now() - arrived, outcome))
