"""What the picker answers with, and what it keeps: tracks, what a lookup found, what a release holds."""

from collections.abc import Iterable
from hashlib import blake2b
from typing import Annotated, Final, NamedTuple, Self

import msgspec

UNKNOWN_ARTIST: Final = "Unknown artist"
"""Stands where neither the track, nor its release, nor the row names anybody: `artists` is never empty."""


class Track(msgspec.Struct, frozen=True):
    """A track of an answer (docs/design/picker.md)."""

    position: str
    title: str
    duration: str | None
    artists: Annotated[tuple[str, ...], msgspec.Meta(min_length=1)]


class Credit(msgspec.Struct, frozen=True):
    """A track as LML tells it; without credits `artists` is null or empty."""

    position: str
    title: str
    duration: str | None = None
    artists: tuple[str, ...] | None = None


class LookupKey(NamedTuple):
    """What a lookup asks for, and under what its answer is kept: a row whose names were corrected is another one."""

    rotation_id: int
    artist: str
    album: str


class Pick(msgspec.Struct, frozen=True):
    """What a lookup found for a row: a release, or tracks without one, or both; neither is a definite miss."""

    release_id: int | None = None
    tracks: tuple[Credit, ...] = ()

    @property
    def found(self) -> bool:
        return self.release_id is not None or bool(self.tracks)

    @property
    def fetches(self) -> int | None:
        """The release that has to be fetched for the tracks; None when they came along, or there is none."""
        return None if self.tracks else self.release_id


class ReleaseTracks(msgspec.Struct, frozen=True):
    """What LML knows of a release; not `found` is LML's own 404."""

    found: bool
    artist: str | None = None
    tracks: tuple[Credit, ...] = ()

    @property
    def fetches(self) -> int | None:
        return None


class TrackList(msgspec.Struct, frozen=True):
    """What a DJ sees of a row: the tracks, and the same as JSON with its entity tag (RFC 9110, strong, quoted)."""

    tracks: tuple[Track, ...]
    body: bytes
    etag: str
    settled: bool
    """False when LML failed or was in doubt: the next request may get more, so nobody should keep this one."""

    @classmethod
    def of(cls, tracks: Iterable[Track], *, settled: bool) -> Self:
        found = tuple(tracks)
        body = msgspec.json.encode(found)
        return cls(found, body, f'"{blake2b(body, digest_size=12).hexdigest()}"', settled)


def credited(tracks: Iterable[Credit], *artists: str | None) -> list[Track]:
    """Return the tracks as they are answered; one without credits takes the first of `artists` that is a name."""
    stand_in = next((name for name in artists if name and name.strip()), UNKNOWN_ARTIST)
    return [
        Track(
            track.position,
            track.title,
            track.duration,
            tuple(name for name in track.artists or () if name.strip()) or (stand_in,),
        )
        for track in tracks
    ]
