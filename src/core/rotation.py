"""The station's rotation table: which identities are active, and how many rows have one. Reads, never writes."""

import socket
import ssl
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from io import BufferedRWPair
from pathlib import Path
from typing import Any, Final, Protocol, Self, cast

from pg8000 import native  # type: ignore[import-untyped]  # ships no type information; _Connection is what we use of it

from core import settings

PAGE_SIZE: Final = 10_000  # ids
_CONNECT_TIMEOUT: Final = 10.0  # seconds
_GRACE: Final = 10.0  # seconds beyond the statement time-out, after which it is the network that hangs
_QUERIES: Final = Path(__file__).with_suffix(".sql")
_ADVICE: Final = {
    "28000": "check DB_USERNAME and DB_TLS",
    "28P01": "check DB_USERNAME and DB_PASSWORD",
    "3D000": "check DB_NAME",
    "3F000": "check WXYC_SCHEMA_NAME",
    "42501": "grant the role USAGE on the schema and SELECT on its rotation table",
    "42703": "the backend's migrations and this version do not fit together",
    "42P01": "check WXYC_SCHEMA_NAME and the backend's migrations",
    "57014": "a lock or a slow disk; DB_STATEMENT_TIMEOUT_MS is the limit",
}


class DatabaseError(Exception):
    """What failed, at which host, port and database, and what to check; never the password."""


@dataclass(frozen=True, slots=True)
class Coverage:
    """How many active rows carry an identity; resolvable ones have a Discogs release."""

    resolvable: int
    resolvable_with_identity: int
    active: int
    active_with_identity: int

    @property
    def percent(self) -> float | None:
        """Coverage of the resolvable rows; None when there are none, which is neither good nor bad."""
        return 100 * self.resolvable_with_identity / self.resolvable if self.resolvable else None


@dataclass(frozen=True, slots=True)
class Row:
    """A rotation row, as much of it as a person needs to find and repair it."""

    id: int
    rotation_bin: str
    artist_name: str | None
    album_title: str | None
    lml_identity_id: int

    def __str__(self) -> str:
        names = f"{self.artist_name or '(no artist)'} - {self.album_title or '(no title)'}"
        return f"rotation {self.id} ({self.rotation_bin}), identity {self.lml_identity_id}: {names}"


class _Connection(Protocol):
    _usock: socket.socket
    _sock: BufferedRWPair

    def run(self, sql: str, **params: object) -> list[list[Any]]: ...

    def close(self) -> None: ...


class Rotation:
    """One snapshot of the rotation: everything is read in one transaction. A context manager."""

    def __init__(self, database: settings.Database, connection: _Connection) -> None:
        self._database = database
        self._connection = connection
        self._sql = _queries(database.schema)

    def begin(self) -> None:
        """Take the snapshot; raises DatabaseError."""
        self._run("begin")

    def coverage(self) -> Coverage:
        """Count active rows with and without an identity (PICKER.md has the formula); raises DatabaseError."""
        return Coverage(*self._run("coverage")[0])

    def unusable_ids(self) -> int:
        """Count active rows whose identity is 0 or below, which LML skips; raises DatabaseError."""
        return int(self._run("unusable_ids")[0][0])

    def identity_ids(self) -> Iterator[int]:
        """Yield every active identity above 0 once, ascending, from pages of PAGE_SIZE; raises DatabaseError."""
        after = 0
        while page := self._run("identity_page", after=after, page_size=PAGE_SIZE):
            yield from (row[0] for row in page)
            after = page[-1][0]

    def rows_of(self, identity_ids: Sequence[int]) -> list[Row]:
        """Return the active rows of some identities, in the order of their ids; raises DatabaseError."""
        return [Row(*row) for row in self._run("rows_of", identity_ids=list(identity_ids))]

    def close(self) -> None:
        """Say goodbye to the server; never raises."""
        stream = self._connection._sock  # noqa: SLF001 - pg8000 leaves it open when the server is gone already
        with suppress(native.Error, OSError):
            self._connection.close()
        with suppress(OSError):
            stream.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _run(self, name: str, **params: object) -> list[list[Any]]:  # what a query's columns are
        with _translated(self._database, name.replace("_", " ")):
            return self._connection.run(self._sql[name], **params)


def connect(database: settings.Database) -> Rotation:
    """Open a connection and take a snapshot; raises DatabaseError, within 10 s if nobody answers."""
    with _translated(database, "connecting"):
        rotation = Rotation(database, _connection(database))
    try:
        rotation.begin()
    except DatabaseError:
        rotation.close()
        raise
    return rotation


@contextmanager
def _translated(database: settings.Database, what: str) -> Iterator[None]:
    try:
        yield
    except (native.Error, OSError, UnicodeError) as error:  # UnicodeError: a host that no name can be
        at = f"PostgreSQL at {database.host}:{database.port}, database {database.name}"
        # Without the chain: its frames hold the password.
        raise DatabaseError(f"{at}, {what}: {_reason(error)}") from None


def _connection(database: settings.Database) -> _Connection:
    context = None if database.tls == "disable" else _tls_context(database.tls)
    sock = socket.create_connection((database.host, database.port), _CONNECT_TIMEOUT)
    try:
        connection: _Connection = native.Connection(
            database.username,
            host=database.host,  # whom the certificate must name
            database=database.name,
            password=database.password.get() or "",  # pg8000 stumbles over None; "" is refused where one is needed
            sock=sock,
            ssl_context=context or False,  # None would mean TLS without verifying
            application_name="rotation-artist-backfill",
            startup_params={"statement_timeout": str(database.statement_timeout_ms)},
        )
    except BaseException:
        with suppress(OSError):
            socket.close(sock.detach())  # sock.close() would wait for pg8000's stream, which nobody closes
        raise
    # Longer than a statement may take: PostgreSQL should be the one to give up, with a reason.
    connection._usock.settimeout(database.statement_timeout_ms / 1000 + _GRACE)  # noqa: SLF001 - TLS replaced our socket
    return connection


def _tls_context(tls: str) -> ssl.SSLContext:
    return ssl.create_default_context(cafile=None if tls == "verify" else tls)


def _queries(schema: str) -> dict[str, str]:
    """Read the named blocks of rotation.sql, with the schema as a quoted identifier."""
    quoted = cast("str", native.identifier(schema))
    blocks = _QUERIES.read_text(encoding="utf-8").split("-- name: ")[1:]
    named = (block.split("\n", 1) for block in blocks)
    return {name: sql.replace("{schema}", quoted) for name, sql in named}


def _reason(error: Exception) -> str:
    if isinstance(error, native.DatabaseError) and isinstance(error.args[0], dict):
        fields: dict[str, str] = error.args[0]
        advice = _ADVICE.get(fields.get("C", ""))
        return f"{fields.get('M')} ({fields.get('C')}{'; ' + advice if advice else ''})"
    cause = error.__cause__ or error  # pg8000 says "network error", and why only there
    return f"{type(cause).__name__}: {cause}"
