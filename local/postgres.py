"""PostgreSQL on this machine with the backend's tables: an embedded server, or a schema in DATABASE_URL's database."""

import csv
import io
import os
import re
import secrets
import ssl
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict
from datetime import date, timedelta
from pathlib import Path
from typing import Final, Protocol

from pg8000 import native  # type: ignore[import-untyped]  # ships no type information; _Connection is what we use of it

from local import cluster, database_url, started
from local.cluster import PostgresError
from local.database import Postgres
from local.database_url import Address
from local.world import World

__all__ = ["Postgres", "PostgresError", "connected", "load", "start", "stop"]

SCHEMA: Final = "wxyc_schema"
DUPLICATE_SCHEMA: Final = "42P06"


class UnreachableError(PostgresError):
    """No server answers at that address."""


class _Connection(Protocol):
    def run(self, sql: str, stream: Iterable[bytes] | io.StringIO | None = None) -> list[list[date]]: ...

    def close(self) -> None: ...


def start(directory: Path) -> Postgres:
    """Start a server in this directory (as root: in a temporary one), or make a schema in DATABASE_URL's database.

    Raises PostgresError.
    """
    url = os.environ.get("DATABASE_URL")
    return _borrow(url, directory) if url else _embed(directory)


def stop(postgres: Postgres) -> None:
    """Drop what `start` made: the server with all its files (it may have ended), or the schema in a borrowed database.

    Raises PostgresError.
    """
    if postgres.home is None or postgres.binaries is None:
        drop(postgres)
        return
    home = Path(postgres.home)
    try:
        cluster.halt(Path(postgres.binaries), home)
    finally:
        cluster.remove(home)


def drop(postgres: Postgres) -> None:
    """Drop our schema in somebody else's database; a schema of that name without our mark is left alone."""
    with connected(postgres) as connection:
        marked = "SELECT obj_description(oid, 'pg_namespace') FROM pg_namespace WHERE nspname = "
        if connection.run(marked + native.literal(postgres.schema)) == [[postgres.mark]]:
            connection.run(f"DROP SCHEMA {native.identifier(postgres.schema)} CASCADE")


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


def _borrow(url: str, directory: Path) -> Postgres:
    """Make a schema in somebody else's database; the functions connect as the URL's own user."""
    address = database_url.parse(url)
    refused: PostgresError | None = None
    for host, port in address.hosts:
        try:
            return _with_schema(address, host, port, directory)
        except UnreachableError as error:
            refused = error
    raise refused or PostgresError("DATABASE_URL names no host")


def _with_schema(address: Address, host: str, port: int, directory: Path) -> Postgres:
    for schema in (SCHEMA, f"{SCHEMA}_{secrets.token_hex(4)}"):
        postgres = Postgres(
            host=host,
            port=port,
            database=address.database,
            schema=schema,
            tls=address.tls,
            user=address.user,
            password=address.password,
            owner=address.user,
            owner_password=address.password,
            home=None,
            binaries=None,
            options=address.options,
            mark=f"made by rotation {secrets.token_hex(8)}",
        )
        sql = _queries(schema=native.identifier(schema))
        with connected(postgres) as connection:
            try:
                connection.run("BEGIN")
                connection.run(sql["schema"])
                connection.run(f"COMMENT ON SCHEMA {native.identifier(schema)} IS {native.literal(postgres.mark)}")
                connection.run(sql["tables"])
            except native.DatabaseError as error:
                if error.args[0]["C"] != DUPLICATE_SCHEMA:
                    raise PostgresError(
                        f"DATABASE_URL's database makes no schema: {error.args[0]['M']}; grant {address.user} CREATE "
                        f"on database {address.database}, or unset DATABASE_URL"
                    ) from None
                connection.run("ROLLBACK")
            else:
                started.write_down(directory, started.Entry(schema=asdict(postgres)))
                connection.run("COMMIT")
                return postgres
    raise PostgresError(f"{host}: no name is free for a schema")


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
            unix_sock=postgres.socket,
            ssl_context=None if postgres.tls == "disable" or postgres.socket else _tls_context(postgres.tls),
            startup_params={"options": postgres.options} if postgres.options else None,
        )
    except native.InterfaceError as error:
        raise UnreachableError(
            f"{postgres.host}:{postgres.port}: {error.__cause__ or error}{_advice(postgres)}"
        ) from None
    except native.DatabaseError as error:
        fields = error.args[0]
        reason = fields.get("M", fields) if isinstance(fields, dict) else fields
        raise PostgresError(
            f"{postgres.host}:{postgres.port}, user {postgres.owner}, database {postgres.database}: {reason}"
            f"{_advice(postgres)}"
        ) from None
    except (native.Error, OSError) as error:
        raise UnreachableError(f"{postgres.host}:{postgres.port}: {error}{_advice(postgres)}") from None
    try:
        yield connection
    finally:
        connection.close()


def _advice(postgres: Postgres) -> str:
    if postgres.home is not None:
        return "; `rotation down`, then `rotation up` starts a new one"
    return "; correct DATABASE_URL, or unset it for a database of its own"


def _tls_context(tls: str) -> ssl.SSLContext:
    return ssl.create_default_context(cafile=None if tls == "verify" else tls)


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
