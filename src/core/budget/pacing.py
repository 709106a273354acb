"""The budget's arithmetic (DESIGN §6): who may call Discogs, and when.

Pure: no I/O and no clock of its own. Times are paced seconds (`Clock.pace`), costs are Discogs calls, rates are calls a
minute. `Pace` is the state that all slots share; a function here takes one and returns the next.
"""

import math
from collections.abc import Iterator
from itertools import pairwise
from typing import Final, Literal

import msgspec
from msgspec.structs import replace

from core.settings import LML_REFRESH_BATCH_CAP, RESERVE, Pacing

WINDOW: Final = 60.0
"""Seconds in which Discogs and LML count; also the age at which a sample says nothing any more."""
MEMORY: Final = 150.0
"""Seconds that charges and samples are kept."""
SAMPLE_EVERY: Final = 30.0
"""Seconds after which a slot takes a new sample, for all."""
SKEW: Final = 1.0
"""Seconds by which the clocks of two machines may differ; more is a clock that was set back."""
TRIAL_AFTER: Final = 900.0
"""Seconds of a breaker that is not closed after which one id is sent: LML's may wait for a call to close it."""
OTHERS_AT_FIRST: Final = 20.0
"""Calls a minute that other callers are taken to make before anything is known of them."""
OTHERS_MEMORY: Final = 300.0
"""Seconds over which the slow mean of others' calls forgets."""


_OPEN_TO_ALL: Final = frozenset({None, "closed"})
"""What a sample may say of the breaker when calls may start; None is an LML that does not tell."""


class Charge(msgspec.Struct, frozen=True):
    """Calls that a slice or a sample may have made: expected until it is settled, then what it cost."""

    id: str
    at: float
    cost: float
    ids: int
    """Identities in the slice; 0 for a sample."""
    settled_at: float | None = None

    @property
    def until(self) -> float:
        """When the last of the calls was made, as far as is known."""
        return self.at if self.settled_at is None else self.settled_at

    def within(self, start: float, end: float) -> float:
        """The calls that fall between two times, spread evenly over the time that the slice took."""
        if self.until <= self.at:
            return self.cost if start < self.at <= end else 0.0
        return self.cost * max(0.0, min(end, self.until) - max(start, self.at)) / (self.until - self.at)


class Sample(msgspec.Struct, frozen=True):
    """What LML's `/health` said; a field that was missing or of another type is None."""

    at: float
    calls: int | None
    breaker: str | None
    commit: str | None


class Pace(msgspec.Struct, frozen=True, kw_only=True):
    """Ledger item `PACE`: the one budget of all slots, replays and manual invokes."""

    paid_until: float = 0.0
    charges: tuple[Charge, ...] = ()
    samples: tuple[Sample, ...] = ()
    sampling_until: float = 0.0
    others_mean: float = OTHERS_AT_FIRST
    shut_since: float | None = None
    """When LML's breaker was first seen not closed, or was last tried since; None while it is closed."""


class Room(msgspec.Struct, frozen=True):
    """How much of the minute is ours now, and how we know."""

    loop: Literal["open", "measured"]
    budget: float
    """Calls a minute at which a cost is paid off."""
    spent: float
    """Our own calls of the last 60 s."""
    others: float
    """Everybody else's; 0 in the open loop, which does not know."""
    limit: float
    """Calls that the last 60 s may hold."""
    breaker_closed: bool

    @property
    def free(self) -> float:
        """Calls that may still start."""
        return self.limit - self.spent - self.others


class Go(msgspec.Struct, frozen=True):
    """The slice that `charge` pays for may start once `pace` is written."""

    charge: Charge
    pace: Pace


class Wait(msgspec.Struct, frozen=True):
    """Nothing may start before `until`, and then only if the state then allows it."""

    until: float
    reason: Literal["budget", "room", "breaker"]


