"""The load test in virtual time: the job's own code against the stand-in's own LML, a cold day in a second.

Real are `Worker`, `Throttle` and `pacing`, and the stand-in's Discogs, bucket, breaker, caches and readers. Left out
are HTTP, AWS and the ledger; a round trip takes 30 ms.
"""

import asyncio
from collections.abc import Coroutine, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Any, Final, Literal

import msgspec

from core.lml.client import LML_REFRESH_BATCH_CAP, Answer, Health, LmlError
from core.runs.plan import batches
from core.runs.totals import Totals
from core.settings import Pacing
from local.lml.discogs import MINUTE, Discogs, DiscogsError
from local.lml.library import Library
from local.lml.limits import Limits
from local.lml.readers import Order, Readers
from local.world import World
from ops.loadtest.slots import SLOTS, Day, Deliveries, MemoryPace, Request, worker
from ops.loadtest.virtual import Blocking, VirtualLmlClock, VirtualLoop

ROUND_TRIP: Final = 0.03
OLD_JOB_AT_ONCE: Final = 3
"""Requests that the job of today has in flight, of 50 identities each (DESIGN §1)."""

Job = Literal["paced", "today", "none"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Scenario:
    """One day: what LML knows, who else calls it, and how the job paces itself."""

    world: World
    readers: Order
    job: Job = "paced"
    limits: Pacing = field(default_factory=Pacing)
    lml: Limits = field(default_factory=lambda: Limits(round_trip_seconds=ROUND_TRIP))
    open_loop: bool = False
    """LML tells neither its counter nor its breaker, as older versions do not."""
    steady_per_minute: float = 0
    """Calls of a second heavy job, evenly spread."""
    breaker_opens: float | None = None
    """Seconds after the start at which LML's breaker opens, for `lml.breaker_seconds`."""

    def without_job(self) -> "Scenario":
        """The same day without the job: what the readers have anyway."""
        return replace(self, job="none")


def simulate(scenario: Scenario, *, at_least: float = 0) -> Day:
    """Run a day to the end of its job, and on until `at_least` seconds have passed."""
    loop = VirtualLoop()
    try:
        return loop.run_until_complete(_Model(loop, scenario).run(at_least))
    finally:
        loop.close()


class _Model:
    def __init__(self, loop: VirtualLoop, scenario: Scenario) -> None:
        self._loop = loop
        self._scenario = scenario
        self._clock = VirtualLmlClock(loop)
        self._day = Day()

    async def run(self, at_least: float) -> Day:
        scenario, day = self._scenario, self._day
        discogs = Discogs(self._clock, scenario.lml, scenario.world.seed)
        library = Library(scenario.world, discogs, self._clock, scenario.lml)
        readers = Readers(discogs, self._clock)
        readers.start(scenario.readers)
        beside = [asyncio.create_task(work) for work in self._beside(discogs)]
        await self._job(library, discogs)
        await asyncio.sleep(at_least - self._loop.time())
        day.seconds = self._loop.time()
        day.calls, day.readings = list(discogs.calls), list(readers.readings)
        readers.stop()
        for task in beside:
            task.cancel()
        return day

    def _beside(self, discogs: Discogs) -> list[Coroutine[Any, Any, None]]:
        """What else happens to LML that day."""

        async def heavy(seconds: float) -> None:
            while True:
                await asyncio.sleep(seconds)
                with suppress(DiscogsError):
                    await discogs.call("runtime")

        async def trip(at: float) -> None:
            await asyncio.sleep(at)
            discogs.breaker.open(self._scenario.lml.breaker_seconds)
            self._day.breaker_open.append((at, at + self._scenario.lml.breaker_seconds))

        scenario = self._scenario
        work = [] if scenario.breaker_opens is None else [trip(scenario.breaker_opens)]
        return work + ([heavy(MINUTE / scenario.steady_per_minute)] if scenario.steady_per_minute else [])

    async def _job(self, library: Library, discogs: Discogs) -> None:
        if self._scenario.job == "today":
            await self._job_of_today(library)
        elif self._scenario.job == "paced":
            store, deliveries = MemoryPace(), Deliveries(self._scenario.world.identity_ids())
            await asyncio.gather(*(self._slot(number, store, deliveries, library, discogs) for number in range(SLOTS)))

    async def _slot(
        self, number: int, store: MemoryPace, deliveries: Deliveries, library: Library, discogs: Discogs
    ) -> None:
        slot = Blocking(self._loop)
        lml = ModelLml(slot, library, discogs, self._scenario)
        seed = f"{self._scenario.world.seed}/slot {number}"
        at_work = worker(store, lml, slot, limits=self._scenario.limits, seed=seed, day=self._day)
        await slot.run(lambda: deliveries.work_off(at_work, self._day))

    async def _job_of_today(self, library: Library) -> None:
        """Three requests of 50 at once, no pacing, no second try: what the ingress cuts off is lost."""
        at_once = asyncio.Semaphore(OLD_JOB_AT_ONCE)

        async def request(ids: Sequence[int]) -> None:
            async with at_once:
                started = self._loop.time()
                try:
                    async with asyncio.timeout(self._scenario.lml.ingress_seconds):
                        results = await library.refresh(ids)
                except TimeoutError:
                    lost = len(ids)
                else:
                    lost = sum(result.status == "error" for result in results)
                self._day.requests.append(Request(started, self._loop.time() - started))
                self._day.totals += Totals(
                    identities_scanned=len(ids), identities_resolved=len(ids) - lost, lml_error=lost, lml_requests=1
                )

        ids = self._scenario.world.identity_ids()
        await asyncio.gather(*(request(batch) for batch in batches(ids, LML_REFRESH_BATCH_CAP)))


class ModelLml:
    """LML as one slot reaches it: `core.lml.client.Lml` without HTTP."""

    def __init__(self, slot: Blocking, library: Library, discogs: Discogs, scenario: Scenario) -> None:
        self._slot = slot
        self._library = library
        self._discogs = discogs
        self._scenario = scenario

    def refresh(self, ids: Sequence[int], *, limit: float) -> Answer:
        started = self._slot.pace()
        ingress = self._scenario.lml.ingress_seconds
        try:
            body = self._slot.wait(self._results(ids, min(limit, ingress)))
        except TimeoutError:
            cut = limit > ingress
            raise LmlError(
                request="POST refresh",
                kind="retryable_error",
                cause="status" if cut else "timeout",
                elapsed=self._slot.pace() - started,
                status=502 if cut else None,
                detail="",
            ) from None
        return Answer(body, self._slot.pace() - started)

    def round_trip(self) -> float:
        self._slot.sleep(self._scenario.lml.round_trip_seconds)
        return self._scenario.lml.round_trip_seconds

    def health(self) -> Health:
        return self._slot.wait(self._health())

    async def _results(self, ids: Sequence[int], limit: float) -> object:
        async with asyncio.timeout(limit):
            await asyncio.sleep(self._scenario.lml.round_trip_seconds)
            return msgspec.json.decode(msgspec.json.encode({"results": await self._library.refresh(ids)}))

    async def _health(self) -> Health:
        await asyncio.sleep(self._scenario.lml.round_trip_seconds)
        with suppress(DiscogsError):
            await self._discogs.call("health")
        body: dict[str, object] = {"status": "healthy", "commit_sha": "model"}
        if not self._scenario.open_loop:
            body["discogs_live_requests_total"] = self._discogs.live_requests
            body["discogs_breaker_state"] = self._discogs.breaker.state
        return Health(200, body)
