"""One slot's hold on the shared pace: `pacing` with the clock, the ledger's `PACE` item and LML's `/health` added."""

import random
from collections.abc import Callable, Container
from typing import Final, Literal, Protocol

import msgspec
from msgspec.structs import replace

from core.budget import pacing
from core.budget.pacing import Pace
from core.clock import Clock
from core.lml.client import Health, RefreshError
from core.settings import Pacing

COMMIT_RESERVE_SECONDS: Final = 20.0
"""Seconds that a part keeps for committing what it did and handing on the rest."""
LONGEST_REQUEST: Final = 330.0
"""Seconds that a request may take, body included: LML's ingress ends it after 300, and nobody hangs up first."""
_FIRST_ROUND_TRIPS: Final = 4
"""Timed before an environment's first slice: the first opens the connection, and one of the rest is undisturbed."""
_LOOK_AGAIN: Final = 5.0
"""Seconds after which a slot that waits looks again: the run may be stopped, a slice that cost nothing brings the next
start forward."""
_DOWN: Final = frozenset({"upstream-error", "auth-error", "network-error", "timeout", "error", "unavailable"})
"""What `services.discogs_api` says while LML takes Discogs' failures for empty answers (docs/design/lml.md)."""


class PaceStore(Protocol):
    """Where the slots share `Pace`; a write succeeds only on the revision that was read."""

    def read_pace(self) -> tuple[Pace, int]: ...

    def write_pace(self, pace: Pace, revision: int) -> bool: ...


class ProbeUpstream(Protocol):
    """What a throttle calls of LML: `core.lml.client.RefreshClient`, or the load test's model."""

    def round_trip(self) -> float: ...

    def health(self) -> Health: ...


class Permit(msgspec.Struct, frozen=True):
    """Leave to send one slice now."""

    ids: int
    """How many identities it may hold."""
    started: float
    revision: int
    """Of the state that this start wrote."""
    is_trial: bool = False
    identity: int | None = None
    """The one identity to send, where the breaker's trial asks for it."""


class OutOfTime(msgspec.Struct, frozen=True):
    """The time left does not cover the wait and a request; `delay` seconds from now a slice may start."""

    delay: float
    why: str | None
    """Why everybody rests, if they do."""


class Stopped(msgspec.Struct, frozen=True):
    """The run is stopping, or past its deadline."""


class Rest(msgspec.Struct, frozen=True):
    """A rest that this slot has begun for everybody."""

    reason: Literal["breaker", "discogs"]
    seconds: float
    in_words: str