def remembered(pace: Pace, now: float) -> Pace:
    """`pace` without what is older than 150 s; what lies ahead, since a clock was set back, as if written now."""
    ahead = max((*(c.until for c in pace.charges), *(s.at for s in pace.samples)), default=now) - now
    if ahead > SKEW:
        pace = _earlier(pace, ahead)
    return replace(
        pace,
        charges=tuple(charge for charge in pace.charges if charge.until > now - MEMORY),
        samples=tuple(sample for sample in pace.samples if sample.at > now - MEMORY),
    )


def room(pace: Pace, now: float, limits: Pacing) -> Room:
    """Open loop, or measured while the last two samples are sound and recent enough."""
    spent = sum(charge.within(now - WINDOW, now) for charge in pace.charges if charge.cost)
    newest = pace.samples[-1] if pace.samples else None
    recent = newest is not None and now - newest.at <= WINDOW
    closed = not recent or newest is None or newest.breaker in _OPEN_TO_ALL
    limit = limits.rate_limit - RESERVE
    if not recent or len(pace.samples) < 2 or not _comparable(pace.samples[-2], pace.samples[-1]):
        return Room("open", limits.budget, spent, 0.0, limit, closed)
    return Room("measured", limits.budget_max, spent, _others(pace, now), limit, closed)


def attempt(pace: Pace, now: float, limits: Pacing, *, charge_id: str, wanted: int, cost_per_id: float) -> Go | Wait:
    """GCRA without burst: `Go` with up to `wanted` ids and the state to write, or `Wait` with nothing to write."""
    pace = remembered(pace, now)
    here = room(pace, now, limits)
    trial = not here.breaker_closed
    if trial and (pace.shut_since is None or now < pace.shut_since + TRIAL_AFTER):
        return Wait(now + WINDOW, "breaker")
    if pace.paid_until > now:
        return Wait(pace.paid_until, "budget")
    if trial:  # docs/decisions/a-breaker-that-nobody-tries.md
        pace, wanted = replace(pace, shut_since=now), 1
    # With slices switched off, a full message is one request, whatever the minute holds.
    whole = limits.slice_max == LML_REFRESH_BATCH_CAP
    # Debts alone bound no minute (docs/decisions/our-own-minute-is-a-bound.md).
    free = here.free if here.spent <= limits.budget_max else 0.0
    ids = wanted if whole else min(wanted, math.floor(free / cost_per_id))
    if ids < 1:
        last_start = max((charge.at for charge in pace.charges if charge.ids), default=-math.inf)
        if last_start > now - WINDOW:
            return Wait(last_start + WINDOW, "room")
        ids = 1  # however full the minute: a busy day must end too
    charge = Charge(charge_id, now, ids * cost_per_id, ids)
    return Go(charge, _charged(pace, now, here.budget, charge))


def settle(pace: Pace, now: float, limits: Pacing, *, charge: Charge, cost: float) -> Pace:
    """Replace what a slice was expected to cost by what it did cost; the debt moves by the difference.

    Twice is once: the answer to the first write may have been lost.
    """
    pace = remembered(pace, now)
    if any(known.id == charge.id and known.settled_at is not None for known in pace.charges):
        return pace
    debt = (cost - charge.cost) * WINDOW / room(pace, now, limits).budget
    return replace(
        pace,
        paid_until=pace.paid_until + debt,
        charges=tuple(replace(c, cost=cost, settled_at=now) if c.id == charge.id else c for c in pace.charges),
    )


def begin_sample(pace: Pace, now: float, limits: Pacing, *, charge_id: str, abandoned: bool = False) -> Pace | None:
    """The state that makes the caller the one sampler, its call charged; None when no sample is due or one is taken.

    `abandoned` says that nobody has written for a minute: after a clock was set back, no time in `pace` can tell.
    """
    pace = remembered(pace, now)
    recent = bool(pace.samples) and now - pace.samples[-1].at < SAMPLE_EVERY
    if (pace.sampling_until > now or recent) and not abandoned:
        return None
    charged = _charged(pace, now, room(pace, now, limits).budget, Charge(charge_id, now, 1.0, 0, now))
    return replace(charged, sampling_until=now + SAMPLE_EVERY)


