"""In what order the walk visits the rows, so that none is starved; pure."""

from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from typing import Final, NamedTuple

import msgspec

from core.picker.caches import ENTRIES, Standing
from core.picker.rows import PickerRow

MARKER_LIFE: Final = timedelta(days=7)


class Last(NamedTuple):
    """What a row was last asked under, and how the answer stands."""

    artist: str
    album: str
    standing: Standing


class Survey(msgspec.Struct):
    """The kept answers: the latest pick by row, releases by their id, and when the walk last asked LML for a row."""

    picks: dict[int, Last] = {}
    releases: dict[int, Standing] = {}
    turns: dict[int, float] = {}


class Plan(NamedTuple):
    """The rows of a walk in their order, and how many it leaves out because nothing could keep their answers."""

    rows: list[int]
    left_out: int


def marker_stands(row: PickerRow, last: Last | None, now: datetime) -> bool:
    """Whether a row's negative marker ends the search.

    It does for seven days; not where the row's names have changed since an answer for it was kept, and not against a
    positive answer under these names that came after the marker.
    """
    if row.attempted_at is None or now - row.attempted_at >= MARKER_LIFE:
        return False
    if last is None:
        return True
    if (last.artist, last.album) != row.names:
        return False
    return not (last.standing.found and last.standing.at >= row.attempted_at.timestamp())


def plan(rows: Mapping[int, PickerRow], survey: Survey, now: datetime, *, releases: bool, room: bool) -> Plan:
    """Put the active rows in order: those without an answer first, then the oldest answers, then what needs no LML.

    Of the rows without an answer those come first that the walk has never asked LML for, the newest (highest id)
    before the oldest; then those whose turn was longest ago. So a row that always fails cannot starve the others,
    nor can rows whose answers end before the walks have come by all. Without `room` (a process that shares with
    nobody) rows without an answer are left out beyond what the caches can hold.
    """
    ranked = sorted((_rank(number, row, survey, now, releases=releases), -number) for number, row in rows.items())
    order = [-number for _, number in ranked]
    if room:
        return Plan(order, 0)
    missing = sum(not rank.answered for rank, _ in ranked)
    free = max(0, ENTRIES - max(_living(survey.releases.values(), now), _living(_standings(survey), now)))
    left_out = max(0, missing - free)
    return Plan(order[: missing - left_out] + order[missing:], left_out)


class _Rank(NamedTuple):
    """What rows are sorted by; `turn` is when the row was last asked for, in seconds since 1970, 0 for never."""

    answered: bool
    turn: float


def _rank(rotation_id: int, row: PickerRow, survey: Survey, now: datetime, *, releases: bool) -> _Rank:
    nothing_to_ask = _Rank(True, now.timestamp())
    standings: list[Standing | None] = []
    release_id = row.known_release
    if release_id is None:
        last = survey.picks.get(rotation_id)
        if row.names is None or marker_stands(row, last, now):
            return nothing_to_ask
        pick = last.standing if last is not None and (last.artist, last.album) == row.names else None
        standings.append(pick)
        release_id = pick.release_id if pick is not None else None
    if releases and release_id is not None:
        standings.append(survey.releases.get(release_id))
    if not standings:
        return nothing_to_ask
    kept = [standing for standing in standings if standing is not None]
    if len(kept) == len(standings) and all(standing.until > now.timestamp() for standing in kept):
        return _Rank(True, min(standing.at for standing in kept))
    return _Rank(False, survey.turns.get(rotation_id, 0.0))


def _standings(survey: Survey) -> Iterable[Standing]:
    return (last.standing for last in survey.picks.values())


def _living(standings: Iterable[Standing], now: datetime) -> int:
    return sum(standing.found and standing.until > now.timestamp() for standing in standings)
