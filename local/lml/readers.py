"""LML's runtime callers: DJs whose requests cost a Discogs call each, beside the refresh."""

import asyncio
from collections.abc import Coroutine
from random import Random
from typing import NamedTuple

import msgspec

from local.lml.discogs import MINUTE, Discogs, DiscogsError
from local.lml.limits import Clock


class Order(msgspec.Struct, forbid_unknown_fields=True):
    """How many readers come a minute, on average, and how many of them at the same moment."""

    per_minute: float
    seed: int = 1
    burst: int = 1


class Reading(NamedTuple):
    """One reader's call: paced time of arrival, seconds until the answer, and whether it got one."""

    at: float
    seconds: float
    answered: bool


class Readers:
    """Poisson arrivals; the same seed gives the same arrivals whatever else LML does."""

    def __init__(self, discogs: Discogs, clock: Clock) -> None:
        self._discogs = discogs
        self._clock = clock
        self._tasks: set[asyncio.Task[None]] = set()
        self.readings: list[Reading] = []

    def start(self, order: Order) -> None:
        """Have these readers instead of those before; none at 0 a minute."""
        self.stop()
        if order.per_minute > 0:
            self._spawn(self._arrive(order))

    def stop(self) -> None:
        for task in self._tasks:
            task.cancel()

    def _spawn(self, work: Coroutine[None, None, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _arrive(self, order: Order) -> None:
        rng = Random(order.seed)  # noqa: S311  reproducible, not secret
        due = self._clock.now()
        while True:
            due += rng.expovariate(order.per_minute / order.burst / MINUTE)
            await self._clock.sleep(max(0.0, due - self._clock.now()))
            for _ in range(order.burst):
                self._spawn(self._read())

    async def _read(self) -> None:
        arrived = self._clock.now()
        try:
            await self._discogs.call("runtime")
        except DiscogsError:
            answered = False
        else:
            answered = True
        self.readings.append(Reading(arrived, self._clock.now() - arrived, answered))
