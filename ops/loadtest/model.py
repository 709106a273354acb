"""The load test in virtual time: the job's own code against the stand-in's own LML, a cold day in about a second.

Real are `Worker`, `Throttle` and `pacing`, and of the stand-in Discogs, the processes of LML, what is stored and the
readers. Left out are HTTP, AWS and the ledger; a round trip takes 30 ms.
"""

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Final, Literal

import msgspec

from core.lml.client import LML_REFRESH_BATCH_CAP, Health, RefreshAnswer, RefreshError
from core.runs.plan import batches
from core.runs.totals import Totals
from core.settings import Pacing
from local.lml.deployment import Deployment
from local.lml.discogs import DiscogsTrouble
from local.lml.limits import Limits
from local.lml.orders import Order
from local.lml.process import LmlProcess
from local.world import World
from ops.loadtest.slots import SLOTS, Day, Deliveries, MemoryPace, worker
from ops.loadtest.virtual import Blocking, VirtualLmlClock, VirtualLoop

ROUND_TRIP: Final = 0.03
OLD_JOB_AT_ONCE: Final = 3
"""Requests that the job that this one replaces has in flight, of 50 identities each."""

Job = Literal["paced", "replaced", "none"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Scenario:
    """One day: what LML knows, who else calls it, and how the job paces itself."""

    world: World
    readers: Order
    others: Order | None = None
    """Another job at the same LML."""
    staging: Order | None = None
    """Callers of another LML with the same token: in Discogs' minute, and in no counter of ours."""
    job: Job = "paced"
    limits: Pacing = field(default_factory=Pacing)
    lml: Limits = field(default_factory=lambda: Limits(round_trip_seconds=ROUND_TRIP))
    process: type[LmlProcess] = LmlProcess
    """How a process of LML works; another one is a proposal."""
    breaker_opens: float | None = None
    """Seconds after the start at which LML's breaker is opened by force."""
    trouble: tuple[tuple[float, DiscogsTrouble], ...] = ()
    """How Discogs is, from so many seconds after the start."""

    def without_job(self) -> "Scenario":
        """The same day without the job: what the readers have anyway."""
        return replace(self, job="none")


def simulate(scenario: Scenario, *, at_least: float = 0, after: float = 0) -> Day:
    """Run a day to the end of its job, `after` seconds more, and on until `at_least` seconds have passed."""
    loop = VirtualLoop()
    try:
        return loop.run_until_complete(_Model(loop, scenario).run(at_least, after))  # type: ignore[no-any-return]
    finally:
        loop.close()


class _Model:
    def __init__(self, loop: VirtualLoop, scenario: Scenario) -> None:
        self._loop = loop
        self._scenario = scenario
        self._clock = VirtualLmlClock(loop)
        self._day = Day()

    async def run(self, at_least: float, after: float) -> Day:
        scenario, day = self._scenario, self._day
        lml = Deployment(scenario.world, self._clock, scenario.lml, scenario.process)
        lml.readers.start(scenario.readers)
        for callers, order in ((lml.others, scenario.others), (lml.staging, scenario.staging)):
            if order is not None:
                callers.start(order)
        if scenario.breaker_opens is not None:
            self._loop.call_at(scenario.breaker_opens, self._trip, lml)
        for at, trouble in scenario.trouble:
            self._loop.call_at(at, lml.discogs.be, trouble)
        await self._job(lml)
        day.makespan = self._loop.time()
        await asyncio.sleep(max(after, at_least - self._loop.time()))
        day.seconds = self._loop.time()
        lml.end()
        day.calls = lml.discogs.calls
        day.readings = lml.readers.readings
        day.openings = sorted(opening for process in lml.processes for opening in process.breaker.openings)
        day.stored = lml.stored
        return day

    def _trip(self, lml: Deployment) -> None:
        for process in lml.processes:
            process.breaker.force_open(self._clock.now(), self._scenario.lml.breaker_seconds)

    async def _job(self, lml: Deployment) -> None:
        if self._scenario.job == "replaced":
            await self._replaced_job(lml)
        elif self._scenario.job == "paced":
            store, deliveries = MemoryPace(), Deliveries(self._scenario.world.identity_ids())
            await asyncio.gather(*(self._slot(number, store, deliveries, lml) for number in range(SLOTS)))

    async def _slot(self, number: int, store: MemoryPace, deliveries: Deliveries, lml: Deployment) -> None:
        slot = Blocking(self._loop)
        upstream = ModelLml(slot, lml, self._scenario)
        seed = f"{self._scenario.world.seed}/slot {number}"
        at_work = worker(store, upstream, slot, limits=self._scenario.limits, seed=seed, day=self._day)
        await slot.run(lambda: deliveries.work_off(at_work, self._day))

    async def _replaced_job(self, lml: Deployment) -> None:
        """Three requests of 50 at once, no pacing, no second try; what the ingress cuts off is lost."""
        at_once = asyncio.Semaphore(OLD_JOB_AT_ONCE)

        async def request(ids: Sequence[int]) -> None:
            async with at_once:
                lost = len(ids)
                with suppress(TimeoutError):
                    async with asyncio.timeout(self._scenario.lml.ingress_seconds):
                        results = await lml.worker().library.refresh(ids)
                        lost = sum(result.status == "error" for result in results)
                self._day.totals += Totals(
                    identities_scanned=len(ids), identities_resolved=len(ids) - lost, lml_error=lost, lml_requests=1
                )

        ids = self._scenario.world.identity_ids()
        await asyncio.gather(*(request(batch) for batch in batches(ids, LML_REFRESH_BATCH_CAP)))


class ModelLml:
    """LML as one slot reaches it: `core.lml.client.RefreshClient` without HTTP."""

    def __init__(self, slot: Blocking, lml: Deployment, scenario: Scenario) -> None:
        self._slot = slot
        self._lml = lml
        self._scenario = scenario

    def refresh(self, ids: Sequence[int], *, limit: float) -> RefreshAnswer:
        started = self._slot.pace()
        ingress = self._scenario.lml.ingress_seconds
        try:
            body = self._slot.wait(self._results(ids, min(limit, ingress)))
        except TimeoutError:
            cut = limit > ingress
            raise RefreshError(
                request="POST refresh",
                kind="retryable_error",
                cause="status" if cut else "timeout",
                elapsed=self._slot.pace() - started,
                status=502 if cut else None,
                detail="",
            ) from None
        return RefreshAnswer(body, self._slot.pace() - started)

    def round_trip(self) -> float:
        self._slot.sleep(self._scenario.lml.round_trip_seconds)
        return self._scenario.lml.round_trip_seconds

    def health(self) -> Health:
        return self._slot.wait(self._health())

    async def _results(self, ids: Sequence[int], limit: float) -> object:
        async with asyncio.timeout(limit):
            await asyncio.sleep(self._scenario.lml.round_trip_seconds)
            return msgspec.json.decode(msgspec.json.encode({"results": await self._lml.worker().library.refresh(ids)}))

    async def _health(self) -> Health:
        await asyncio.sleep(self._scenario.lml.round_trip_seconds)
        return Health(200, await self._lml.worker().health("model"))
