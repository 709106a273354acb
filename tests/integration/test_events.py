"""`events/` by hand: each file through Lambda's own runtime client against the local cloud, as the README says."""

import json
import re
import shlex
import subprocess
import sys
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from local import deploy, runtime_api
from local.cloud import Cloud
from local.runtime_api import RuntimeApi
from local.world import World
from ops.target import local_target
from ops.up import NOT_IN_THE_TEMPLATE, SAM_ENVIRONMENT, SAM_TEMPLATE, sam_environments
from tests.eventually import eventually

ROOT = Path(__file__).parents[2]
TEMPLATE = deploy.read()
README = (ROOT / "README.md").read_text(encoding="utf-8")
ROWS = re.findall(r"^\| `events/([a-z-]+)\.json` \| `(\w+)` \|", README, re.MULTILINE)
RUN = "scheduled-2026-02-03T04:30:00Z"
LINES = [line for line in README.splitlines() if re.match(r"\$ \.venv(-sam/bin/sam|/bin/python -m local\.)", line)]
SAM = ROOT / ".venv-sam/bin/sam"


def runtime(running: Cloud, function: str, log: Path) -> AbstractContextManager[RuntimeApi]:
    """A function in Lambda's runtime, with the environment that `rotation up` writes for SAM."""
    handler = TEMPLATE["Resources"][function]["Properties"]["Handler"]
    return runtime_api.running(handler, sam_environments(local_target(running))[function], log)


def event(name: str) -> str:
    return (ROOT / "events" / f"{name}.json").read_text()


def test_the_readme_has_a_function_for_every_file():
    assert sorted(name for name, _ in ROWS) == sorted(path.stem for path in (ROOT / "events").glob("*.json"))


def test_every_event_does_what_the_readme_says(running_cloud, tmp_path):
    """Messages come after the starts, since they are of the run that the schedule starts."""
    ledger = local_target(running_cloud).ledger

    def answers(function):
        with runtime(running_cloud, function, tmp_path / f"{function}.log") as working:
            return {name: working.invoke(event(name)) for name, its in ROWS if its == function}

    starts = answers("FanOutFunction")
    assert starts["schedule"]["run_id"] == RUN
    assert starts["schedule-placeholder"]["run_id"].count(":") == 0, "a day, not a time"
    assert starts["dry-run"]["outcome"] == "dry_run"
    picked = starts["identity-ids"]
    assert (picked["outcome"], picked["planned"]) == ("started", len(json.loads(event("identity-ids"))["identity_ids"]))

    run = eventually(lambda: next((run for run in [ledger.runs.read(RUN)] if run and run.closed_at), None))
    assert run.status == "complete"
    assert all(answer == {"batchItemFailures": []} for answer in answers("RefreshFunction").values())
    assert answers("DeadLetterFunction") == {"dead-letter": {"batchItemFailures": []}}
    assert ledger.runs.read(RUN).totals == run.totals

    tracks = answers("RotationTracksFunction")["rotation-tracks"]
    assert (tracks["statusCode"], json.loads(tracks["body"])) == (
        200,
        [],
    )  # the demo's row is not here
    (unchecked,) = answers("AuthorizeFunction").values()
    assert unchecked["context"] == {"decision": "keys_unavailable"}
    walk = answers("WarmTracksFunction")["warm-tracks"]
    assert walk["done"]
    assert walk["counters"]["scanned"] > 0


@pytest.mark.parametrize(
    ("function", "name"), [(its, name) for name, its in ROWS if RUN in event(name) and "Records" in event(name)]
)
def test_a_message_of_a_run_that_is_not_here_is_parked_where_a_person_finds_it(running_cloud, tmp_path, function, name):
    """As on a fresh cloud, where nobody has invoked `schedule.json`."""
    other = f"not-here-{name}"
    with runtime(running_cloud, function, tmp_path / "log") as working:
        assert working.invoke(event(name).replace(RUN, other)) == {"batchItemFailures": []}

    assert f"run {other} is not in the ledger" in (tmp_path / "log").read_text()
    sqs, url = running_cloud.client("sqs"), running_cloud.names["ParkedQueue"]
    parked = sqs.receive_message(QueueUrl=url, MaxNumberOfMessages=10, VisibilityTimeout=0, WaitTimeSeconds=5)
    assert [it for it in parked["Messages"] if other in it["Body"]]


def test_the_row_of_the_dj_s_request_is_one_of_the_demo_s_that_have_a_release():
    number = int(json.loads(event("rotation-tracks"))["pathParameters"]["rotation_id"])
    (row,) = [row for row in World.seeded(310).rows if row.id == number]
    assert row.active
    assert row.discogs_release_id


def test_the_readme_s_line_without_a_container_works_as_it_stands(operator):
    (line,) = [line for line in LINES if "local.invoke" in line]
    (operator.directory / "events").symlink_to(ROOT / "events")
    words = shlex.split(line.removeprefix("$ .venv/bin/python"))

    done = subprocess.run(  # noqa: S603 - the README's own line
        [sys.executable, *words], cwd=operator.directory, capture_output=True, text=True, check=False, timeout=60
    )

    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["run_id"] == RUN
    assert '"step":"plan"' in done.stderr


@pytest.mark.parametrize("page", ["README.md", "docs/runbook.md"])
def test_what_a_page_has_people_type_exists(page):
    """Every logical id, event file and environment in a line that invokes a function."""
    text = (ROOT / page).read_text(encoding="utf-8")
    lines = [line for line in text.splitlines() if re.match(r"(\$|   ) .*\binvoke [A-Z]", line)]
    assert len(lines) >= 2
    for line in lines:
        assert re.search(r"invoke (\w+)", line)[1] in TEMPLATE["Resources"]
        assert (ROOT / re.search(r"-e (\S+)", line)[1]).is_file()
        assert f"--env-vars {SAM_ENVIRONMENT}" in line
    assert f"sam build --template {SAM_TEMPLATE}" in text


@pytest.mark.long
@pytest.mark.skipif(not SAM.exists(), reason="`make check` installs the SAM command line")
@pytest.mark.parametrize("command", ["build", "local invoke"])
def test_sam_knows_every_option_that_the_readme_gives_it(command):
    (line,) = [line for line in LINES if line.startswith(f"$ .venv-sam/bin/sam {command} ")]
    usage = subprocess.run([SAM, *command.split(), "--help"], capture_output=True, text=True, check=True).stdout  # noqa: S603
    assert [option for option in re.findall(r" (--?[a-z-]+) ", line) if option not in usage] == []


def test_no_variable_of_this_machine_is_in_the_template():
    """SAM passes on no variable that its template does not name; the one that `rotation up` writes names these too."""
    assert not set(NOT_IN_THE_TEMPLATE) & TEMPLATE["Globals"]["Function"]["Environment"]["Variables"].keys()
