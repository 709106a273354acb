"""`rotation loadtest` when something ends it early, or LML is not what it should be."""

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import httpx
import psutil
import pytest
from click.testing import CliRunner

from local import serve
from local.lml import app
from local.world import World
from ops.cli import loadtest
from ops.loadtest import live
from tests.eventually import eventually

# pygal leaves an import hook of the old kind, which Python 3.11 warns of at every import that fails.
pytestmark = pytest.mark.filterwarnings("ignore:PluginImportFixer:ImportWarning")

NOWHERE = "http://127.0.0.1:9"
IDS = World.seeded(8, 1).identity_ids()[:3]
HASTY = """
import signal
from ops import cli
from ops.loadtest import live

signal.signal(signal.SIGINT, signal.default_int_handler)  # whatever this process was told to ignore
live.run.__kwdefaults__["alone_for"] = 0.0
cli.loadtest()
"""
"""The command, beginning its day at once."""
IMPORTED = 1.5
"""Seconds of the processor after which a process of the model is at its days."""


@pytest.fixture
def lml():
    with (
        serve.in_thread(app.build(World.seeded(8, 1), speed=50, token="key")) as url,
        httpx.Client(base_url=url) as http,
    ):
        yield http


@pytest.fixture
def against(lml, tmp_path, monkeypatch):
    """The options of a day of three identities against this LML, whose readers have come before."""
    monkeypatch.setitem(live.run.__kwdefaults__, "alone_for", 6.0)
    monkeypatch.setenv("LML_API_KEY", "key")
    (tmp_path / "ids").write_text("\n".join(map(str, IDS)))
    return ["--lml-url", str(lml.base_url), "--ids", str(tmp_path / "ids"), "--speed", "50"]


def run(*arguments: str):
    return CliRunner().invoke(loadtest, arguments)


def asked_for(lml) -> list[int]:
    return [identity for call in lml.get("/_calls").json() for identity in call["ids"]]


@contextmanager
def begun(*arguments: str, **environment: str) -> Iterator[subprocess.Popen[str]]:
    """The command in a process group of its own, as a terminal's."""
    command = [sys.executable, "-c", HASTY, *arguments]
    with subprocess.Popen(  # noqa: S603 - our own command
        command, env=os.environ | environment, stderr=subprocess.PIPE, text=True, start_new_session=True
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def complaints(process: subprocess.Popen[str]) -> str:
    """What it has said on stderr until its end."""
    _, complaint = process.communicate(timeout=20)
    return complaint


def test_ctrl_c_ends_a_day_though_lml_owes_an_answer(lml, against):
    """Given an LML that holds a refresh and a reading; then neither is waited for, and nothing more is asked."""
    lml.post("/_faults", json=[{"path": path, "hold": True, "times": None} for path in ("refresh", "release")])
    with begun(*against, "--runtime-per-minute", "200") as process:
        asked = eventually(lambda: lml.get("/_asked").json() and asked_for(lml))

        os.killpg(process.pid, signal.SIGINT)
        complaint = complaints(process)

    assert process.returncode == 1
    assert "Aborted!" in complaint
    assert "Traceback" not in complaint
    assert asked_for(lml) == asked


def test_ctrl_c_ends_the_model_and_its_processes():
    with begun("--days", "30") as process:
        command = psutil.Process(process.pid)
        at_work = eventually(lambda: [child for child in command.children() if child.cpu_times().user > IMPORTED])

        os.killpg(process.pid, signal.SIGINT)
        complaint = complaints(process)

    assert process.returncode == 1
    assert "Aborted!" in complaint
    assert not any(child.is_running() for child in at_work)


def test_sigterm_leaves_no_stand_in_behind(tmp_path):
    with begun("--stand-in", "--days", "2", TMPDIR=str(tmp_path)) as process:
        written = eventually(lambda: list(tmp_path.glob("*/lml.url")))
        stand_in = written[0].read_text()

        process.terminate()
        complaint = complaints(process)

    assert process.returncode == 143
    assert "Traceback" not in complaint
    assert not list(tmp_path.iterdir())
    with pytest.raises(httpx.ConnectError):
        httpx.get(stand_in)


@pytest.mark.parametrize("mode", [("--measure-runtime", "60m"), ("--ids", "ids")], ids=["watch", "day"])
def test_an_lml_that_is_away_is_reported_before_anything_begins(tmp_path, monkeypatch, mode):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "ids").write_text("17")

    result = run("--lml-url", NOWHERE, *mode)

    assert result.exit_code == 1
    assert f"GET {NOWHERE}/health: ConnectError" in result.stdout


def test_a_wrong_key_is_reported_before_anything_begins(against, monkeypatch):
    monkeypatch.setenv("LML_API_KEY", "another")

    result = run(*against)

    assert result.exit_code == 1
    assert "check LML_API_KEY" in result.stdout


def test_a_key_that_is_withdrawn_ends_the_day(lml, against):
    lml.post("/_faults", json=[{"path": "refresh", "status": 403, "times": None}])

    result = run(*against)

    assert result.exit_code == 1
    assert "check LML_API_KEY" in result.stdout


def test_a_day_without_any_verdict_is_not_well(lml, against):
    lml.post("/_faults", json=[{"path": "refresh", "status": 413, "times": None}])

    result = run(*against)

    assert result.exit_code == 1
    assert "| identities without a verdict, of 3 | 3 | 2 | **broken** |" in result.stdout


def test_readers_who_get_no_answer_are_counted(lml, against):
    lml.post("/_faults", json=[{"path": "release", "status": 503, "times": None}])

    result = run(*against, "--runtime-per-minute", "60")

    assert result.exit_code == 0
    assert re.search(r"of the readers' calls ([1-9][0-9]*) of \1 got no answer before the job", result.stdout)
