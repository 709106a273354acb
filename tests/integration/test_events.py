"""`events/` by hand: each file through Lambda's own runtime client against the local cloud, as SAM would do it."""

import json
import re
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from local import deploy
from local.cloud import Cloud
from ops.target import local_target
from ops.up import FUNCTIONS, NOT_IN_THE_TEMPLATE, SAM_ENVIRONMENT, SAM_TEMPLATE, sam_environments
from tests.eventually import eventually
from tests.integration import runtime_api
from tests.integration.runtime_api import Runtime

ROOT = Path(__file__).parents[2]
TEMPLATE = deploy.read()
RUN = "scheduled-2026-02-03T04:30:00Z"
STARTS = ("schedule", "schedule-placeholder", "dry-run", "identity-ids")
MESSAGES = ("refresh-message", "refresh-part", "refresh-replay")


def runtime(running: Cloud, function: str, log: Path) -> AbstractContextManager[Runtime]:
    """A function in Lambda's runtime, with the environment that `rotation up` writes for SAM."""
    handler = TEMPLATE["Resources"][function]["Properties"]["Handler"]
    return runtime_api.running(handler, sam_environments(local_target(running))[function], log)


def event(name: str) -> str:
    return (ROOT / "events" / f"{name}.json").read_text()


def test_every_event_starts_what_it_says(running_cloud, tmp_path):
    """Messages come last, since they are of the run that the schedule starts."""
    ledger = local_target(running_cloud).ledger
    with runtime(running_cloud, "FanOutFunction", tmp_path / "fan-out.log") as fan_out:
        outcomes = {name: fan_out.invoke(event(name)) for name in STARTS}
    assert outcomes["schedule"]["run_id"] == RUN
    assert outcomes["dry-run"]["outcome"] == "dry_run"
    picked = outcomes["identity-ids"]
    assert (picked["outcome"], picked["planned"]) == ("started", len(json.loads(event("identity-ids"))["identity_ids"]))

    run = eventually(lambda: next((run for run in [ledger.runs.read(RUN)] if run and run.closed_at), None))
    assert run.status == "complete"
    with runtime(running_cloud, "RefreshFunction", tmp_path / "refresh.log") as refresh:
        assert [refresh.invoke(event(name)) for name in MESSAGES] == [None] * 3
    with runtime(running_cloud, "DeadLetterFunction", tmp_path / "dead-letter.log") as dead_letter:
        assert dead_letter.invoke(event("dead-letter")) is None
    assert ledger.runs.read(RUN).totals == run.totals


@pytest.mark.parametrize("page", ["README.md", "docs/runbook.md"])
def test_what_a_page_has_people_type_exists(page):
    """Every logical id, event file and variable in a line with `sam` is one that there is."""
    lines = [line for line in (ROOT / page).read_text().splitlines() if "sam local invoke" in line]
    for line in lines:
        assert re.search(r"sam local invoke (\w+)", line)[1] in FUNCTIONS
        assert (ROOT / re.search(r"-e (\S+)", line)[1]).is_file()
        assert f"--env-vars {SAM_ENVIRONMENT}" in line


def test_the_runbook_builds_from_the_template_that_rotation_up_writes():
    """SAM passes on no variable that its template does not name, and the project's own must not name these."""
    declared = TEMPLATE["Globals"]["Function"]["Environment"]["Variables"]
    assert not set(NOT_IN_THE_TEMPLATE) & declared.keys()
    assert f"sam build --template {SAM_TEMPLATE}" in (ROOT / "docs/runbook.md").read_text()
