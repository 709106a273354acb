"""The seeded world of the stand-ins: what the table `rotation` holds, and what LML knows of each identity."""

from collections.abc import Iterable, Iterator
from itertools import count
from pathlib import Path
from random import Random
from typing import Final, Literal, Self

import msgspec

from core.runs.totals import REPORTED_TOTALS
from local import names

KILLED_PER_IDENTITY: Final = 70
KILLED_MOST: Final = 4_000  # production has about 21,000; fewer load faster and show the same
COLD_ARTISTS: Final = (1, 2, 3, 3, 4, 5)  # artists of a release: the load test's statistics
SHARED_ARTISTS: Final = 0.04  # chance that an artist is one of an earlier release
BINS: Final = ("S", "L", "M", "H")
DAYS: Final = 900  # since the oldest row
RELEASE_IDS: Final = (10_000, 9_000_000)
IDLE_SOURCES: Final = ("discogs_master", "musicbrainz_release", "spotify_album", "apple_music_album", "bandcamp")


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """A row of `rotation`. Days count from the database's CURRENT_DATE at load: -1 is yesterday."""

    id: int
    album_id: int | None
    rotation_bin: Literal["S", "L", "M", "H"]
    added: int
    killed: int | None
    artist_name: str | None
    album_title: str | None
    record_label: str | None
    discogs_release_id: int | None
    lml_identity_id: int | None

    @property
    def active(self) -> bool:
        """Whether `kill_date IS NULL OR kill_date > CURRENT_DATE` (docs/design/settings.md)."""
        return self.killed is None or self.killed > 0


class Release(msgspec.Struct, frozen=True):
    """A Discogs release; ids of artists that are not above 0 stand for nobody. Discogs has deleted a tombstone."""

    id: int
    artists: tuple[int, ...] = ()
    tombstone: bool = False

    @property
    def real_artists(self) -> tuple[int, ...]:
        return tuple(artist for artist in self.artists if artist > 0)


class Identity(msgspec.Struct, frozen=True):
    """What LML knows of an identity: at most one source with work behind it, and sources without."""

    id: int
    release: Release | None
    idle_sources: tuple[str, ...] = ()


class World(msgspec.Struct, frozen=True, kw_only=True):
    """Rows, LML's knowledge of their identities, and which of those LML has in its cache at the start."""

    seed: int
    rows: tuple[Row, ...]
    library: dict[int, int | None]  # library_identity: album id -> Discogs release id
    identities: dict[int, Identity]
    failing_artists: frozenset[int]  # Discogs has no such artist; remembered like any other answer
    cached: frozenset[int]

    @classmethod
    def seeded(cls, identities: int = 310, seed: int = 1, warm: bool = False) -> Self:
        """Return the world of a seed, with exactly `identities` ids that a run would plan."""
        rng = Random(seed)  # noqa: S311  reproducible, not secret
        rows = tuple(_rows(rng, identities))
        known, failing = _knowledge(rng, _planned(rows))
        library = {
            row.album_id: row.discogs_release_id or _some_release(rng, chance=0.5) for row in rows if row.album_id
        }
        world = cls(
            seed=seed, rows=rows, library=library, identities=known, failing_artists=failing, cached=frozenset()
        )
        return world.warmed(identities) if warm else world

    def warmed(self, first: int) -> Self:
        """Return this world with the `first` lowest planned identities in LML's cache."""
        return msgspec.structs.replace(self, cached=frozenset(self.identity_ids()[:first]))

    def without_tombstones(self) -> Self:
        """Return this world without the identities whose releases Discogs no longer has: LML does not know them."""
        known = {key: it for key, it in self.identities.items() if it.release is None or not it.release.tombstone}
        return msgspec.structs.replace(self, identities=known)

    def save(self, path: Path) -> None:
        path.write_bytes(msgspec.json.encode(self))

    @classmethod
    def load(cls, path: Path) -> Self:
        return msgspec.json.decode(path.read_bytes(), type=cls)

    def identity_ids(self) -> list[int]:
        """Return the ids that a full run plans, ascending."""
        return _planned(self.rows)

    def rows_of(self, identity_id: int) -> list[Row]:
        """Return the active rows of an identity."""
        return [row for row in self.rows if row.active and row.lml_identity_id == identity_id]

    def stale(self) -> list[int]:
        """Return the planned ids that LML does not know: it answers `not_found`."""
        return [identity for identity in self.identity_ids() if identity not in self.identities]

    def fetched(self, identity_ids: Iterable[int]) -> tuple[set[int], set[int]]:
        """Return the releases and the artists that Discogs is asked for when these identities are refreshed cold."""
        releases = [self.identities[i].release for i in identity_ids if i in self.identities]
        real = [release for release in releases if release is not None]
        return {release.id for release in real}, {artist for release in real for artist in release.real_artists}

    def expected(self, identity_ids: Iterable[int]) -> dict[str, int]:
        """Return the totals when nothing goes wrong (docs/design/formats.md), `artist_errors`, `discogs_calls`."""
        ids = list(identity_ids)
        totals = dict.fromkeys((*REPORTED_TOTALS, "artist_errors", "discogs_calls"), 0)
        totals["identities_scanned"] = totals["identities_resolved"] = len(ids)
        for identity in map(self.identities.get, ids):
            if identity is None:
                totals["not_found"] += 1
            elif identity.release is None:
                totals["not_implemented"] += 1
            else:
                failed = sum(artist in self.failing_artists for artist in identity.release.real_artists)
                totals["warmed_releases"] += 1
                totals["warmed_artists"] += len(identity.release.real_artists) - failed
                totals["artist_errors"] += failed
        cold, warm = self.fetched(ids), self.fetched(self.cached)
        totals["discogs_calls"] = len(cold[0] - warm[0]) + len(cold[1] - warm[1])
        return totals


