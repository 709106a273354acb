"""`up` and `demo` that are ended in the middle: what they had started is found and ended, exactly that."""

import os
import signal
import subprocess
import sys
from itertools import product
from pathlib import Path

import psutil
import pytest

from local import started
from tests.eventually import eventually
from tests.integration.operating import Operator

ROTATION = Path(sys.executable).with_name("rotation")
COMMANDS = {"up": ("up", "--identities", "3"), "demo": ("demo", "--identities", "40", "--speed", "1", "--json")}


def begin(directory, command):
    return subprocess.Popen(  # noqa: S603 - our own command
        [ROTATION, *COMMANDS[command]], cwd=directory, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    )


def journalled(directory):
    return [entry for cloud in (directory / started.CLOUDS).glob("*") for entry in started.entries(cloud)]


def alive(directory, servers):
    """The processes whose command line names this cloud's files, or its server's."""
    names = [str(directory), *servers]
    return [
        it for it in psutil.process_iter(["cmdline"]) if any(n in " ".join(it.info["cmdline"] or ()) for n in names)
    ]


ENDINGS = [
    pytest.param(
        *ending,
        id="-".join((ending[0], ending[1].name, str(ending[2]))),
        marks=() if ending in {("up", signal.SIGTERM, 1), ("demo", signal.SIGKILL, 1)} else pytest.mark.long,
    )
    for ending in product(COMMANDS, (signal.SIGHUP, signal.SIGTERM, signal.SIGKILL), (1, 4))
]


@pytest.mark.parametrize(("command", "number", "entries"), ENDINGS)
def test_what_was_started_before_a_signal_is_ended_by_it_or_by_down(tmp_path, command, number, entries):
    """While the database is made, while the others start, and while the template is deployed or the run goes on."""
    other = subprocess.Popen(["/bin/sleep", "600"])  # somebody else's
    starting = begin(tmp_path, command)
    eventually(lambda: len(journalled(tmp_path)) >= entries)
    found = journalled(tmp_path)
    servers = [entry.server for entry in found if entry.server]

    starting.send_signal(number)
    starting.communicate(timeout=60)

    assert starting.returncode == (-number if number == signal.SIGKILL else 128 + number)
    if number == signal.SIGKILL:
        assert Operator(tmp_path).data("down")["stopped"]
    eventually(lambda: not alive(tmp_path, servers))
    assert list((tmp_path / ".local").iterdir()) == []
    assert not any(Path(server).exists() for server in servers)
    assert other.poll() is None
    other.kill()
    other.wait()


def test_the_next_up_ends_what_a_killed_one_has_left(tmp_path):
    first = begin(tmp_path, "up")
    eventually(lambda: len(journalled(tmp_path)) >= 3)
    first.kill()
    first.communicate()
    left = [entry.process for entry in journalled(tmp_path) if entry.process]
    assert any(process.alive for process in left)

    Operator(tmp_path).data("up", "--identities", "3")

    assert not any(process.alive for process in left)
    assert Operator(tmp_path).data("down")["clouds"] == ["up"]


@pytest.mark.long
def test_two_that_start_at_once_are_one_cloud_and_one_sentence(tmp_path):
    both = [begin(tmp_path, "up") for _ in range(2)]
    printed = [it.communicate(timeout=90)[1] for it in both]

    assert sorted(it.returncode for it in both) == [0, 1]
    Operator(tmp_path).data("down")
    assert not alive(tmp_path, ())
    assert len([text for text in printed if "PostgreSQL with the rotation" in text]) == 1


@pytest.mark.long
def test_down_leaves_a_demo_alone_that_still_runs(tmp_path):
    demo = begin(tmp_path, "demo")
    try:
        eventually(lambda: len(journalled(tmp_path)) >= 3)
        assert Operator(tmp_path).data("down")["clouds"] == []
        assert demo.poll() is None
        assert journalled(tmp_path)
    finally:
        demo.terminate()
        demo.communicate(timeout=60)


def test_a_cloud_is_found_from_any_folder_below_it(tmp_path):
    below = tmp_path / "some" / "where"
    below.mkdir(parents=True)
    Operator(tmp_path).data("up", "--identities", "3")

    assert "there is no run" in Operator(below).data("status", code=1)["error"]
    assert f"of {tmp_path}" in Operator(below).data("up", code=1)["error"]
    Operator(below).data("down")

    assert list((tmp_path / ".local").iterdir()) == []


def test_a_folder_that_cannot_be_written_is_shown_before_anything_starts(tmp_path):
    (tmp_path / ".local").write_text("a file where the directory should be")

    assert f"{tmp_path / '.local'} cannot be written" in Operator(tmp_path).data("up", code=1)["error"]


def test_a_demo_whose_page_cannot_be_written_says_so_first_and_still_reports_its_totals(tmp_path):
    (tmp_path / ".local").write_text("a file where the directory should be")
    done = subprocess.run(  # noqa: S603 - our own command
        [ROTATION, "demo", "--identities", "5", "--speed", "400"],
        cwd=tmp_path, capture_output=True, text=True, check=False, timeout=120,
        env={**os.environ, "COLUMNS": "200"},
    )  # fmt: skip

    first = done.stdout.splitlines()[0]
    assert "cannot be written" in first
    assert "page will not be kept" in first
    assert "No page of the run" in done.stdout
    assert "is complete" in done.stdout
    assert done.returncode == 0
