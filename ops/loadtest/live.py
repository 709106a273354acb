"""A day over HTTP: the job's own client, throttle and worker in threads, against the stand-in or a real LML."""

import tempfile
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future, wait
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Final, Protocol, TypeVar

import httpx
import msgspec

from core import settings
from core.clock import SystemClock
from core.lml.client import RefreshClient
from core.settings import Pacing, Secret
from local.lml.breaker import Opening
from local.lml.orders import Order
from local.lml.records import MINUTE, DiscogsCall, ReaderCall
from local.lml.running import as_process
from local.world import RELEASE_IDS
from ops.loadtest.harm import Figures, figures
from ops.loadtest.model import ROUND_TRIP, simulate
from ops.loadtest.slots import SLOTS, Day, Deliveries, MemoryPace, RefusedError, worker
from ops.loadtest.sweep import CHOSEN, Case
from ops.target import OperatorError, no_secret

ALONE_SECONDS: Final = 600.0
"""Paced seconds for which readers are watched without the job."""
_READERS_AT_ONCE: Final = 16

Show = Callable[[str], None]
T = TypeVar("T")


class DayEndedError(Exception):
    """The day is over or was ended, so that no wait goes on."""


class DayClock(SystemClock):
    """The clock of one day; every sleep ends with the day."""

    def __init__(self, speed: float) -> None:
        super().__init__(speed)
        self._ended = threading.Event()

    def sleep(self, seconds: float) -> None:
        if self._ended.wait(max(0.0, self.wall(seconds))):
            raise DayEndedError

    def end(self) -> None:
        self._ended.set()


class Seen(msgspec.Struct):
    """What went to Discogs, what readers met and when the breaker opened, on the clock of `SystemClock.pace`."""

    calls: list[DiscogsCall] = []
    readings: list[ReaderCall] = []
    openings: list[Opening] = []


class Audience(Protocol):
    """Readers beside the job, and the record of all calls as far as there is one."""

    def begin(self, order: Order) -> None: ...

    def seen(self) -> Seen:
        """Return what was seen until now, once the day's clock has ended."""
        ...


@dataclass(frozen=True, slots=True)
class StandInAudience:
    """The stand-in's own readers; it has a record of every call."""

    url: str

    def begin(self, order: Order) -> None:
        httpx.post(f"{self.url}/_runtime", content=msgspec.json.encode(order)).raise_for_status()

    def seen(self) -> Seen:
        answer = httpx.get(f"{self.url}/_discogs").raise_for_status()
        return msgspec.json.decode(answer.content, type=Seen)


class HttpAudience:
    """Readers of a real LML: each call asks for a release that hardly anybody asks for, which costs a Discogs call.

    Of the calls only these are known, and of LML's breaker nothing: who got no answer may have been shed.
    """

    def __init__(self, url: str, key: Secret, clock: DayClock) -> None:
        headers = {"Authorization": f"Bearer {key.get()}"} if key.get() else {}
        self._client = httpx.Client(base_url=url, headers=headers, timeout=60)
        self._clock = clock
        self._at_once = threading.BoundedSemaphore(_READERS_AT_ONCE)
        self._lookups: list[Future[None]] = []
        self._seen = Seen()

    def begin(self, order: Order) -> None:
        self._arrivals = _begun(self._arrive, order)

    def seen(self) -> Seen:
        self._arrivals.result()
        wait(self._lookups)
        return self._seen

    def close(self) -> None:
        self._client.close()

    def _arrive(self, order: Order) -> None:
        began, luck = self._clock.pace(), Random(order.seed)  # noqa: S311  reproducible, not secret
        with suppress(DayEndedError):
            for at, calls in order.arrivals():
                self._clock.sleep(began + at - self._clock.pace())
                left = [luck.randrange(*RELEASE_IDS) for _ in range(calls)]
                shares = [left[first :: order.at_once] for first in range(min(order.at_once, calls))]
                self._lookups += [_begun(self._look_up, share) for share in shares]

    def _look_up(self, releases: Sequence[int]) -> None:
        with self._at_once:
            for release in releases:
                self._read(release)

    def _read(self, release: int) -> None:
        arrived, status = self._clock.pace(), None
        with suppress(httpx.HTTPError):
            status = self._client.get(f"/api/v1/discogs/release/{release}").status_code
        answered = status in {200, 404}
        if answered:
            self._seen.calls.append(DiscogsCall(arrived, "runtime", status))
        seconds = self._clock.pace() - arrived
        self._seen.readings.append(ReaderCall(arrived, seconds, "answered" if answered else "failed"))


