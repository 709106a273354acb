"""How many calls LML's other callers make: its counter, watched for a while."""

from collections.abc import Callable, Iterator
from itertools import pairwise
from statistics import fmean, pvariance
from typing import Final, Protocol

import msgspec

from core.clock import Clock
from core.lml.client import Health, RefreshError

SAMPLE_EVERY: Final = 60.0
"""Seconds between two samples. Each costs LML one of Discogs' 60 calls, which is not in its counter."""


class HealthUpstream(Protocol):
    def health(self) -> Health: ...


class Runtime(msgspec.Struct, frozen=True):
    """Others' calls in whole minutes between two sound samples."""

    minutes: int
    a_minute: float
    busiest: float
    dispersion: float
    """Variance by mean: 1 of calls that come singly, 5 of calls that come in fives."""
    commit: str = ""
    went_back: int = 0
    """How often the counter went back at one commit: a restart does so once, several processes again and again."""

    @property
    def several(self) -> bool:
        """True if several processes answer in turn: each has a counter of its own, so that differences mean nothing."""
        return self.went_back > 1

    @property
    def usable(self) -> bool:
        return self.minutes > 0 and not self.several

    def lines(self) -> Iterator[str]:
        """Yield the result for a person; the last line is what to do."""
        if self.several:
            yield f"the counter went back {self.went_back} times at one commit: several processes answer behind this"
            yield "address, each with a counter and a breaker of its own, so that nothing can be measured from outside."
            yield "Ask LML's dashboard for the Discogs calls of all of them, or measure each process by its own address"
            return
        if not self.minutes:
            yield "no two samples could be compared: LML was away, restarted, or does not tell its counter"
            return
        if self.went_back:
            yield "the counter went back once at one commit: LML has started anew, or several processes answer"
        yield f"others made {self.a_minute:.1f} calls a minute over {self.minutes} minutes, {self.busiest:.0f} at most"
        if self.dispersion > 2:
            yield f"they come together, about {self.dispersion:.0f} at a time"
        yield "what staging does with the same Discogs token is not in this figure"
        yield f"rotation loadtest --runtime-per-minute {max(1, round(self.a_minute))}"


def measure(lml: HealthUpstream, clock: Clock, seconds: float, step: Callable[[], None]) -> Runtime:
    """Sample `/health` once a minute for so long; a restart or a failed sample loses the minutes that it touches."""
    samples: list[tuple[float, int, object] | None] = [_sample(lml, clock)]
    for _ in range(int(seconds // SAMPLE_EVERY)):
        clock.sleep(SAMPLE_EVERY)
        samples.append(_sample(lml, clock))
        step()
    pairs = [(old, new) for old, new in pairwise(samples) if old and new and new[2] == old[2]]
    rates = [(new[1] - old[1]) * SAMPLE_EVERY / (new[0] - old[0]) for old, new in pairs if new[1] >= old[1]]
    mean = fmean(rates) if rates else 0.0
    commits = [sample[2] for sample in samples if sample]
    return Runtime(
        minutes=len(rates),
        a_minute=mean,
        busiest=max(rates, default=0.0),
        dispersion=pvariance(rates) / mean if mean else 0.0,
        commit=str(commits[-1] or "") if commits else "",
        went_back=sum(new[1] < old[1] for old, new in pairs),
    )


def _sample(lml: HealthUpstream, clock: Clock) -> tuple[float, int, object] | None:
    """Return time, counter and commit; None where LML does not give them."""
    try:
        body = lml.health().body or {}
    except RefreshError:
        return None
    calls = body.get("discogs_live_requests_total")
    return (clock.pace(), calls, body.get("commit_sha")) if type(calls) is int else None
