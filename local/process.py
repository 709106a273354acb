"""Processes that may outlive the command that started them, and that a later command ends."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

JOURNAL: Final = "started.jsonl"
_LAUNCH: Final = Path(__file__).with_name("launch.py")
START_SECONDS: Final = 30.0  # until a server listens, on a loaded machine; an idle one needs two
PATIENCE: Final = 3.0  # seconds between asking a process to end and ending it
SKEW: Final = 2.0  # seconds by which a start time may seem to move when the machine's clock is set
TAIL: Final = 2000  # bytes of a log's end, for the reason why a process ended

# subprocess wants its own processes reaped by their own objects; a command that did not start them has none.
_children: dict[int, subprocess.Popen[bytes]] = {}


class ProcessError(Exception):
    """A process ended, or was not ready in time; the end of its log follows."""


@dataclass(frozen=True, slots=True)
class Process:
    """A process group. `started` is its start time, since another process may get the same number later."""

    pid: int
    started: float
    log: str

    @property
    def alive(self) -> bool:
        """Whether the process still runs; one that ended and waits to be reaped does not."""
        import psutil  # noqa: PLC0415 - 0.02 s that commands need not wait which only read where a cloud is

        with suppress(psutil.NoSuchProcess):
            process = psutil.Process(self.pid)
            return self.started_at(process.create_time()) and process.status() != psutil.STATUS_ZOMBIE
        return False

    def started_at(self, moment: float) -> bool:
        """True if a process of this number was started at this process's time, so that it is no later one."""
        return abs(moment - self.started) < SKEW

    def failure(self, what: str) -> ProcessError:
        """Return an error with this sentence and the end of the log."""
        tail = Path(self.log).read_bytes()[-TAIL:].decode(errors="replace")
        return ProcessError(f"{what}; the end of {self.log}:\n{tail}")


def spawn(command: Sequence[str], log: Path, environment: Mapping[str, str] | None = None) -> Process:
    """Start a command in a session of its own, so that the terminal's Ctrl-C does not end it.

    Where a journal lies beside its log, the process is written down there first (`local.started`).
    """
    journal = log.with_name(JOURNAL)
    if journal.exists():
        command = [sys.executable, "-P", str(_LAUNCH), str(journal), str(log), *command]
    with log.open("wb") as output:
        child = subprocess.Popen(  # noqa: S603 - our own commands
            command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            env=environment,
            start_new_session=True,
        )
    import psutil  # noqa: PLC0415 - as in `alive`

    _children[child.pid] = child
    return Process(child.pid, psutil.Process(child.pid).create_time(), str(log))


def listening(process: Process, what: str, url_file: Path) -> str:
    """Return the base URL that a server writes once it listens; if it does not, end it and raise ProcessError."""
    deadline = time.monotonic() + START_SECONDS
    with ExitStack() as undo:
        undo.callback(end, [process])
        while not url_file.exists():
            if not process.alive or time.monotonic() > deadline:
                raise process.failure(f"{what} did not start")
            time.sleep(0.02)
        undo.pop_all()
    return url_file.read_text()


def end(processes: Sequence[Process]) -> None:
    """End processes and their children: SIGTERM to all, SIGKILL after a few seconds; ended ones are no error."""
    ours = [process for process in processes if _is_ours(process)]
    for process in ours:
        _signal(process, signal.SIGTERM)
    deadline = time.monotonic() + PATIENCE
    while any(process.alive for process in ours) and time.monotonic() < deadline:
        time.sleep(0.01)
    for process in ours:
        _signal(process, signal.SIGKILL)  # the group: children may be left of a process that ended
        child = _children.pop(process.pid, None)
        if child:
            child.wait()


def _is_ours(process: Process) -> bool:
    """True if a signal to the group reaches what we started, and the number was not given to another process."""
    import psutil  # noqa: PLC0415 - as in `alive`

    try:
        return process.started_at(psutil.Process(process.pid).create_time())
    except psutil.NoSuchProcess:
        return True  # a number is not reused while children keep its group; if none do, the signal finds nobody


def _signal(process: Process, number: signal.Signals) -> None:
    with suppress(ProcessLookupError):
        os.killpg(process.pid, number)
