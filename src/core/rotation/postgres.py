"""Connections to the station's PostgreSQL, straight or through a pooler; named queries; errors in words.

A pooler in transaction mode (PgBouncer, RDS Proxy) gives each transaction another server connection, and refuses
start-up parameters that it does not know. So a query is one message of the simple protocol, a transaction of its own:
nothing is prepared, and the statement time-out is set inside.
"""

import re
import socket
import ssl
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import lru_cache
from io import BufferedRWPair
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Protocol, cast

from pg8000 import native  # type: ignore[import-untyped]  # ships no type information; Connection is what we use of it
from scramp import ScramException  # type: ignore[import-untyped]  # pg8000's own; no type information either
from scramp.utils import saslprep  # type: ignore[import-untyped]

from core import connecting, settings
from core.clock import Clock
from core.environment import Login

if TYPE_CHECKING:
    from datetime import datetime

MOST_CONNECTIONS: Final = 5
"""Connections of a `Pool` at once."""
IDLE_SECONDS: Final = 300.0
"""Wall seconds after which a kept connection is not trusted: AWS's network forgets one silently after 350."""
_CONNECT_TIMEOUT: Final = 10.0  # seconds, from the name's lookup to the end of the log-in
_WAIT_FOR_ONE: Final = 5.0  # seconds for which a query waits while every connection is in use
_GRACE: Final = 10.0  # seconds beyond the statement time-out, after which it is the network that hangs
_LOGIN_REFUSED: Final = frozenset({"28000", "28P01"})
# Of the session, not of the query: a plan or a statement that a migration or a pooler took away, a server that has
# become a replica.
_NOT_OF_THE_QUERY: Final = frozenset({"0A000", "25006", "26000"})
_NAME: Final = "-- name: "
# A quoted identifier, which the schema is, may hold anything; `::` is a cast.
_PLACE: Final = re.compile(r'"(?:[^"]|"")*"|(?<!:):([a-z_]+)')
# What VERIFY_X509_STRICT, a default since Python 3.13, refuses beyond what was refused before (OpenSSL, x509_vfy.h).
_STRICT: Final = range(80, 95)
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


class Connection(Protocol):
    """What we use of pg8000's connection."""

    _usock: socket.socket
    _sock: BufferedRWPair

    def run(self, sql: str) -> list[list[Any]]: ...

    def close(self) -> None: ...


@contextmanager
def translated(database: settings.Database, what: str) -> Iterator[None]:
    """Raise errors inside as `DatabaseError`; `what` names what was being done."""
    try:
        yield
    except (native.Error, OSError, UnicodeError) as error:  # UnicodeError: a host that no name can be
        at = f"PostgreSQL at {database.host}:{database.port}, database {database.name}"
        # Without the chain: its frames hold the password.
        raise DatabaseError(f"{at}, {what}: {_reason(error)}") from None


def connect(database: settings.Database) -> Connection:
    """Open a connection within 10 s; a password that is refused is fetched anew, once, for it may have been rotated.

    Raises pg8000's errors and OSError, see `translated`; SettingsError for a password that cannot be read or used.
    """
    login = database.password.login()  # before the time starts
    try:
        return _connect(database, login)
    except native.DatabaseError as error:
        if _code(error) not in _LOGIN_REFUSED or not database.password.fetch_anew():
            raise
        anew = database.password.login()
        if anew == login:
            raise
    return _connect(database, anew)


def begun(database: settings.Database, begin: str) -> Connection:
    """Open a connection and begin a transaction on it; raises what `connect` does.

    Behind a pooler the first query may meet a server that has just gone: then once more.
    """
    for last_try in (False, True):
        connection = connect(database)
        try:
            connection.run(begin)
        except BaseException as error:
            disconnect(connection)
            if not isinstance(error, native.Error | OSError) or is_of_the_query(error):
                raise
            if last_try:
                why = "closed at BEGIN twice: a pooler in statement mode does so, transaction mode is needed"
                raise native.InterfaceError(f"{_reason(error)}; {why}") from None
        else:
            break
    return connection


