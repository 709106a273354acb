"""What an operator looks with: `list`, `logs`, `status --follow`, `stop` without a run, and Sentry on one machine."""

import os
import signal
import subprocess
import sys
from pathlib import Path
from queue import Queue
from threading import Thread

from tests.eventually import eventually

INTERRUPTIBLE = """
import signal
from ops.cli import main

signal.signal(signal.SIGINT, signal.default_int_handler)  # whatever this process was told to ignore
main()
"""


def test_runs_are_listed_the_newest_first_with_what_they_came_to(operator):
    older = operator.data("run", "--ids", "5", "--wait")["run_id"]
    newer = operator.data("run", "--ids", "6,7", "--wait")["run_id"]

    runs = operator.data("list", "-n", "2")["runs"]

    assert [(run["run_id"], run["status"], run["planned"]) for run in runs] == [
        (newer, "complete", 2),
        (older, "complete", 1),
    ]
    assert f"{newer} complete" in operator.text("list")
    assert "2 of 2 scanned" in operator.text("list")


def test_the_logs_are_those_of_a_run_and_of_a_level(operator):
    run_id = operator.data("run", "--ids", "5", "--wait")["run_id"]

    lines = eventually(lambda: _with_step(operator.data("logs", run_id)["lines"], "done"))

    assert {line["run_id"] for line in lines} == {run_id}
    assert "plan" in {line["step"] for line in lines}
    assert operator.data("logs", run_id, "--level", "error")["lines"] == []
    assert f"INFO plan {run_id}: " in operator.text("logs", run_id)
    assert "no line of run" in operator.text("logs", run_id, "--level", "critical")


def test_a_tail_shows_new_lines_as_they_come_and_ends_well_with_ctrl_c(operator):
    tail = subprocess.Popen(  # noqa: S603 - our own command
        [sys.executable, "-c", INTERRUPTIBLE, "logs", "--tail"],
        cwd=operator.directory, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    shown = Queue()
    reader = Thread(target=lambda: [shown.put(line) for line in tail.stdout])
    reader.start()

    runs = [operator.data("run", "--ids", ids, "--wait")["run_id"] for ids in ("5", "6")]

    for run_id in runs:
        while f"plan {run_id}: " not in shown.get(timeout=60):
            pass
    tail.send_signal(signal.SIGINT)
    assert tail.wait(timeout=20) == 0
    reader.join(20)
    assert tail.stderr.read() == ""
    tail.stdout.close()
    tail.stderr.close()


def test_a_follow_exits_as_a_wait_does(operator):
    with operator.held() as held:
        run_id = operator.data("run", "--ids", "5,6,7")["run_id"]
        eventually(held)
        assert operator.data("stop")["run_id"] == run_id  # the one that goes on
    assert operator.data("status", run_id, "--follow", code=1)["status"] == "stopped"
    assert operator.data("status", run_id)["status"] == "stopped"
    assert "nothing to stop" in operator.data("stop", code=1)["error"]


def test_force_names_the_run_that_it_would_end_and_asks(operator):
    operator.data("run", "--force", "--yes", "--wait")
    with operator.held() as held:
        first = operator.data("run", "--force", "--yes")["run_id"]
        eventually(held)
        before = operator.target.runs_begun()

        error = operator.data("run", "--force", code=1)["error"]

        assert f"Run {first} is running, and --force would end it" in error
        assert "--yes" in error
        assert operator.target.runs_begun() == before
        operator.data("stop", first, "--now")


def test_sentry_s_web_api_is_there_for_plan_apply_and_migrate(operator, monkeypatch):
    for line in (operator.directory / ".local/sentry.env").read_text().splitlines():
        name, _, value = line.removeprefix("export ").partition("=")
        monkeypatch.setenv(name, value)

    assert len(operator.data("sentry", "plan", code=2)["changes"]) == 3
    assert "--yes" in operator.data("sentry", "apply", code=1)["error"]
    operator.data("sentry", "apply", "--yes")
    assert operator.data("sentry", "plan")["changes"] == []
    checks = {it["check"]: it["status"] for it in operator.data("preflight", code=1)["checks"]}
    assert checks.pop("dashboards") == "failed"
    assert set(checks.values()) == {"ok"}

    saved = operator.data("sentry", "migrate", "--apply")["saved"]

    assert operator.data("preflight")["ok"]
    assert operator.data("sentry", "migrate", "--undo", saved)["put_back"]
    assert "as it was before the migration" in operator.text("sentry", "migrate", "--undo", saved)


def test_a_terminal_of_40_columns_and_a_home_that_cannot_be_written_are_enough(operator):
    rotation = Path(sys.executable).with_name("rotation")
    environment = {"PATH": os.environ["PATH"], "HOME": "/proc", "COLUMNS": "40", "TERM": "dumb"}
    for words in (["list"], ["status"], ["run", "--help"], ["dead-letters"], ["--version"]):
        done = subprocess.run(  # noqa: S603 - our own command
            [rotation, *words], cwd=operator.directory, env=environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
        assert "Traceback" not in done.stderr


def _with_step(lines, step):
    return lines if step in {line.get("step") for line in lines} else None
