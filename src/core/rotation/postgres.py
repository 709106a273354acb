"""Connections to the station's PostgreSQL, the named queries of a .sql file, and errors that a person understands."""

import socket
import ssl
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from io import BufferedRWPair
from pathlib import Path
from typing import Any, Final, Protocol, cast

from pg8000 import native  # type: ignore[import-untyped]  # ships no type information; Connection is what we use of it

from core import settings

_CONNECT_TIMEOUT: Final = 10.0  # seconds
_GRACE: Final = 10.0  # seconds beyond the statement time-out, after which it is the network that hangs
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


class Statement(Protocol):
    """A prepared statement."""

    def run(self, **params: object) -> list[list[Any]]: ...


class Connection(Protocol):
    """What we use of pg8000's connection."""

    _usock: socket.socket
    _sock: BufferedRWPair

    def run(self, sql: str, **params: object) -> list[list[Any]]: ...

    def prepare(self, sql: str) -> Statement: ...

    def close(self) -> None: ...


@contextmanager
def translated(database: settings.Database, what: str) -> Iterator[None]:
    """Raise what goes wrong inside as `DatabaseError`; `what` says what was being done."""
    try:
        yield
    except (native.Error, OSError, UnicodeError) as error:  # UnicodeError: a host that no name can be
        at = f"PostgreSQL at {database.host}:{database.port}, database {database.name}"
        # Without the chain: its frames hold the password.
        raise DatabaseError(f"{at}, {what}: {_reason(error)}") from None


def connect(database: settings.Database) -> Connection:
    """Open a connection within 10 s; raises pg8000's errors and OSError, see `translated`."""
    context = None if database.tls == "disable" else _tls_context(database.tls)
    sock = socket.create_connection((database.host, database.port), _CONNECT_TIMEOUT)
    try:
        connection: Connection = native.Connection(
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


def disconnect(connection: Connection) -> None:
    """Say goodbye to the server; never raises."""
    stream = connection._sock  # noqa: SLF001 - pg8000 leaves it open when the server is gone already
    with suppress(native.Error, OSError):
        connection.close()
    with suppress(OSError):
        stream.close()


def queries(path: Path, schema: str) -> dict[str, str]:
    """Read the named blocks of a .sql file, with the schema as a quoted identifier."""
    quoted = cast("str", native.identifier(schema))
    blocks = path.read_text(encoding="utf-8").split("-- name: ")[1:]
    named = (block.split("\n", 1) for block in blocks)
    return {name: sql.replace("{schema}", quoted) for name, sql in named}


def _tls_context(tls: str) -> ssl.SSLContext:
    return ssl.create_default_context(cafile=None if tls == "verify" else tls)


def _reason(error: Exception) -> str:
    if isinstance(error, native.DatabaseError) and isinstance(error.args[0], dict):
        fields: dict[str, str] = error.args[0]
        advice = _ADVICE.get(fields.get("C", ""))
        return f"{fields.get('M')} ({fields.get('C')}{'; ' + advice if advice else ''})"
    cause = error.__cause__ or error  # pg8000 says "network error", and why only there
    return f"{type(cause).__name__}: {cause}"
