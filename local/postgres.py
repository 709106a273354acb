"""PostgreSQL on this machine with the backend's tables: an embedded server, or a schema in DATABASE_URL's database."""

import csv
import io
import os
import re
import secrets
import ssl
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path
from typing import Final, Protocol
from urllib.parse import parse_qs, unquote, urlsplit

from pg8000 import native  # type: ignore[import-untyped]  # ships no type information; _Connection is what we use of it

from local import cluster
from local.cluster import PostgresError
from local.world import World

__all__ = ["Postgres", "PostgresError", "connected", "load", "start", "stop"]

SCHEMA: Final = "wxyc_schema"
DUPLICATE_SCHEMA: Final = "42P06"


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

    @property
    def borrowed(self) -> str:
        """Where the tables are if the server is not ours, for a sentence."""
        where = f"{self.host}:{self.port}/{self.database}"
        return "" if self.home else f", in schema {self.schema} of DATABASE_URL's {where}"

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
    """Drop what `start` made: the server with all its files, gone already or not, or the schema in a borrowed database.

    Raises PostgresError.
    """
    if postgres.home is None or postgres.binaries is None:
        with connected(postgres) as connection:
            connection.run(f"DROP SCHEMA {native.identifier(postgres.schema)} CASCADE")
        return
    home = Path(postgres.home)
    try:
        cluster.halt(Path(postgres.binaries), home)
    finally:
        cluster.remove(home)


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
    home = cluster.home(directory)
    with ExitStack() as undo:
        undo.callback(cluster.remove, home)
        binaries = cluster.binaries(home)
        undo.callback(cluster.halt, binaries, home)
        owner_password, password = secrets.token_urlsafe(24), secrets.token_urlsafe(24)
        postgres = Postgres(
            host="127.0.0.1",
            port=cluster.serve(binaries, home, owner_password),
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
        undo.pop_all()
    return postgres


def _borrow(url: str) -> Postgres:
    """Make a schema in somebody else's database; the functions connect as the URL's own user."""
    try:
        parts = urlsplit(url)
        port = parts.port or 5432
    except ValueError:  # its message may hold a part of the password
        raise PostgresError("DATABASE_URL is not postgresql://user:password@host:port/database") from None
    user, password = unquote(parts.username or ""), unquote(parts.password or "")
    sslmode = parse_qs(parts.query).get("sslmode", ["disable"])[-1]
    for schema in (SCHEMA, f"{SCHEMA}_{secrets.token_hex(4)}"):
        postgres = Postgres(
            host=parts.hostname or "localhost",
            port=port,
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
                    raise PostgresError(f"DATABASE_URL's database makes no schema: {error.args[0]['M']}") from None
            else:
                connection.run(sql["tables"])
                return postgres
    raise PostgresError(f"{parts.hostname}: no name is free for a schema")


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
