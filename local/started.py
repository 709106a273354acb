"""A journal of what was started on this machine, so that any later command can end it.

A cloud has a directory of its own, and the journal lies in it. Whoever starts the cloud holds the directory locked:
the lock ends with its process, however that ends, and what is not locked and not described was left behind.
"""

import fcntl
import os
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any, Final

import msgspec
import psutil

from local.process import JOURNAL, Process, end

CLOUDS: Final = Path(".local", "clouds")
"""The folder of the clouds of this directory; each has a directory of its own in it."""
PATIENCE: Final = 5.0  # seconds for a server to end when it is asked to


class BusyError(Exception):
    """Another command holds the directory."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One thing that was started, or was about to be; exactly one of the fields is set."""

    process: Process | None = None
    server: str | None = None
    """The directory of a PostgreSQL server: its name is in the command line of each of its programs, and no other's."""
    schema: dict[str, Any] | None = None
    """A `Postgres` that is somebody else's, with a schema of ours in it."""


@contextmanager
def held(directory: Path) -> Iterator[Path]:
    """Hold a directory, which is made, against every other command; raises BusyError, OSError."""
    directory.mkdir(parents=True, exist_ok=True)
    lock = os.open(directory, os.O_RDONLY)
    try:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise BusyError(str(directory)) from None
        yield directory
    finally:
        os.close(lock)


def unwritable(directory: Path) -> str | None:
    """Return why a directory cannot be made or written into; None where it can."""
    directory = directory.absolute()
    nearest = next(it for it in (directory, *directory.parents) if it.exists())
    try:
        with tempfile.TemporaryFile(dir=nearest):
            return None
    except OSError as error:
        return f"{directory.absolute()} cannot be written ({error.strerror})"


@contextmanager
def scratch(name: str) -> Iterator[Path]:
    """Give a directory for as long as the context lasts, with a journal; what is left at the end is ended.

    It is under `.local` of the current directory, where `rotation down` finds it after a kill; a temporary one where
    that cannot be written.
    """
    try:
        CLOUDS.mkdir(parents=True, exist_ok=True)
        directory = Path(tempfile.mkdtemp(prefix=f"{name}-", dir=CLOUDS.absolute()))
    except OSError:
        directory = Path(tempfile.mkdtemp(prefix=f"rotation-{name}-"))
    with held(directory):
        begin(directory)
        try:
            yield directory
        finally:
            end_all(directory)
            with suppress(OSError):
                CLOUDS.rmdir()


def begin(directory: Path) -> None:
    """Make the journal of a directory; from now on whatever is started there is entered into it."""
    directory.mkdir(parents=True, exist_ok=True)
    (directory / JOURNAL).touch(mode=0o600)  # it may hold a database's password


def write_down(directory: Path, entry: Entry) -> None:
    """Write an entry, if the directory has a journal."""
    journal = directory / JOURNAL
    if journal.exists():
        with journal.open("ab") as file:
            file.write(msgspec.json.encode(entry) + b"\n")
            file.flush()
            os.fsync(file.fileno())


def entries(directory: Path) -> list[Entry]:
    """Return what was started in a directory."""
    return _read(directory / JOURNAL)


def end_all(directory: Path) -> None:
    """End all that a directory's journal names, by pid and start time, and delete the directory.

    Raises PostgresError where a schema in somebody else's database cannot be dropped; the journal is kept then.
    """
    from local import postgres  # noqa: PLC0415 - that one writes down here

    journal, ending = directory / JOURNAL, directory / f"{JOURNAL}.ending"
    with suppress(FileNotFoundError):
        journal.rename(ending)  # a process that has not read it yet starts nothing
    found = _read(ending)
    try:
        end([entry.process for entry in found if entry.process is not None])
        for entry in found:
            if entry.server is not None:
                end_server(Path(entry.server))
            if entry.schema is not None:
                postgres.drop(msgspec.convert(entry.schema, postgres.Postgres))
    except BaseException:
        with suppress(FileNotFoundError):
            ending.rename(journal)
        raise
    shutil.rmtree(directory, ignore_errors=True)


def leftovers(folder: Path) -> Iterator[Path]:
    """Yield each directory of a folder that nobody holds, held while it is looked at."""
    for directory in sorted(folder.iterdir()) if folder.is_dir() else ():
        with suppress(BusyError, NotADirectoryError), held(directory):
            yield directory


def end_server(home: Path) -> None:
    """End every program of PostgreSQL that uses a directory, also one that is starting; delete the directory."""
    deadline = time.monotonic() + PATIENCE
    while found := _working_in(home):
        for process in found:
            with suppress(psutil.NoSuchProcess):
                process.send_signal(signal.SIGQUIT if time.monotonic() < deadline else signal.SIGKILL)
        psutil.wait_procs(found, timeout=0.5)
    shutil.rmtree(home, ignore_errors=True)


@contextmanager
def ending_on_signals() -> Iterator[None]:
    """Let SIGTERM and SIGHUP end a command as Ctrl-C does, with what it has started; a second one is ignored."""

    def leave(number: int, _: FrameType | None) -> None:
        for later in (signal.SIGTERM, signal.SIGHUP):
            signal.signal(later, signal.SIG_IGN)
        sys.exit(128 + number)

    before = {number: signal.signal(number, leave) for number in (signal.SIGTERM, signal.SIGHUP)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _read(journal: Path) -> list[Entry]:
    found = []
    with suppress(FileNotFoundError, NotADirectoryError):
        for line in journal.read_bytes().splitlines():
            with suppress(msgspec.DecodeError):  # a kill cut the line short: what it names was not started
                found.append(msgspec.json.decode(line, type=Entry))
    return found


def _working_in(home: Path) -> list[psutil.Process]:
    found = []
    for process in psutil.process_iter(["cmdline"]):
        if process.pid != os.getpid() and any(str(home) in word for word in process.info["cmdline"] or ()):
            found += [process, *_children(process)]
    return found


def _children(process: psutil.Process) -> list[psutil.Process]:
    with suppress(psutil.NoSuchProcess):
        return process.children(recursive=True)
    return []
