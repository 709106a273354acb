"""Rotation rows as the picker reads them, over connections that are kept; SQL lies in picker.sql."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any, Final

import msgspec
from pg8000 import native  # type: ignore[import-untyped]  # ships no type information; core.rotation.postgres has what we use

from core import settings
from core.clock import Clock
from core.rotation import postgres
from core.rotation.postgres import Connection, DatabaseError, Statement

IDLE_SECONDS: Final = 300.0
"""Wall seconds after which a kept connection is not trusted: AWS's network forgets one silently after 350."""
_QUERIES: Final = Path(__file__).with_name("picker.sql")


class Row(msgspec.Struct, frozen=True):
    """What the tiers know of a row, in their order."""

    release_id: int | None
    identity_release_id: int | None
    artist: str | None
    album: str | None
    attempted_at: datetime | None


class _Session(msgspec.Struct):
    """A connection with its prepared statements, used by one thread at a time."""

    connection: Connection
    idle_since: datetime
    statements: dict[str, Statement] = {}

    def run(self, name: str, sql: str, params: dict[str, object]) -> list[list[Any]]:  # what a query's columns are
        statement = self.statements.get(name)
        if statement is None:
            statement = self.statements[name] = self.connection.prepare(sql)
        return statement.run(**params)


class Rows:
    """The table `rotation` and what belongs to it; safe for threads, each of which borrows a connection for a query."""

    def __init__(self, database: settings.Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock
        self._sql = postgres.queries(_QUERIES, database.schema)
        self._idle: list[_Session] = []

    def row(self, rotation_id: int) -> Row | None:
        """Return a row, killed or not; None when there is none. Raises DatabaseError."""
        found = self._run("row", rotation_id=rotation_id)
        return Row(*found[0]) if found else None

    def active_ids(self, *, after: int = 0) -> list[int]:
        """Return the ids of the active rows above `after`, ascending; raises DatabaseError."""
        return [row[0] for row in self._run("active_ids", after=after)]

    def mark_attempt(self, rotation_id: int, at: datetime) -> None:
        """Set a row's negative marker; raises DatabaseError, also where the role may not."""
        self._run("mark_attempt", rotation_id=rotation_id, attempted_at=at)

    def live_activity(self, since: datetime) -> bool:
        """Say whether a track was logged after a moment; raises DatabaseError."""
        return bool(self._run("live_activity", since=since)[0][0])

    def ping(self) -> None:
        """Ask the database for nothing; raises DatabaseError when it is away."""
        self._run("ping")

    def close(self) -> None:
        while self._idle:
            postgres.disconnect(self._idle.pop().connection)

    def _run(self, name: str, **params: object) -> list[list[Any]]:  # what a query's columns are
        with postgres.translated(self._database, name.replace("_", " ")):
            kept = self._kept()
            if kept is not None:
                try:
                    return self._on(kept, name, params)
                except (native.Error, OSError) as error:
                    if _is_answer(error):
                        raise
            # None was kept, or the server had closed it: every query here may be sent twice.
            return self._on(_Session(postgres.connect(self._database), self._clock.utc()), name, params)

    def _on(self, session: _Session, name: str, params: dict[str, object]) -> list[list[Any]]:
        with _closed_on_failure(session):
            found = session.run(name, self._sql[name], params)
        session.idle_since = self._clock.utc()
        self._idle.append(session)
        return found

    def _kept(self) -> _Session | None:
        while True:
            try:
                session = self._idle.pop()
            except IndexError:  # of the threads that look at once, one gets it
                return None
            if (self._clock.utc() - session.idle_since).total_seconds() < IDLE_SECONDS:
                return session
            postgres.disconnect(session.connection)


@contextmanager
def _closed_on_failure(session: _Session) -> Iterator[None]:
    try:
        yield
    except BaseException:
        postgres.disconnect(session.connection)
        raise


def _is_answer(error: Exception) -> bool:
    """Say whether PostgreSQL itself refused the query, and did not just end the session (57P01 and its kin)."""
    if not isinstance(error, native.DatabaseError) or not isinstance(error.args[0], dict):
        return False
    return not str(error.args[0].get("C", "")).startswith("57P")


__all__ = ["IDLE_SECONDS", "DatabaseError", "Row", "Rows"]
