"""Rotation rows as the picker reads them, over connections that are kept; SQL lies in picker.sql."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

import msgspec

from core import settings
from core.clock import Clock
from core.rotation import postgres
from core.rotation.postgres import DatabaseError

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_QUERIES: Final = Path(__file__).with_name("picker.sql")


class PickerRow(msgspec.Struct, frozen=True):
    """The columns of a row that the tiers use, in the order of the tiers."""

    release_id: int | None
    identity_release_id: int | None
    artist: str | None
    album: str | None
    attempted_at: datetime | None

    @property
    def known_release(self) -> int | None:
        """The release that needs no lookup: the row's own, else the library's; None when neither is above 0."""
        releases = (self.release_id, self.identity_release_id)
        return next((each for each in releases if each is not None and each > 0), None)

    @property
    def names(self) -> tuple[str, str] | None:
        """Artist and album as a lookup asks for them; None when either is missing."""
        artist, album = (self.artist or "").strip(), (self.album or "").strip()
        return (artist, album) if artist and album else None


class Rows:
    """The table `rotation` and what belongs to it; safe for threads, each of which borrows a connection for a query."""

    def __init__(self, database: settings.Database, clock: Clock) -> None:
        self._sql = postgres.queries(_QUERIES, database.schema)
        self._pool = postgres.Pool(database, clock)

    def row(self, rotation_id: int) -> PickerRow | None:
        """Return a row, killed or not; None when there is none. Raises DatabaseError."""
        found = self._run("row", rotation_id=rotation_id)
        return _row(*found[0]) if found else None

    def active(self) -> dict[int, PickerRow]:
        """Return the active rows by their ids; raises DatabaseError."""
        return {rotation_id: _row(*columns) for rotation_id, *columns in self._run("active")}

    def mark_attempt(self, rotation_id: int, at: datetime) -> None:
        """Set a row's negative marker; raises DatabaseError, also where the role may not."""
        self._run("mark_attempt", rotation_id=rotation_id, attempted_at=at)

    def live_activity(self, since: datetime) -> bool:
        """True if a track was logged after a moment; raises DatabaseError."""
        return bool(self._run("live_activity", since=since)[0][0])

    def ping(self) -> None:
        """Run an empty query; raises DatabaseError when the database is away."""
        self._run("ping")

    def close(self) -> None:
        self._pool.close()

    def _run(self, name: str, **params: object) -> list[list[Any]]:  # what a query's columns are
        return self._pool.run(name.replace("_", " "), self._sql[name], **params)


def _row(
    release: int | None, library: int | None, artist: str | None, album: str | None, seconds: float | None
) -> PickerRow:
    return PickerRow(release, library, artist, album, _moment(seconds))


def _moment(seconds: float | None) -> datetime | None:
    """Return a moment from unix seconds; for one outside Python's calendar, infinity too, its first or last moment."""
    if seconds is None:
        return None
    try:
        return _EPOCH + timedelta(seconds=seconds)
    except OverflowError:
        return datetime.max.replace(tzinfo=UTC) if seconds > 0 else datetime.min.replace(tzinfo=UTC)


__all__ = ["DatabaseError", "PickerRow", "Rows"]