def run(
    lml: settings.Lml,
    audience: Audience,
    ids: Sequence[int],
    *,
    clock: DayClock,
    readers: Order,
    limits: Pacing,
    show: Show,
    alone_for: float = ALONE_SECONDS,
) -> tuple[Day, Day]:
    """Watch the readers alone, then beside the job; what is known of Discogs' calls is the audience's to say.

    Whatever ends it early ends everybody at once. Raises OperatorError where LML does not let the job in.
    """
    day, store, deliveries = Day(), MemoryPace(), Deliveries(ids)

    def slot(number: int) -> None:
        with RefreshClient(lml, clock) as client:
            seed = f"{readers.seed}/slot {number}"
            deliveries.work_off(worker(store, client, clock, limits=limits, seed=seed, day=day), day)

    alone_since = clock.pace()
    try:
        audience.begin(readers)
        show(f"readers alone for {alone_for:.0f} s")
        clock.sleep(alone_for)
        started = clock.pace()
        at_work = [_begun(slot, number) for number in range(SLOTS)]
        while not all(task.done() for task in at_work):
            done = day.totals.identities_scanned
            show(f"{len(day.charges)} slices sent, {done} of {len(ids)} identities in finished parts")
            clock.sleep(MINUTE)
        for task in at_work:
            task.result()
    except RefusedError as error:
        raise OperatorError(f"LML refused the job: {error}; put that right and begin the day again") from None
    finally:
        deliveries.end()
        clock.end()
    seen = audience.seen()
    alone = Day(
        seconds=alone_for,
        calls=[call._replace(at=call.at - alone_since) for call in seen.calls if call.at < started],
        readings=[reading._replace(at=reading.at - alone_since) for reading in seen.readings if reading.at < started],
    )
    day.makespan = day.seconds = max((at for at, _ in day.charges), default=started) - started
    if not any(call.kind == "refresh" for call in seen.calls):  # a real LML: our own charges stand for our calls
        seen.calls += [DiscogsCall(at, "refresh", None) for at, cost in day.charges for _ in range(round(cost))]
        seen.calls.sort(key=lambda call: call.at)
    day.calls = [call._replace(at=call.at - started) for call in seen.calls if call.at >= started]
    day.readings = [reading._replace(at=reading.at - started) for reading in seen.readings if reading.at >= started]
    day.openings = [opening._replace(at=opening.at - started) for opening in seen.openings if opening.at >= started]
    return day, alone


def run_stand_in(case: Case, *, speed: float, show: Show, alone_for: float = ALONE_SECONDS) -> Figures:
    """Run a case against a stand-in of its own; the same day without the job is simulated by the model."""
    world, pattern = case.world(), case.pattern.seeded(case.seed)
    options = ("--speed", str(speed), "--round-trip-seconds", str(ROUND_TRIP))
    with tempfile.TemporaryDirectory() as directory, as_process(world, Path(directory), *options) as url:
        lml = settings.Lml(url=url, api_key=Secret("LML_API_KEY", fetch=no_secret))
        day, _ = run(
            lml,
            StandInAudience(url),
            world.identity_ids(),
            clock=DayClock(speed),
            readers=pattern.readers,
            limits=CHOSEN.limits,
            show=show,
            alone_for=alone_for,
        )
    alone = simulate(case.scenario(world, CHOSEN).without_job(), at_least=day.seconds)
    return figures(day, alone, len(world.identity_ids()))


def _begun(work: Callable[[T], None], subject: T) -> Future[None]:
    """Start work in a daemon thread, so that an interrupted day does not wait for an answer."""
    task: Future[None] = Future()

    def body() -> None:
        try:
            work(subject)
            task.set_result(None)
        except BaseException as error:  # noqa: BLE001 - raised again for whoever wants the result
            task.set_exception(error)

    threading.Thread(target=body, daemon=True).start()
    return task
