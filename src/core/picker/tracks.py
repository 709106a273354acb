"""What the picker answers with, and what it keeps: tracks, what a lookup found, what a release holds."""

from collections.abc import Sequence
from typing import Annotated, Final

import msgspec

UNKNOWN_ARTIST: Final = "Unknown artist"
"""Stands where neither the track, nor its release, nor the row names anybody: `artists` is never empty."""


class Track(msgspec.Struct, frozen=True):
    """A track of an answer (PICKER.md, "The answer")."""

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


class Pick(msgspec.Struct, frozen=True):
    """What a lookup found for a row: a release, or tracks without one, or both; neither is a definite miss."""

    release_id: int | None = None
    tracks: tuple[Credit, ...] = ()

    @property
    def found(self) -> bool:
        return self.release_id is not None or bool(self.tracks)


class Release(msgspec.Struct, frozen=True):
    """What LML knows of a release; not `found` is Discogs' own 404."""

    found: bool
    artist: str | None = None
    tracks: tuple[Credit, ...] = ()


def credited(tracks: Sequence[Credit], *artists: str | None) -> list[Track]:
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
