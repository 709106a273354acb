"""The second job of docs/contributing.md, run as it stands there, beside a refresh."""

import re
from itertools import pairwise
from pathlib import Path
from random import Random

import pytest

from core.budget.pacing import EXPECTED_COST, TRIAL_AFTER, seconds_for
from core.budget.throttle import Throttle
from core.refresh.worker import Worker
from core.runs.plan import RefreshMessage
from core.settings import Pacing
from tests.fleet import MemoryStore, RecordedReports, Script, ScriptedLml
from tests.virtual import VirtualClock

PAGE = Path(__file__).parents[3] / "docs" / "contributing.md"
(TEXT,) = re.findall(r"^```python\n(.*?)^```", PAGE.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
HOUR = 3600.0


@pytest.fixture(scope="module")
def look_up_labels():
    names = {}
    exec(compile(TEXT, str(PAGE), "exec"), names)  # noqa: S102 - the page's own text
    return names["look_up_labels"]


class Both:
    """A refresh and the second job, each with a throttle of its own on one `PACE`."""

    def __init__(self):
        self.clock, self.store, self.script = VirtualClock(), MemoryStore(), Script(seconds=lambda _: 2.0)
        self.limits, self.looked_up = Pacing(), []

    def throttle(self):
        return Throttle(self.store, ScriptedLml(self.script, self.clock), self.clock, self.limits, Random(1))  # noqa: S311

    def refresh(self, *ids):
        lml = ScriptedLml(self.script, self.clock)
        worker = Worker(lml, self.throttle(), self.clock, RecordedReports(), 3)
        message = RefreshMessage(version=1, run_id="r", identity_ids=ids)
        return worker.part(message, time_left=lambda: HOUR, run_goes_on=lambda: True).work()

    def look_up(self, labels):
        self.looked_up.append(self.clock.pace())
        self.clock.sleep(2.0)
        return EXPECTED_COST * len(labels)

    @property
    def starts(self):
        return sorted([at for at, _ in self.script.asked] + self.looked_up)


def test_two_jobs_together_stay_within_the_budget(look_up_labels):
    both = Both()
    for turn in range(3):
        both.refresh(2 * turn + 1, 2 * turn + 2)
        left = look_up_labels([turn, turn + 10], both.look_up, both.throttle(), both.clock, lambda: HOUR)
        assert left == []

    gaps = [after - before for before, after in pairwise(both.starts)]
    assert len(both.starts) == 12
    assert min(gaps) >= seconds_for(EXPECTED_COST, both.limits) - 0.001


def test_a_second_job_rests_when_the_refresh_has_met_lmls_breaker(look_up_labels):
    both = Both()
    both.store.write_pace(both.store.read_pace()[0], 0)
    throttle = both.throttle()
    permit = throttle.acquire(1, limit=30.0, time_left=lambda: HOUR, run_goes_on=lambda: True)
    throttle.settle(permit, outcomes=0, elapsed=1.0, is_shed=True, trial=7)
    met = both.clock.pace()

    look_up_labels([1], both.look_up, both.throttle(), both.clock, lambda: HOUR)

    assert both.looked_up[0] - met >= TRIAL_AFTER


def test_labels_for_which_the_time_is_too_short_are_handed_back(look_up_labels):
    both = Both()
    assert look_up_labels([1, 2], both.look_up, both.throttle(), both.clock, lambda: 10.0) == [1, 2]
    assert both.looked_up == []
