"""From a rotation row to its tracks, by the three tiers (PICKER.md); every answer says how it came about."""

from collections.abc import Callable
from datetime import timedelta
from typing import Final, Literal, TypeAlias

import msgspec
from msgspec.structs import replace

from core.clock import Clock
from core.picker.caches import DAY, SHARED_LIFE, Answers, Origin, SharedLevel
from core.picker.limiter import Limiter, YieldError
from core.picker.lookup import LookupClient, UnsureError
from core.picker.rows import DatabaseError, Row, Rows
from core.picker.tracks import Credit, Pick, Release, Track, credited

MARKER_LIFE: Final = timedelta(days=7)
NOT_FOUND_LIFE: Final = 600.0
"""Seconds for which a release that Discogs does not have is remembered, here and in the shared level."""

How: TypeAlias = Literal[
    "no_row",
    "release",  # tier 1
    "identity",  # tier 2
    "marker",
    "no_names",
    "remembered",  # by this process or, in the shared level, by another
    "lml_positive",
    "lml_negative",
    "failed",
]
"""How a row was resolved; the warm-up counts by it."""


class Source(msgspec.Struct, frozen=True, kw_only=True):
    """Where a row's tracks come from: a release to fetch, or tracks that came with the lookup, or nowhere."""

    how: How
    release_id: int | None = None
    tracks: tuple[Credit, ...] = ()
    artist: str | None = None
    """The row's own, for tracks without credits."""
    error: Exception | None = None
    """Why it `failed`: of a lookup's failure the DJ sees an empty list, and the warm-up the reason."""


class Resolver:
    """Resolves rows and fetches releases; DJs and the walk go the same way. Safe for threads.

    `warn` hears of what costs no answer: a marker that could not be set.
    """

    def __init__(
        self,
        rows: Rows,
        lml: LookupClient,
        limiter: Limiter,
        clock: Clock,
        warn: Callable[[Exception], None],
        *,
        shared_picks: SharedLevel[Pick] | None = None,
        shared_releases: SharedLevel[Release] | None = None,
    ) -> None:
        self.rows = rows
        self._lml = lml
        self._limiter = limiter
        self._clock = clock
        self._warn = warn
        self._picks = Answers(clock, shared_picks, found=_pick_found, lives=_pick_lives)
        self._releases = Answers(clock, shared_releases, found=_release_found, lives=_release_lives)

    def tracks(self, rotation_id: int) -> list[Track]:
        """Return what a DJ sees of a row; raises DatabaseError, and what `release` raises."""
        source = self.resolve_rotation_source(rotation_id)
        if source.tracks:
            return credited(source.tracks, source.artist)
        if source.release_id is None:
            return []
        release, _ = self.release(source.release_id)
        return credited(release.tracks, release.artist, source.artist)

    def resolve_rotation_source(self, rotation_id: int, *, walk: bool = False) -> Source:
        """Find a row's source by the tiers, in their order; raises DatabaseError, and for the walk YieldError.

        Nothing else that goes wrong in tier 3 escapes: the answer is then a `failed` source, and nothing is kept.
        """
        row = self.rows.row(rotation_id)
        if row is None:
            return Source(how="no_row")
        if row.release_id is not None and row.release_id > 0:
            return Source(how="release", release_id=row.release_id, artist=row.artist)
        if row.identity_release_id is not None and row.identity_release_id > 0:
            return Source(how="identity", release_id=row.identity_release_id, artist=row.artist)
        if row.attempted_at is not None and self._clock.utc() - row.attempted_at < MARKER_LIFE:
            return Source(how="marker")
        return replace(self._tier_3(rotation_id, row, walk=walk), artist=row.artist)

    def release(self, release_id: int, *, walk: bool = False) -> tuple[Release, Origin]:
        """Return a release and where that came from; raises AnswerError, RefusedError, for the walk YieldError."""
        return self._releases.get(release_id, lambda: self._fetched(release_id, walk=walk), walk=walk)

    def close(self) -> None:
        self.rows.close()
        self._lml.close()

    def _tier_3(self, rotation_id: int, row: Row, *, walk: bool) -> Source:
        artist, album = (row.artist or "").strip(), (row.album or "").strip()
        if not artist or not album:
            kept = self._picks.kept(rotation_id, walk=walk)
            return Source(how="no_names") if kept is None else _source(kept, "cached")
        try:
            return _source(
                *self._picks.get(rotation_id, lambda: self._looked_up(rotation_id, artist, album, walk=walk), walk=walk)
            )
        except UnsureError as error:
            return replace(_source(error.pick, "fetched"), how="failed", error=error)
        except YieldError:
            raise
        except Exception as error:  # noqa: BLE001 - whatever keeps LML or the shared level away costs only the tracks
            return Source(how="failed", error=error)

    def _looked_up(self, rotation_id: int, artist: str, album: str, *, walk: bool) -> Pick:
        with self._limiter.admitted(walk=walk):
            pick = self._lml.lookup(artist, album)
        if not pick.found:
            try:
                self.rows.mark_attempt(rotation_id, self._clock.utc())
            except DatabaseError as error:  # without the grant the caches alone remember the miss
                self._warn(error)
        return pick

    def _fetched(self, release_id: int, *, walk: bool) -> Release:
        with self._limiter.admitted(walk=walk):
            return self._lml.release(release_id)


def _source(pick: Pick, origin: Origin) -> Source:
    asked: How = "lml_positive" if pick.found else "lml_negative"
    return Source(how=asked if origin == "fetched" else "remembered", release_id=pick.release_id, tracks=pick.tracks)


def _pick_found(pick: Pick) -> bool:
    return pick.found


def _release_found(release: Release) -> bool:
    return release.found


def _pick_lives(_: Pick) -> tuple[float, float]:
    return DAY, SHARED_LIFE


def _release_lives(release: Release) -> tuple[float, float]:
    return (DAY, SHARED_LIFE) if release.found else (NOT_FOUND_LIFE, NOT_FOUND_LIFE)
