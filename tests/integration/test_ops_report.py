"""`rotation report` against the cloud of `rotation up`: the page tells what ledger, logs and database hold."""

import json
import re
from contextlib import chdir

import httpx
import pytest
from click.testing import CliRunner

from core.tally import TOTALS
from ops.cli import main
from ops.report import figures
from ops.report.material import gather
from ops.target import find, running

IDENTITIES = 24
SPEED = 400
pytestmark = pytest.mark.xdist_group("operator")


@pytest.fixture(scope="module")
def desk(tmp_path_factory):
    """Call `rotation` in the directory of a cloud in which two runs have ended: a full one, and one that failed."""
    directory = tmp_path_factory.mktemp("report")

    def rotation(*words, code=0):
        with chdir(directory):
            done = CliRunner().invoke(main, [*words, "--json"])
        assert done.exit_code == code, done.output
        return json.loads(done.stdout.splitlines()[-1])

    rotation.directory = directory
    rotation("up", "--identities", str(IDENTITIES), "--speed", str(SPEED))
    try:
        rotation.full = rotation("run", "--wait")["run_id"]
        with chdir(directory):
            lml = running().cloud.lml_url
            target = find(None, None)
            ids = [
                str(identity)
                for message in target.ledger.messages.all(rotation.full, 1)
                for identity in message.planned
            ]
        httpx.post(f"{lml}/_faults", json=[{"path": "refresh", "status": 422, "times": 2}]).raise_for_status()
        rotation.failing = rotation("run", "--wait", "--ids", ",".join(ids[:3]))["run_id"]
        yield rotation
    finally:
        rotation("down")


def material(desk, run_id):
    with chdir(desk.directory):
        return gather(find(None, None), run_id)


def test_the_page_holds_what_the_ledger_holds(desk):
    told = desk("report", desk.full)

    page = (desk.directory / told["report"]).read_text(encoding="utf-8")
    run = material(desk, desk.full).run
    shown = {name: int(value) for name, value in re.findall(r'<data id="total-(\w+)" value="(\d+)"', page)}
    assert shown == {"planned": run.planned} | {name: getattr(run.totals, name) for name in TOTALS}
    assert told["unknown"] == {}


def test_the_logs_hold_every_request_and_all_that_they_cost(desk):
    found = material(desk, desk.full)

    requests = figures.requests_of(figures.parts(found.lines, found.speed))
    assert len(requests) == found.run.totals.lml_requests
    assert sum(one.calls for one in requests) == pytest.approx(found.run.totals.discogs_calls_estimated, abs=1)
    assert all(0 <= one.start <= (found.run.seconds + 2) * SPEED for one in requests)


def test_stale_ids_come_with_the_rows_of_the_database(desk):
    found = material(desk, desk.full)

    assert len(found.stale) == found.run.totals.not_found >= 1
    assert found.rows.keys() == set(found.stale)


def test_a_later_run_is_compared_with_the_one_before_it(desk):
    found = material(desk, desk.failing)

    assert [run.run_id for run in found.earlier] == [desk.full]
    assert material(desk, desk.full).earlier == []


def test_failures_are_told_with_their_reasons_and_the_replay(desk):
    told = desk("report", desk.failing, "-o", "failing.html")

    page = (desk.directory / "failing.html").read_text(encoding="utf-8")
    assert told["failed"]
    assert f"rotation replay {desk.failing}" in page
    assert "LML answered 422, permanent error" in page


def test_the_last_run_is_the_default(desk):
    assert desk("report")["run_id"] == desk.failing


def test_an_unknown_run_is_said(desk):
    told = desk("report", "scheduled-1999-01-01", code=1)

    assert "scheduled-1999-01-01 is not in the ledger" in told["error"]