class Throttle:
    """Lets a slice start when the pace allows it, and settles what it cost; one object a slot.

    Nothing is sent unpaced: when the store cannot be read or written its error goes up to the caller.
    """

    def __init__(self, store: PaceStore, lml: ProbeUpstream, clock: Clock, limits: Pacing, rng: random.Random) -> None:
        self._store = store
        self._lml = lml
        self._clock = clock
        self._limits = limits
        self._rng = rng
        self.on_rest: Callable[[Rest], None] = lambda _: None
        """Called with each rest that this slot begins."""
        self._round_trip: float | None = None
        self._warm = False

    def measure_round_trip(self) -> None:
        """Time a request that touches nothing, and keep the fastest of this environment; raises `RefreshError`."""
        for _ in range(1 if self._round_trip is not None else _FIRST_ROUND_TRIPS):
            seconds = self._lml.round_trip()
            self._round_trip = seconds if self._round_trip is None else min(seconds, self._round_trip)

    def acquire(
        self,
        wanted: int,
        *,
        holding: Container[int] = (),
        limit: float,
        time_left: Callable[[], float],
        run_goes_on: Callable[[], bool],
        not_before: float = 0.0,
    ) -> Permit | OutOfTime | Stopped:
        """Wait until a slice of up to `wanted` ids may start, `not_before` a back-off's end.

        `holding` are the ids that this slot has: a trial of the breaker is for the slot that has its identity. A
        request of `limit` seconds and 20 s more must fit into `time_left`, or the wait ends.
        """
        while True:
            if not run_goes_on():
                return Stopped()
            pace, revision = self._store.read_pace()
            now = self._clock.pace()
            mine = pace.trial is None or pace.trial in holding
            ahead = max(not_before - now, pacing.wait(pace, now, self._limits, holds_trial=mine))
            if time_left() < ahead + limit + COMMIT_RESERVE_SECONDS:
                return OutOfTime(ahead, pace.in_words(now))
            if ahead > 0:
                self._clock.sleep(min(ahead, _LOOK_AGAIN) + self._rng.uniform(0.0, 0.1))
            elif pace.rest == "discogs":
                self._ask_again(pace, revision)
            else:
                trial = pace.rest == "trial"
                ids = 1 if trial else min(wanted, pacing.slice_size(self._limits, warm=self._warm))
                if self._store.write_pace(pacing.start(pace, now, self._limits, ids), revision):
                    return Permit(ids, now, revision + 1, trial, pace.trial if mine else None)

    def settle(
        self, permit: Permit, *, outcomes: int | None, elapsed: float, is_shed: bool = False, trial: int | None = None
    ) -> int:
        """Put what a slice cost in the place of what it was expected to cost; returns the cost in calls.

        `outcomes` is None where no usable body came: then what the start wrote stands. `is_shed` says that LML's
        breaker has turned something away, `trial` is the identity of it that is asked again.
        """
        listed = permit.ids * pacing.EXPECTED_COST if outcomes is None else outcomes
        cost = pacing.slice_cost(ids=permit.ids, outcomes=listed, elapsed=elapsed, round_trip=self._round_trip or 0.0)
        if outcomes:  # without any, the answer says nothing of the cache
            self._warm = cost == 0
        if is_shed:
            self._change(lambda pace, now: pacing.shed(pace, now, trial, is_trial=permit.is_trial))
        elif outcomes is not None and permit.is_trial:
            self._change(pacing.trial_passed)
        elif outcomes is not None:
            self._settle(permit, cost)
        return cost

    def finds_discogs_down(self) -> bool:
        """Ask LML once how Discogs is; True, and everybody rests, while it is down."""
        pace, _ = self._store.read_pace()
        if pace.rest == "discogs":
            return True
        if (word := self._word_of_discogs()) is None:
            return False
        if pace.rest is None:
            self._change(lambda pace, now: pacing.discogs_down(pace, now, word))
        return True

    def back_off(self, failures: int, retry_after: float | None) -> float:
        """Paced seconds to wait after so many failed requests in a row."""
        return pacing.back_off(failures, retry_after, self._rng.random())

    def _settle(self, permit: Permit, cost: int) -> None:
        if self._store.write_pace(pacing.settled(permit.started, self._limits, cost), permit.revision):
            return
        if (more := cost - permit.ids * pacing.EXPECTED_COST) > 0:  # docs/decisions/a-steady-pace.md
            self._change(lambda pace, _: pacing.owing(pace, self._limits, more))

    def _ask_again(self, pace: Pace, revision: int) -> None:
        """Ask whether Discogs is up again; one slot does so, and the others wait for its answer."""
        if not self._store.write_pace(replace(pace, next_start=self._clock.pace() + pacing.DISCOGS_REST), revision):
            return
        if (word := self._word_of_discogs()) is None:
            self._store.write_pace(Pace(next_start=self._clock.pace()), revision + 1)
        else:
            self._change(lambda pace, now: pacing.discogs_down(pace, now, word))

    def _word_of_discogs(self) -> str | None:
        """What LML says of a Discogs that is down, by not answering in time too; None where it says anything else."""
        try:
            services = self._lml.health().body.get("services")
        except RefreshError as error:
            return "timeout" if error.cause == "timeout" else None
        word = services.get("discogs_api") if isinstance(services, dict) else None
        return word if isinstance(word, str) and word in _DOWN else None

    def _change(self, step: Callable[[Pace, float], Pace]) -> None:
        """Apply a step to the newest state, again for as long as other slots are faster."""
        while True:
            pace, revision = self._store.read_pace()
            now = self._clock.pace()
            changed = step(pace, now)
            if changed == pace:
                return
            if self._store.write_pace(changed, revision):
                if changed.rest is not None and (in_words := changed.in_words(now)):
                    reason: Literal["breaker", "discogs"] = "discogs" if changed.rest == "discogs" else "breaker"
                    self.on_rest(Rest(reason, changed.next_start - now, in_words))
                return


def request_limit(time_left: float) -> float:
    """Seconds that each request of a part may take: less than 330 only where the function itself is shorter."""
    if time_left >= LONGEST_REQUEST + COMMIT_RESERVE_SECONDS + 5.0:
        return LONGEST_REQUEST
    return max(1.0, 0.8 * (time_left - COMMIT_RESERVE_SECONDS))  # what is left over is for the round trips before it