def _planned(rows: Iterable[Row]) -> list[int]:
    return sorted(
        {row.lml_identity_id for row in rows if row.active and row.lml_identity_id and row.lml_identity_id > 0}
    )


def _rows(rng: Random, identities: int) -> Iterator[Row]:
    """Yield the rows from the oldest to the newest: ids, album ids and identities rise with them."""
    killed = min(KILLED_MOST, 10 + KILLED_PER_IDENTITY * identities)
    leaving = min(identities, 1 + identities // 100)
    recent = (
        ["kept"] * (identities - leaving)
        + ["leaving"] * leaving
        + ["killed"] * (killed // 5)
        + ["ended"] * 2
        + ["unlinked"] * (1 + identities // 60)
        + ["unresolved"] * (identities // 150)  # few: coverage stays at 99 % or more
        + ["zero", "negative"]
    )
    rng.shuffle(recent)
    kinds = ["killed"] * (killed - killed // 5) + recent + ["again"] * min(identities, 1 + identities // 35)
    identity, active = 1_000, list[Row]()
    for number, kind in enumerate(kinds, start=1):
        identity += rng.randrange(1, 9)
        row = Row(
            id=number,
            album_id=2_000 + number if rng.random() < 0.97 else None,
            rotation_bin=rng.choice(BINS),
            added=(number - len(kinds)) * DAYS // len(kinds),
            killed=None,
            artist_name=names.artist(rng) if rng.random() < 0.99 else None,
            album_title=names.album(rng),
            record_label=names.label(rng) if rng.random() < 0.9 else None,
            discogs_release_id=_some_release(rng, chance=0.93),
            lml_identity_id=identity,
        )
        row = msgspec.structs.replace(row, **_changes(rng, kind, row, active))
        if row.active and (row.lml_identity_id or 0) > 0:
            active.append(row)
        yield row


def _changes(rng: Random, kind: str, row: Row, active: list[Row]) -> dict[str, object]:
    """Return what sets a row of this kind apart from a plain active one."""
    changes: dict[str, object] = {}
    match kind:
        case "killed":
            changes["killed"] = min(row.added + rng.randrange(20, 180), max(row.added, -1))
            former = rng.random()
            if former < 0.3:  # from the time before the backend knew LML
                changes["lml_identity_id"] = None
            elif former < 0.32 and active:  # an album that came back
                changes["lml_identity_id"] = rng.choice(active).lml_identity_id
        case "ended":
            changes["killed"] = 0
        case "leaving":
            changes["killed"] = 1
        case "unlinked":
            changes |= {"lml_identity_id": None, "discogs_release_id": None}
        case "unresolved":
            changes |= {"lml_identity_id": None, "discogs_release_id": rng.randrange(*RELEASE_IDS)}
        case "zero" | "negative":
            changes |= {"lml_identity_id": 0 if kind == "zero" else -7, "discogs_release_id": None}
        case "again":
            first = rng.choice(active)
            same = ("album_id", "artist_name", "album_title", "record_label", "discogs_release_id", "lml_identity_id")
            changes |= {name: getattr(first, name) for name in same}
    return changes


def _some_release(rng: Random, *, chance: float) -> int | None:
    return rng.randrange(*RELEASE_IDS) if rng.random() < chance else None


def _knowledge(rng: Random, planned: list[int]) -> tuple[dict[int, Identity], frozenset[int]]:
    """Return what LML knows of the planned ids, and the artists that Discogs has lost."""
    few = len(planned) // 100 or len(planned) // 20
    odd = rng.sample(planned, k=min(len(planned), 4 * few + len(planned) // 300))
    stale, lost, failing, masters = (
        set(odd[a:b]) for a, b in ((0, few), (few, 2 * few), (2 * few, 3 * few), (3 * few, None))
    )
    fresh, seen, lost_artists = count(40_000), list[int](), set[int]()
    known = {}
    for identity in planned:
        idle = tuple(rng.sample(IDLE_SOURCES, k=rng.choice((0, 0, 1, 2))))
        release = rng.randrange(*RELEASE_IDS)
        if identity in stale:
            continue
        if identity in masters:
            known[identity] = Identity(identity, None, ("discogs_master",))
        elif identity in lost:
            known[identity] = Identity(identity, Release(release, tombstone=True), idle)
        else:
            artists = _artists(rng, seen, fresh)
            if identity in failing:
                lost_artists.add(artists[0])
            known[identity] = Identity(identity, Release(release, artists), idle)
    return known, frozenset(lost_artists)


def _artists(rng: Random, seen: list[int], fresh: Iterator[int]) -> tuple[int, ...]:
    """Return the artists of one release, with an id of nobody now and then; new ones are added to `seen`."""
    artists: dict[int, None] = {}
    for _ in range(rng.choice(COLD_ARTISTS)):
        if seen and rng.random() < SHARED_ARTISTS:
            artists[rng.choice(seen)] = None
        else:
            seen.append(next(fresh))
            artists[seen[-1]] = None
    return (*artists, 0) if rng.random() < 0.05 else tuple(artists)
