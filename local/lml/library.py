"""LML's work on a refresh request: the identities, the stored answers of Discogs, and the results.

docs/design/lml.md#what-a-failure-looks-like and docs/design/lml.md#what-a-refresh-costs.
"""

import asyncio
from collections.abc import Sequence
from typing import Final, Literal

import msgspec

from core.runs.totals import LmlStatus
from local.lml.discogs import DiscogsAnswer
from local.lml.limits import Limits, LmlClock
from local.lml.process import DiscogsBreakerOpenError, LmlProcess
from local.world import Identity, Release, World

Outcome = Literal["success", "error", "not_implemented"]
_MISSING: Final = 404


class Artist(msgspec.Struct, frozen=True):
    external_id: str
    outcome: Outcome
    message: str | None = None


class Source(msgspec.Struct, frozen=True):
    release_outcome: Outcome
    artists: tuple[Artist, ...] = ()
    message: str | None = None


class RefreshResult(msgspec.Struct, frozen=True):
    identity_id: int
    status: LmlStatus | Literal["error"]
    sources: dict[str, Source] | None = None
    message: str | None = None


class Stored:
    """What PostgreSQL holds of Discogs, for all processes: releases and artists, absences too. Nothing ages."""

    def __init__(self, world: World) -> None:
        self.releases, self.artists = world.fetched(world.cached)
        self.fetching: dict[tuple[str, int], asyncio.Lock] = {}


class Library:
    """The identities of a world as one process of LML refreshes them."""

    def __init__(self, world: World, stored: Stored, process: LmlProcess, clock: LmlClock, limits: Limits) -> None:
        self._world = world
        self._stored = stored
        self._process = process
        self._clock = clock
        self._limits = limits

    async def refresh(self, identity_ids: Sequence[int]) -> list[RefreshResult]:
        """Refresh some identities, at most 10 at once, and return a result for each in the order asked for."""
        if len(identity_ids) == 1:
            return [await self._refresh_one(identity_ids[0])]
        at_once = asyncio.Semaphore(self._limits.identities_at_once)

        async def in_turn(identity_id: int) -> RefreshResult:
            async with at_once:
                return await self._refresh_one(identity_id)

        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(in_turn(identity_id)) for identity_id in identity_ids]
        return [task.result() for task in tasks]

    async def _refresh_one(self, identity_id: int) -> RefreshResult:
        async with self._process.bulk_permits:
            await self._clock.sleep(self._limits.identity_seconds)
            identity = self._world.identities.get(identity_id)
            if identity is None:
                return RefreshResult(identity_id, "not_found")
            return await self._refresh(identity)

    async def _refresh(self, identity: Identity) -> RefreshResult:
        sources = {name: Source("not_implemented") for name in identity.idle_sources}
        if identity.release is not None:
            sources = {"discogs_release": await self._refresh_release(identity.release), **sources}
        return RefreshResult(identity.id, _status(sources), sources)

    async def _refresh_release(self, release: Release) -> Source:
        """Refresh a release first and then its artists, one after another.

        Every failure but a shed reads as success: a release that could not be fetched looks like one that is gone.
        """
        try:
            known = await self._fetch("release", release.id, self._stored.releases, missing=release.tombstone)
        except DiscogsBreakerOpenError as shed:
            return Source("error", message=type(shed).__name__)
        if not known or release.tombstone:
            return Source("success")
        return Source("success", tuple([await self._refresh_artist(artist) for artist in release.real_artists]))

    async def _refresh_artist(self, artist: int) -> Artist:
        try:
            await self._fetch("artist", artist, self._stored.artists)
        except DiscogsBreakerOpenError as shed:
            return Artist(str(artist), "error", type(shed).__name__)
        if artist in self._world.failing_artists:
            return Artist(str(artist), "error", "ValidationError")
        return Artist(str(artist), "success")

    async def _fetch(self, what: str, key: int, stored: set[int], *, missing: bool = False) -> bool:
        """Have an answer stored, also a 404; False where Discogs gave no answer that can be stored.

        Callers that want the same one share one call. No document says so: without it the accounts of a day could
        differ by a call or two.
        """
        if key in stored:
            return True
        lock = self._stored.fetching.setdefault((what, key), asyncio.Lock())
        async with lock:
            if key not in stored and _settles(await self._process.call("refresh", low=True, missing=missing)):
                stored.add(key)
        self._stored.fetching.pop((what, key), None)
        return key in stored


def _settles(answer: DiscogsAnswer) -> bool:
    """Whether an answer settles that Discogs has the object, or that it has not."""
    return answer.status is not None and (answer.status < 300 or answer.status == _MISSING)


def _status(sources: dict[str, Source]) -> LmlStatus | Literal["error"]:
    """Return the status that LML makes of several sources: one that is not wired hides another one's error."""
    outcomes = {source.release_outcome for source in sources.values()}
    if "success" in outcomes:
        return "warmed"
    return "not_implemented" if "not_implemented" in outcomes or not sources else "error"
