"""Starting and ending processes that outlive their starter."""

import psutil

from local import process
from tests.eventually import eventually


def test_a_process_that_ends_before_it_is_ready_says_why(tmp_path):
    short = process.spawn(["/bin/sh", "-c", "echo out of luck; exit 1"], tmp_path / "log")
    eventually(lambda: not short.alive)

    assert "out of luck" in str(short.failure("it ended"))
    process.end([short])


def test_a_number_that_now_belongs_to_somebody_else_is_left_alone(tmp_path):
    other = process.spawn(["/bin/sh", "-c", "exec sleep 60"], tmp_path / "log")
    try:
        process.end([process.Process(pid=other.pid, started=other.started - 100, log=other.log)])
        assert other.alive
    finally:
        process.end([other])
    assert not other.alive


def test_children_of_a_process_that_is_gone_are_ended_too(tmp_path):
    pid_file = tmp_path / "pid"
    parent = process.spawn(["/bin/sh", "-c", f"sleep 60 & echo $! >{pid_file}"], tmp_path / "log")
    child = int(eventually(lambda: pid_file.exists() and pid_file.read_text()))

    process.end([parent])

    eventually(lambda: _is_gone(child))


def _is_gone(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True