def add_sample(pace: Pace, sample: Sample, limits: Pacing) -> Pace:
    """Take a sample in: others' slow mean learns, and charges beyond the counter's difference are refunded."""
    pace = remembered(pace, sample.at)
    last = pace.samples[-1] if pace.samples else None
    if last == sample:
        return pace  # a write whose answer was lost, and that is made again
    shut = sample.breaker not in _OPEN_TO_ALL
    since = (sample.at if pace.shut_since is None else pace.shut_since) if shut else None
    pace = replace(pace, samples=(*pace.samples, sample), shut_since=since)
    if last is None or not _comparable(last, sample):
        return pace
    calls = _difference(last, sample)
    inside = [c for c in pace.charges if c.ids and c.at >= last.at and (c.settled_at or math.inf) <= sample.at]
    ours = sum(charge.cost for charge in inside)
    samplers = sum(not c.ids and last.at < c.at <= sample.at for c in pace.charges)
    excess = ours - max(0.0, calls - samplers)
    if excess > 0:
        ids = {charge.id for charge in inside}
        share = 1 - excess / ours
        budget = room(pace, sample.at, limits).budget
        pace = replace(
            pace,
            paid_until=pace.paid_until - excess * WINDOW / budget,
            charges=tuple(replace(c, cost=c.cost * share) if c.id in ids else c for c in pace.charges),
        )
    seconds = sample.at - last.at
    rate = _beyond_ours(pace, last, sample) * WINDOW / seconds
    weight = 1 - math.exp(-seconds / OTHERS_MEMORY)
    return replace(pace, others_mean=max(0.0, pace.others_mean + weight * (rate - pace.others_mean)))


def _earlier(pace: Pace, seconds: float) -> Pace:
    """The same state with all of its times set back."""
    return replace(
        pace,
        paid_until=pace.paid_until - seconds,
        charges=tuple(
            replace(c, at=c.at - seconds, settled_at=None if c.settled_at is None else c.settled_at - seconds)
            for c in pace.charges
        ),
        samples=tuple(replace(s, at=s.at - seconds) for s in pace.samples),
        sampling_until=pace.sampling_until - seconds,
        shut_since=None if pace.shut_since is None else pace.shut_since - seconds,
    )


def _charged(pace: Pace, now: float, budget: float, charge: Charge) -> Pace:
    paid_until = max(pace.paid_until, now) + charge.cost * WINDOW / budget
    return replace(pace, paid_until=paid_until, charges=(*pace.charges, charge))


def _comparable(older: Sample, newer: Sample) -> bool:
    """Whether the counter's difference between two samples says anything: same process, no gap, nothing missing."""
    return (
        older.calls is not None
        and newer.calls is not None
        and newer.calls >= older.calls
        and newer.commit == older.commit
        and 0 < newer.at - older.at <= WINDOW
    )


def _difference(older: Sample, newer: Sample) -> int:
    return (newer.calls or 0) - (older.calls or 0)


def _beyond_ours(pace: Pace, older: Sample, newer: Sample) -> float:
    """Others' calls between two samples: the counter's difference beyond our own charges."""
    ours = sum(charge.within(older.at, newer.at) for charge in pace.charges if charge.cost)
    return _difference(older, newer) - ours


def _intervals(pace: Pace) -> Iterator[tuple[Sample, Sample]]:
    return (pair for pair in pairwise(pace.samples) if _comparable(*pair))


def _others(pace: Pace, now: float) -> float:
    """Others' calls of the last 60 s: measured where samples reach, their slow mean for the rest."""
    start = now - WINDOW
    measured = covered = 0.0
    for older, newer in _intervals(pace):
        overlap = newer.at - max(start, older.at)
        if overlap > 0:
            measured += _beyond_ours(pace, older, newer) * overlap / (newer.at - older.at)
            covered += overlap
    return max(0.0, measured) + pace.others_mean * (WINDOW - covered) / WINDOW
