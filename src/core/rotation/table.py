"""The station's rotation table: which identities are active, and how many rows have one. Reads, never writes."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, Self

import msgspec

from core import settings
from core.rotation import postgres
from core.rotation.postgres import DatabaseError

__all__ = ["PAGE_SIZE", "Coverage", "DatabaseError", "Rotation", "RotationRow", "UncoveredRow", "connect"]

PAGE_SIZE: Final = 10_000  # ids
_QUERIES: Final = Path(__file__).with_name("rotation.sql")


class Coverage(msgspec.Struct, frozen=True):
    """How many active rows carry an identity; resolvable ones have a Discogs release."""

    resolvable: int
    resolvable_with_identity: int
    active: int
    active_with_identity: int

    @property
    def percent(self) -> float | None:
        """Coverage of the resolvable rows; None when there are none, which is neither good nor bad."""
        return 100 * self.resolvable_with_identity / self.resolvable if self.resolvable else None


class RotationRow(msgspec.Struct, frozen=True):
    """A rotation row, as much of it as a person needs to find and repair it."""

    id: int
    rotation_bin: str
    artist_name: str | None
    album_title: str | None
    lml_identity_id: int

    def __str__(self) -> str:
        names = _names(self.artist_name, self.album_title)
        return f"rotation {self.id} ({self.rotation_bin}), identity {self.lml_identity_id}: {names}"


class UncoveredRow(msgspec.Struct, frozen=True):
    """An active row that Discogs could resolve, without the identity that LML needs."""

    id: int
    rotation_bin: str
    artist_name: str | None
    album_title: str | None

    def __str__(self) -> str:
        return f"rotation {self.id} ({self.rotation_bin}): {_names(self.artist_name, self.album_title)}"


class Rotation:
    """One snapshot of the rotation: everything is read in one transaction. A context manager."""

    def __init__(self, database: settings.Database, connection: postgres.Connection, sql: Mapping[str, str]) -> None:
        self._database = database
        self._connection = connection
        self._sql = sql

    def coverage(self) -> Coverage:
        """Count active rows with and without an identity (docs/design/settings.md); raises DatabaseError."""
        return Coverage(*self._run("coverage")[0])

    def uncovered_rows(self) -> list[UncoveredRow]:
        """Return the rows that keep coverage from being 100 %, in the order of their ids; raises DatabaseError."""
        return [UncoveredRow(*row) for row in self._run("uncovered_rows")]

    def unusable_ids(self) -> int:
        """Count active rows whose identity is 0 or below, which LML skips; raises DatabaseError."""
        return int(self._run("unusable_ids")[0][0])

    def identity_ids(self) -> Iterator[int]:
        """Yield every active identity above 0 once, ascending, from pages of PAGE_SIZE; raises DatabaseError."""
        after = 0
        while page := self._run("identity_page", after=after, page_size=PAGE_SIZE):
            yield from (row[0] for row in page)
            after = page[-1][0]

    def rows_of(self, identity_ids: Sequence[int]) -> list[RotationRow]:
        """Return the active rows of some identities, in the order of their ids; raises DatabaseError."""
        return [RotationRow(*row) for row in self._run("rows_of", identity_ids=list(identity_ids))]

    def close(self) -> None:
        """End the session with the server; never raises."""
        postgres.disconnect(self._connection)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _run(self, name: str, **params: object) -> list[list[Any]]:  # what a query's columns are
        with postgres.translated(self._database, name.replace("_", " ")):
            return self._connection.run(postgres.filled(self._sql[name], params))


def connect(database: settings.Database) -> Rotation:
    """Open a connection and take a snapshot; raises DatabaseError, within 10 s if nobody answers, and SettingsError."""
    sql = postgres.queries(_QUERIES, database.schema)
    begin = postgres.filled(sql["begin"], {"statement_timeout": database.statement_timeout_ms})
    with postgres.translated(database, "connecting"):
        return Rotation(database, postgres.begun(database, begin), sql)


def _names(artist: str | None, title: str | None) -> str:
    return f"{artist or '(no artist)'} - {title or '(no title)'}"
