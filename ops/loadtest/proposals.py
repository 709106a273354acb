"""`python -m ops.loadtest.proposals`: the effect of two small changes to LML, for docs/proposals.

With both, LML refuses the low-priority lane before it has to refuse every caller.
"""

from argparse import ArgumentParser
from collections import deque
from collections.abc import Iterator
from itertools import islice
from typing import Final

from core.settings import Pacing
from local.lml.discogs import DiscogsAnswer
from local.lml.process import LmlProcess
from local.lml.records import MINUTE, Caller
from ops.loadtest.patterns import PATTERNS
from ops.loadtest.report import minutes
from ops.loadtest.sweep import CHOSEN, Case, Policy, at_pace, measure_all, summarised

FLOOR: Final = 15
"""What must be left of Discogs' minute for the low-priority lane."""
FAST: Final = 30
_LOOK_AGAIN: Final = 1.0
_SHOWN: Final = ("5 in fives", "10 in fives", "20 in fives", "20 in fives at once", "10 in fives, staging 5 unseen")


class Reserving(LmlProcess):
    """An LML whose low-priority lane waits while no more than 15 calls are left, as far as its answers tell."""

    def restart(self) -> None:
        super().restart()
        self._made: deque[float] = deque()
        self._remaining_at = 0.0
        self._remaining: int | None = None

    async def call(self, kind: Caller, *, low: bool = False, missing: bool = False) -> DiscogsAnswer:
        while low and self._left() <= FLOOR:
            await self._clock.sleep(_LOOK_AGAIN)
        self._made.append(self._clock.now())
        answer = await super().call(kind, low=low, missing=missing)
        if answer.remaining is not None:
            self._remaining_at, self._remaining = self._clock.now(), answer.remaining
        return answer

    def _left(self) -> float:
        """Return what the last answer said, and what of LML's own calls has left the minute since."""
        now = self._clock.now()
        while self._made and self._made[0] <= now - 2 * MINUTE:
            self._made.popleft()
        if self._remaining is None:
            return MINUTE
        return self._remaining + sum(self._remaining_at - MINUTE < at <= now - MINUTE for at in self._made)


RESERVED: Final = Policy(name="15 kept for DJs, job at 30", limits=Pacing(budget=FAST), process=Reserving)
RESERVED_SAME: Final = Policy(name="15 kept for DJs, job at 8", process=Reserving)


def table(days: int) -> Iterator[str]:
    """Yield the rows of the page's table: openings added, DJs' calls shed, and makespan, a day on average."""
    policies = (CHOSEN, at_pace(FAST), RESERVED_SAME, RESERVED)
    cases = [
        Case(pattern=PATTERNS[name], policies=policies, seed=seed) for name in _SHOWN for seed in range(1, days + 1)
    ]
    measured = measure_all(cases, lambda: None)
    yield "| readers a minute | LML today, job at 8 | LML today, job at 30 | 15 kept, job at 8 | 15 kept, job at 30 |"
    yield "| --- | --- | --- | --- | --- |"
    for name in _SHOWN:
        found = summarised(policies, list(islice(measured, days)))
        cells = [f"{it.openings_added:.1f} / {it.shed_added:.0f} / {minutes(it.makespan)}" for it in found.values()]
        yield f"| {' | '.join([name, *cells])} |"


def main() -> None:
    parser = ArgumentParser(prog="python -m ops.loadtest.proposals", description=__doc__)
    parser.add_argument("--days", type=int, default=24, help="days of each pattern [%(default)s]")
    print("\n".join(table(parser.parse_args().days)))  # noqa: T201 - what it is for


if __name__ == "__main__":
    main()
