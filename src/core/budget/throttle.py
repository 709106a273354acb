"""One slot's hold on the shared budget: `pacing` with the clock, the ledger's `PACE` item and LML's `/health` added."""

import math
import random
import uuid
from collections.abc import Callable
from typing import Final, Protocol

import msgspec

from core.budget import pacing, slices
from core.budget.pacing import Charge, Pace, Sample, Wait
from core.budget.slices import SliceSize
from core.clock import Clock
from core.lml.client import Health, LmlError
from core.settings import Pacing

_FIRST_ROUND_TRIPS: Final = 4
"""Timed before an environment's first slice: the first opens the connection, and one of the rest is undisturbed."""
_LOST_RACE: Final = 0.05
"""Seconds, at most, before a slot tries again that lost a conditional update to another."""


class PaceStore(Protocol):
    """Where the slots share `Pace`; a write succeeds only on the revision that was read."""

    def read_pace(self) -> tuple[Pace, int]: ...

    def write_pace(self, pace: Pace, revision: int) -> bool: ...


class Upstream(Protocol):
    """What a throttle asks of LML; `core.lml.client.Lml` is one, the load test's model another."""

    def round_trip(self) -> float: ...

    def health(self) -> Health: ...


class Permit(msgspec.Struct, frozen=True):
    """Leave to send one slice now, paid for by its charge."""

    charge: Charge

    @property
    def ids(self) -> int:
        """How many identities the slice may hold."""
        return self.charge.ids


class Throttle:
    """Lets a slice start when the minute has room for it, and settles what it cost; one object a slot.

    Nothing is sent unpaced: when the store cannot be read or written its error goes up to the caller.
    """

    def __init__(self, store: PaceStore, lml: Upstream, clock: Clock, limits: Pacing, rng: random.Random) -> None:
        self._store = store
        self._lml = lml
        self._clock = clock
        self._limits = limits
        self._rng = rng
        self._round_trip: float | None = None
        self._seen = -1
        self._seen_at = 0.0
        self.size = SliceSize(limits.slice_max)

    def measure_round_trip(self) -> None:
        """Time a request that touches nothing, and keep the fastest of this environment.

        Raises `LmlError` where LML refuses the key or does not know the endpoint; a passing fault changes nothing.
        """
        known = self._round_trip is not None
        try:
            for _ in range(1 if known else _FIRST_ROUND_TRIPS):
                self._round_trip = min(
                    self._lml.round_trip(), math.inf if self._round_trip is None else self._round_trip
                )
        except LmlError as error:
            if error.kind == "permanent_error":
                raise

    def ask(self, wanted: int) -> Permit | Wait:
        """Try once to start a slice of up to `wanted` ids; a `Wait` is no leave, and may have taken a sample's time."""
        pace, revision = self._store.read_pace()
        if self._sampled(pace, revision):
            return Wait(self._clock.pace(), "budget")
        now = self._clock.pace()
        answer = pacing.attempt(
            pace, now, self._limits, charge_id=_new_id(), wanted=wanted, cost_per_id=self.size.cost_per_id
        )
        if isinstance(answer, Wait):
            return answer
        if not self._store.write_pace(answer.pace, revision):
            return Wait(now, "budget")
        return Permit(answer.charge)

    def foresee(self) -> Wait:
        """Say when one id might start, as things stand; takes nothing."""
        pace, _ = self._store.read_pace()
        now = self._clock.pace()
        answer = pacing.attempt(pace, now, self._limits, charge_id="", wanted=1, cost_per_id=self.size.cost_per_id)
        return answer if isinstance(answer, Wait) else Wait(now, "budget")

    def settle(self, permit: Permit, *, outcomes: int | None, elapsed: float) -> float:
        """Put what a slice cost in the place of what it was expected to cost; returns the cost in calls."""
        charge = permit.charge
        cost = slices.slice_cost(
            ids=charge.ids,
            outcomes=outcomes,
            elapsed=elapsed,
            round_trip=self._round_trip or 0.0,
            rate_limit=self._limits.rate_limit,
        )
        self._change(lambda pace: pacing.settle(pace, self._clock.pace(), self._limits, charge=charge, cost=cost))
        if outcomes:
            self.size.learn(ids=charge.ids, cost=cost)
        return cost

    def breaker_open(self) -> None:
        """Tell all slots what an answer has told this one; no need to wait for the next sample, or to pay for it."""
        sample = Sample(at=self._clock.pace(), calls=None, breaker="open", commit=None)
        self._change(lambda pace: pacing.add_sample(pace, sample, self._limits))

    def pause(self, wait: Wait) -> float:
        """Paced seconds to sleep before the next `ask`: to the end of a debt that ends soon, else about a second."""
        poll = self._rng.uniform(0.5, 1.0)
        if wait.reason != "budget":
            return poll
        return min(max(0.0, wait.until - self._clock.pace()) + self._rng.uniform(0.0, 0.1), poll)

    def back_off(self, failures: int, retry_after: float | None) -> float:
        """Paced seconds to wait after so many failed requests in a row."""
        return slices.back_off(failures, retry_after, self._rng.random())

    def _sampled(self, pace: Pace, revision: int) -> bool:
        """Take a sample if one is due and no other slot is at it; whether `PACE` has changed."""
        now = self._clock.pace()
        begun = pacing.begin_sample(
            pace, now, self._limits, charge_id=_new_id(), abandoned=self._unchanged_for(revision, now) > pacing.WINDOW
        )
        if begun is None:
            return False
        if not self._store.write_pace(begun, revision):
            return True
        try:
            body = self._lml.health().body or {}
        except LmlError:
            return True  # no sample: the open loop takes over once the last one is a minute old
        calls, breaker, commit = (
            body.get(key) for key in ("discogs_live_requests_total", "discogs_breaker_state", "commit_sha")
        )
        sample = Sample(
            at=self._clock.pace(),
            calls=calls if type(calls) is int else None,
            breaker=_known(breaker) if isinstance(breaker, str) else None,
            commit=ascii(commit[:64])[1:-1] if isinstance(commit, str) else None,
        )
        self._change(lambda pace: pacing.add_sample(pace, sample, self._limits))
        return True

    def _unchanged_for(self, revision: int, now: float) -> float:
        """Seconds for which this slot has seen nobody write; a minute means that no other slot is at work."""
        if revision != self._seen or now < self._seen_at:
            self._seen, self._seen_at = revision, now
        return now - self._seen_at

    def _change(self, step: Callable[[Pace], Pace]) -> None:
        """Apply a step to the newest state, again for as long as other slots are faster."""
        while True:
            pace, revision = self._store.read_pace()
            if self._store.write_pace(step(pace), revision):
                return
            self._clock.sleep(self._rng.uniform(0.0, _LOST_RACE))


def _known(breaker: str) -> str:
    """A state of LML's breaker; a new one is not `closed`, and whatever else came must not fill the ledger."""
    return breaker if breaker in {"closed", "open", "half_open"} else "unknown"


def _new_id() -> str:
    return uuid.uuid4().hex[:12]
