"""`rotation report` against the cloud of `rotation up`: the page tells what ledger, logs and database hold."""

import re
from dataclasses import dataclass

import httpx
import pytest

from core.runs.totals import TOTALS
from local.world import World
from ops.report import figures
from ops.report.material import Material, gather
from tests.integration.operating import IDENTITIES, Operator


@dataclass
class Reported:
    """A operator where two runs have ended: one of every id, and then one that failed."""

    operator: Operator
    full: str
    failing: str

    def material(self, run_id: str) -> Material:
        return gather(self.operator.target, run_id)


@pytest.fixture(scope="module")
def reported(operator):
    ids = World.seeded(identities=IDENTITIES).identity_ids()
    full = operator.data("run", "--wait", "--ids", ",".join(map(str, ids)))["run_id"]
    lml = operator.running.cloud.lml_url
    httpx.post(f"{lml}/_faults", json=[{"path": "refresh", "status": 422, "times": 1}]).raise_for_status()
    # The first request has one identity or two: never all three, with which the run would have come to nothing.
    failing = operator.data("run", "--wait", "--ids", ",".join(map(str, ids[:3])))["run_id"]
    return Reported(operator, full, failing)


def test_the_page_holds_what_the_ledger_holds(reported):
    printed = reported.operator.data("report", reported.full)

    page = (reported.operator.directory / printed["report"]).read_text(encoding="utf-8")
    run = reported.material(reported.full).run
    shown = {name: int(value) for name, value in re.findall(r'<data id="total-(\w+)" value="(\d+)"', page)}
    assert shown == {"planned": run.planned} | {name: getattr(run.totals, name) for name in TOTALS}
    assert printed["unknown"] == {}


def test_the_logs_hold_every_request_and_all_that_they_cost(reported):
    found = reported.material(reported.full)

    requests = figures.requests_of(figures.parts(found.lines, found.seen.speed))
    assert len(requests) == found.run.totals.lml_requests
    assert sum(one.calls for one in requests) == pytest.approx(found.run.totals.discogs_calls_estimated, abs=1)
    assert all(0 <= one.start <= (found.run.seconds + 2) * found.seen.speed for one in requests)


def test_stale_ids_come_with_the_rows_of_the_database(reported):
    found = reported.material(reported.full)

    assert len(found.seen.stale) == found.run.totals.not_found >= 1
    assert found.rows.keys() == set(found.seen.stale)


def test_a_later_run_is_compared_with_the_one_before_it(reported):
    found = reported.material(reported.failing)

    assert found.earlier[0].run_id == reported.full
    assert not {reported.full, reported.failing} & {run.run_id for run in reported.material(reported.full).earlier}


def test_failures_are_reported_with_their_reasons_and_the_replay(reported):
    printed = reported.operator.data("report", reported.failing, "-o", "failing.html")

    page = (reported.operator.directory / "failing.html").read_text(encoding="utf-8")
    assert printed["failed"]
    assert f"rotation replay {reported.failing}" in page
    assert "LML answered 422, permanent error" in page


def test_the_last_run_is_the_default(reported):
    assert reported.operator.data("report")["run_id"] == reported.failing


def test_an_unknown_run_is_shown(reported):
    printed = reported.operator.data("report", "scheduled-1999-01-01", code=1)

    assert "scheduled-1999-01-01 is not in the ledger" in printed["error"]
