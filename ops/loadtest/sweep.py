"""Many days of the model: every way to pace the job, on the same seeds, on all cores."""

import math
import os
import signal
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice
from multiprocessing import get_context
from typing import Final

from core.settings import Pacing
from local.lml.limits import Limits
from local.lml.readers import Order
from local.world import World
from ops.loadtest.measures import Figures, Summary, figures
from ops.loadtest.model import ROUND_TRIP, Job, Scenario, simulate
from ops.loadtest.slots import Day

BUDGETS: Final = (16, 18, 20, 22, 24, 30)
MOST_OVER_50: Final = 0.02
"""Share of the time above LML's limit at 20 reads a minute that a budget may cause (issue 3)."""

Progress = Callable[[], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """A way to pace the job, under a name for tables."""

    name: str
    job: Job = "paced"
    limits: Pacing = field(default_factory=Pacing)
    open_loop: bool = False
    patient_discogs: bool = False
    """Discogs never answers 429, so that LML's breaker stays closed whatever the job does."""


MEASURED: Final = Policy(name="measured room")
TODAY: Final = Policy(name="today's job (3 x 50)", job="today")
TODAY_UNPUNISHED: Final = Policy(name="today's job, were there no 429", job="today", patient_discogs=True)
WHOLE: Final = Policy(name="slices of 50, paced", limits=Pacing(slice_max=50))


def open_loop(budget: int) -> Policy:
    """The job beside an LML that cannot be measured."""
    return Policy(name=f"open loop, {budget} a minute", limits=Pacing(budget=budget), open_loop=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """A day to simulate, small enough to send to another process."""

    seed: int = 1
    policy: Policy = MEASURED
    identities: int = 310
    warm: int = 0
    """So many of the lowest ids are in LML's cache at the start."""
    readers: float = 20
    """Readers a minute, on average."""
    burst: int = 1
    lml: Limits = field(default_factory=lambda: Limits(round_trip_seconds=ROUND_TRIP))
    steady_per_minute: float = 0
    breaker_opens: float | None = None

    def scenario(self) -> Scenario:
        return Scenario(
            world=World.seeded(self.identities, self.seed).warmed(self.warm),
            readers=Order(per_minute=self.readers, seed=self.seed, burst=self.burst),
            job=self.policy.job,
            limits=self.policy.limits,
            lml=replace(self.lml, discogs_per_minute=math.inf) if self.policy.patient_discogs else self.lml,
            open_loop=self.policy.open_loop,
            steady_per_minute=self.steady_per_minute,
            breaker_opens=self.breaker_opens,
        )


def days(case: Case) -> tuple[Day, Day]:
    """Simulate a day with the job, and as long a one without it."""
    scenario = case.scenario()
    day = simulate(scenario)
    return day, simulate(scenario.without_job(), at_least=day.seconds)


def measure(case: Case) -> Figures:
    """Simulate a case and its baseline."""
    return figures(*days(case), identities=case.identities)


def measure_all(cases: Sequence[Case], progress: Progress) -> Iterator[Figures]:
    """Measure cases side by side, one process a core; results come in the order of the cases."""
    if len(cases) == 1:  # a process would take longer to start than the day
        yield measure(cases[0])
        progress()
        return
    # Not forked: a slot is a thread, and so may be whoever calls this. A Pool ends its processes when it is left early,
    # which is how Ctrl-C ends it: the processes themselves, in the same terminal, have no ear for it.
    with get_context("spawn").Pool(os.cpu_count(), signal.signal, (signal.SIGINT, signal.SIG_IGN)) as pool:
        for measured in pool.imap(measure, cases):
            progress()
            yield measured


def sweep(policies: Sequence[Policy], cases: Sequence[Case], progress: Progress) -> dict[str, Summary]:
    """Measure every policy on the same cases; by its name."""
    measured = measure_all([replace(case, policy=policy) for policy in policies for case in cases], progress)
    return {policy.name: Summary(days=tuple(islice(measured, len(cases)))) for policy in policies}


def chosen(summaries: dict[str, Summary], budgets: Sequence[int]) -> int | None:
    """Return the largest open-loop budget that keeps the over-50 line; None when none does."""
    keep = [budget for budget in budgets if summaries[open_loop(budget).name].over_50 <= MOST_OVER_50]
    return max(keep, default=None)
