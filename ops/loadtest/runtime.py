"""How many calls LML's other callers make: its counter, watched for a while."""

from collections.abc import Callable, Iterator
from itertools import pairwise
from statistics import fmean, pvariance
from typing import Final, Protocol

import msgspec

from core.clock import Clock
from core.lml.client import Health, LmlError

SAMPLE_EVERY: Final = 60.0
"""Seconds between two samples; each costs LML a Discogs call, which is not counted as others'."""


class Upstream(Protocol):
    def health(self) -> Health: ...


class Runtime(msgspec.Struct, frozen=True):
    """Others' calls in whole minutes between two sound samples."""

    minutes: int
    a_minute: float
    busiest: float
    dispersion: float
    """Variance by mean: 1 of independent readers, more of bursts."""

    def lines(self) -> Iterator[str]:
        """Yield what a person should know, last the option to use."""
        if not self.minutes:
            yield "no two samples could be compared: LML was away, restarted, or does not tell its counter"
            return
        yield f"others made {self.a_minute:.1f} calls a minute over {self.minutes} minutes, {self.busiest:.0f} at most"
        if self.dispersion > 2:
            yield f"they come in bursts of about {self.dispersion:.0f}"
        yield f"rotation loadtest --runtime-per-minute {max(1, round(self.a_minute))}"


def measure(lml: Upstream, clock: Clock, seconds: float, step: Callable[[], None]) -> Runtime:
    """Sample `/health` once a minute for so long; a restart or a failed sample loses the minutes that it touches."""
    samples: list[tuple[float, int, object] | None] = [_sample(lml, clock)]
    for _ in range(int(seconds // SAMPLE_EVERY)):
        clock.sleep(SAMPLE_EVERY)
        samples.append(_sample(lml, clock))
        step()
    rates = [
        max(0, new[1] - old[1] - 1) * SAMPLE_EVERY / (new[0] - old[0])
        for old, new in pairwise(samples)
        if old and new and new[1] >= old[1] and new[2] == old[2]
    ]
    mean = fmean(rates) if rates else 0.0
    return Runtime(len(rates), mean, max(rates, default=0.0), pvariance(rates) / mean if mean else 0.0)


def _sample(lml: Upstream, clock: Clock) -> tuple[float, int, object] | None:
    """Return time, counter and commit, or None where LML does not tell."""
    try:
        body = lml.health().body
    except LmlError:
        return None
    calls = body.get("discogs_live_requests_total")
    return (clock.pace(), calls, body.get("commit_sha")) if type(calls) is int else None