def _connect(database: settings.Database, login: Login) -> Connection:
    over_tls = _is_over_tls(database)
    context = _tls_context(database) if over_tls else False  # None would mean TLS without verifying
    limit = _CONNECT_TIMEOUT
    deadline = time.monotonic() + limit
    try:
        sock = _socket(database.host, database.port, deadline)
        with _broken_off(sock, deadline):
            connection: Connection = _Connection(
                login.username or database.username,
                host=database.host,  # whom the certificate must name
                database=database.name,
                password=login.password or "",  # pg8000 stumbles over None; "" is refused where one is needed
                sock=sock,
                ssl_context=context,
                application_name="rotation-artist-backfill",
            )
    except ScramException as error:  # of the server, its certificate or the role's name; it holds no part of a password
        raise native.InterfaceError(f"no log-in by SCRAM: {error}") from None
    except (native.InterfaceError, OSError):
        if time.monotonic() < deadline:
            raise
        raise TimeoutError(f"no connection within {limit:g} s") from None
    # Longer than a statement may take: PostgreSQL should be the one to give up, with a reason.
    connection._usock.settimeout(database.statement_timeout_ms / 1000 + _GRACE)  # noqa: SLF001 - TLS replaced our socket
    return connection


def _socket(host: str, port: int, deadline: float) -> socket.socket:
    """Connect to a host; one that begins with / is the directory of a socket, as it is to libpq."""
    if not host.startswith("/"):
        return connecting.connect(host, port, deadline)
    sock = socket.socket(socket.AF_UNIX)
    sock.settimeout(max(0.001, deadline - time.monotonic()))
    try:
        sock.connect(f"{host}/.s.PGSQL.{port}")
    except OSError:
        sock.close()
        raise
    return sock


@contextmanager
def _broken_off(sock: socket.socket, deadline: float) -> Iterator[None]:
    """End a connection at the deadline, whatever it is at: a socket's own time-out starts anew with every byte."""
    twin = sock.dup()  # TLS takes the socket over; its twin ends the connection all the same

    def end() -> None:
        with suppress(OSError):
            twin.shutdown(socket.SHUT_RDWR)

    timer = threading.Timer(deadline - time.monotonic(), end)
    timer.daemon = True
    timer.start()
    try:
        yield
    except BaseException:
        with suppress(OSError):
            socket.close(sock.detach())  # sock.close() would wait for pg8000's stream, which nobody closes
        raise
    finally:
        timer.cancel()
        twin.close()


class _Connection(native.Connection):  # type: ignore[misc] # pg8000 has no types
    """Takes every password that PostgreSQL takes."""

    password: bytes
    auth: Any  # scramp's client

    def handle_AUTHENTICATION_REQUEST(self, data: bytes, context: object) -> None:  # noqa: N802 - pg8000's name
        try:
            super().handle_AUTHENTICATION_REQUEST(data, context)
        except ScramException:
            # A password that SASLprep forbids, such as an emoji, PostgreSQL uses as it is (pg_saslprep).
            given: str = self.password.decode()
            if hasattr(self, "auth") or not _is_forbidden(given):
                raise
            self.password = b"stands in"
            super().handle_AUTHENTICATION_REQUEST(data, context)
            self.auth.password.password = given


def _is_forbidden(password: str) -> bool:
    try:
        saslprep(password)
    except ScramException:
        return True
    return False


def disconnect(connection: Connection) -> None:
    """End the session with the server; never raises."""
    stream = connection._sock  # noqa: SLF001 - pg8000 leaves it open when the server is gone already
    with suppress(native.Error, OSError):
        connection.close()
    with suppress(OSError):
        stream.close()


def queries(path: Path, schema: str) -> dict[str, str]:
    """Read the named blocks of a .sql file, with the schema as a quoted identifier and without comments."""
    quoted = cast("str", native.identifier(schema))
    lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
    text = "".join(line for line in lines if line.startswith(_NAME) or not line.startswith("--"))
    named = (block.split("\n", 1) for block in text.split(_NAME)[1:])
    return {name: sql.replace("{schema}", quoted) for name, sql in named}


def filled(sql: str, params: Mapping[str, object]) -> str:
    """Put values, as literals, where a query of `queries` has `:name`."""
    return _PLACE.sub(lambda found: str(native.literal(params[found[1]])) if found[1] else found[0], sql)


