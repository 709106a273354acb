"""Many days of the model: every way to pace the job beside every pattern of readers, on the same seeds."""

import signal
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from multiprocessing import get_context
from typing import Final

from core.settings import Pacing
from local.lml.discogs import DiscogsTrouble
from local.lml.limits import Limits
from local.lml.process import LmlProcess
from local.world import World
from ops.loadtest import clairvoyant
from ops.loadtest.harm import Figures, Summary, figures, missing
from ops.loadtest.model import ROUND_TRIP, Job, Scenario, simulate
from ops.loadtest.patterns import IDENTITIES, Pattern
from ops.loadtest.slots import Day

WARM: Final = (60, 80, 90, 95, 98, 100)
"""Percent of the identities that LML has cached at the start of a day."""
AFTER: Final = 120.0
"""Seconds for which harm is counted after the job's end: its calls are still in Discogs' minute."""
THREE_WORKERS: Final = 16.0
"""Calls a minute that each of three processes of LML lets through."""
_DEAF: Final = (signal.SIGINT, signal.SIG_IGN)

SweepProgress = Callable[[], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """A way to pace the job, under a name for tables."""

    name: str
    job: Job = "paced"
    limits: Pacing = field(default_factory=Pacing)
    process: type[LmlProcess] = LmlProcess
    """How LML works beside it."""


def at_pace(budget: int) -> Policy:
    """The job at so many Discogs calls a minute."""
    return Policy(name=f"{budget} a minute", limits=Pacing(budget=budget))


CHOSEN: Final = at_pace(Pacing().budget)
REPLACED: Final = Policy(name="the replaced job (3 x 50)", job="replaced")
WHOLE: Final = Policy(name="requests of 50, paced", limits=Pacing(slice_max=50))


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """A day to simulate under each of some policies, small enough to send to another process."""

    pattern: Pattern
    policies: tuple[Policy, ...] = (CHOSEN,)
    seed: int = 1
    identities: int = IDENTITIES
    warm_percent: int = 0
    tombstones: bool = True
    """Whether Discogs has lost some of the releases; such an answer is in doubt, and asked for again after a minute."""
    lml: Limits = field(default_factory=lambda: Limits(round_trip_seconds=ROUND_TRIP))
    breaker_opens: float | None = None
    trouble: tuple[tuple[float, DiscogsTrouble], ...] = ()

    def world(self) -> World:
        warm = self.identities * self.warm_percent // 100
        world = World.seeded(self.identities, self.seed).warmed(warm)
        return world if self.tombstones else world.without_tombstones()

    def scenario(self, world: World, policy: Policy) -> Scenario:
        pattern, lml = self.pattern.seeded(self.seed), self.lml
        if pattern.workers > 1:
            lml = Limits(workers=pattern.workers, per_minute=THREE_WORKERS, round_trip_seconds=ROUND_TRIP)
        return Scenario(
            world=world,
            readers=pattern.readers,
            others=pattern.others,
            staging=pattern.unseen,
            job=policy.job,
            limits=policy.limits,
            lml=lml,
            process=policy.process,
            breaker_opens=self.breaker_opens,
            trouble=self.trouble,
        )


@dataclass(frozen=True, slots=True)
class Measured:
    """One case: figures by policy, and the seconds that a clairvoyant would take."""

    figures: dict[str, Figures]
    foreseen: float


def days(case: Case) -> tuple[dict[str, Day], Day]:
    """Simulate a case under each policy, and as long a day without the job as the longest of these."""
    world = case.world()
    with_job = {policy.name: simulate(case.scenario(world, policy), after=AFTER) for policy in case.policies}
    longest = max(day.seconds for day in with_job.values())
    return with_job, simulate(case.scenario(world, case.policies[0]).without_job(), at_least=longest)


def measure(case: Case) -> Measured:
    """Simulate a case and measure it."""
    world = case.world()
    with_job, alone = days(case)
    measured = {
        name: figures(day, alone, len(world.identity_ids()), missing(day, world)) for name, day in with_job.items()
    }
    calls = world.expected(world.identity_ids())["discogs_calls"]
    return Measured(measured, clairvoyant.finish([call.at for call in alone.calls], calls))


def measure_all(cases: Sequence[Case], progress: SweepProgress) -> Iterator[Measured]:
    """Measure cases side by side, one process a core; results come in the order of the cases."""
    if len(cases) == 1:  # a process would take longer to start than the day
        yield measure(cases[0])
        progress()
        return
    # Not forked, since whoever calls this may have threads. The processes have no ear for Ctrl-C, which reaches them
    # too in the same terminal: whoever hears it ends them, in the middle of a day.
    with get_context("spawn").Pool(initializer=signal.signal, initargs=_DEAF) as pool:
        for measured in pool.imap(measure, cases):
            progress()
            yield measured


def summarised(policies: Sequence[Policy], measured: Sequence[Measured]) -> dict[str, Summary]:
    """Put the days of some seeds together by policy."""
    return {policy.name: Summary(days=tuple(one.figures[policy.name] for one in measured)) for policy in policies}