class Pool:
    """Connections that are kept between queries; safe for threads, each of which borrows one for a query."""

    def __init__(self, database: settings.Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock
        self._idle: list[tuple[Connection, datetime]] = []
        self._lock = threading.Lock()
        self._closed = False
        self._free = threading.BoundedSemaphore(MOST_CONNECTIONS)

    def run(self, what: str, sql: str, **params: object) -> list[list[Any]]:  # what a query's columns are
        """Run a query, which must do no harm when it is sent twice; raises DatabaseError, which names `what`.

        A kept connection may be one that the server has closed, or that has met a migration: once more on a new one.
        """
        text = f"SET LOCAL statement_timeout = {self._database.statement_timeout_ms}; {filled(sql, params)}"
        with translated(self._database, what):
            if not self._free.acquire(timeout=_WAIT_FOR_ONE):
                raise TimeoutError(f"all {MOST_CONNECTIONS} connections are in use for {_WAIT_FOR_ONE:g} s")
            try:
                try:
                    return self._on(self._kept() or connect(self._database), text)
                except (native.Error, OSError) as error:
                    if is_of_the_query(error):
                        raise
                return self._on(connect(self._database), text)
            finally:
                self._free.release()

    def close(self) -> None:
        """Close what is idle; what a query has borrowed is closed when that ends."""
        with self._lock:
            self._closed = True
            idle, self._idle = self._idle, []
        for connection, _ in idle:
            disconnect(connection)

    def _on(self, connection: Connection, text: str) -> list[list[Any]]:
        try:
            found = connection.run(text)
        except BaseException:
            disconnect(connection)
            raise
        with self._lock:
            kept = not self._closed
            if kept:
                self._idle.append((connection, self._clock.utc()))
        if not kept:
            disconnect(connection)
        return found

    def _kept(self) -> Connection | None:
        """Return the connection that was used last, and let go those that a burst has left: the oldest come first."""
        now, old = self._clock.utc(), list[Connection]()
        with self._lock:
            while self._idle and (now - self._idle[0][1]).total_seconds() >= IDLE_SECONDS:
                old.append(self._idle.pop(0)[0])
            kept = self._idle.pop()[0] if self._idle else None
        for connection in old:
            disconnect(connection)
        return kept


def is_of_the_query(error: Exception) -> bool:
    """True if PostgreSQL refused the query itself, so that another connection would not help."""
    code = _code(error)
    return bool(code) and not code.startswith(("08", "57P")) and code not in _NOT_OF_THE_QUERY


def read_authorities(database: settings.Database) -> None:
    """Read the certificate authorities for later connections; the first connection raises what is wrong with them."""
    if _is_over_tls(database):
        with suppress(OSError):
            _tls_context(database)


def _is_over_tls(database: settings.Database) -> bool:
    return database.tls != "disable" and not database.host.startswith("/")


def _tls_context(database: settings.Database) -> ssl.SSLContext:
    if database.tls == "verify":
        return _trusting(None, ssl.get_default_verify_paths())
    return _trusting(database.tls, Path(database.tls).stat().st_mtime_ns)


@lru_cache(maxsize=1)
def _trusting(bundle: str | None, _which: object) -> ssl.SSLContext:
    """Read a bundle once, and anew when its file has changed: AWS's own has more than a hundred authorities."""
    return ssl.create_default_context(cafile=bundle)


def _code(error: Exception) -> str:
    """Return the SQLSTATE of PostgreSQL's answer; nothing if there was no answer."""
    fields = error.args[0] if isinstance(error, native.DatabaseError) and error.args else None
    return str(fields.get("C", "")) if isinstance(fields, dict) else ""


def _reason(error: Exception) -> str:
    code = _code(error)
    if code:
        advice = _ADVICE.get(code)
        return f"{error.args[0].get('M')} ({code}{'; ' + advice if advice else ''})"
    cause = error.__cause__ or error  # pg8000 says "network error", and why only there
    if isinstance(cause, ssl.SSLCertVerificationError) and cause.verify_code in _STRICT:
        return f"{cause}; Python 3.13 and later refuse such a certificate: the runbook says how to make one anew"
    return f"{type(cause).__name__}: {cause}"
