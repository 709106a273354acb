"""LML's work on a refresh request: what it knows, what it has cached, and what it answers."""

import asyncio
from collections.abc import Sequence
from typing import Literal

import msgspec

from local.lml.discogs import Discogs, DiscogsError
from local.lml.limits import Clock, Limits
from local.world import Release, World

Outcome = Literal["success", "error", "not_implemented"]


class Artist(msgspec.Struct, frozen=True):
    external_id: str
    outcome: Outcome
    message: str | None = None


class Source(msgspec.Struct, frozen=True):
    release_outcome: Outcome
    artists: tuple[Artist, ...] = ()
    message: str | None = None


class Result(msgspec.Struct, frozen=True):
    identity_id: int
    status: Literal["warmed", "not_found", "not_implemented", "error"]
    sources: dict[str, Source] | None = None
    message: str | None = None


class Library:
    """The identities of a world and a cache of releases and artists that fills."""

    def __init__(self, world: World, discogs: Discogs, clock: Clock, limits: Limits) -> None:
        self._world = world
        self._discogs = discogs
        self._clock = clock
        self._limits = limits
        self._releases, self._artists = world.fetched(world.cached)
        self._fetching: dict[tuple[str, int], asyncio.Lock] = {}

    async def refresh(self, identity_ids: Sequence[int]) -> list[Result]:
        """Refresh some identities, at most 10 at once, and return a result for each in the order asked for."""
        at_once = asyncio.Semaphore(self._limits.identities_at_once)

        async def refresh_one(identity_id: int) -> Result:
            async with at_once:
                await self._clock.sleep(self._limits.identity_seconds)
                return await self._refresh(identity_id)

        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(refresh_one(identity_id)) for identity_id in identity_ids]
        return [task.result() for task in tasks]

    async def _refresh(self, identity_id: int) -> Result:
        identity = self._world.identities.get(identity_id)
        if identity is None:
            return Result(identity_id, "not_found", message="no such identity")
        idle = {name: Source("not_implemented") for name in identity.idle_sources}
        if identity.release is None:
            return Result(identity_id, "not_implemented", idle)
        try:
            source = await self._refresh_release(identity.release)
        except DiscogsError as error:
            return Result(identity_id, "error", message=type(error).__name__)
        return Result(identity_id, "warmed", {"discogs_release": source, **idle})

    async def _refresh_release(self, release: Release) -> Source:
        await self._fetch("release", release.id, self._releases)
        if release.tombstone:
            return Source("success", message="Discogs has no such release")
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(self._refresh_artist(artist)) for artist in release.real_artists]
        return Source("success", tuple(task.result() for task in tasks))

    async def _refresh_artist(self, artist: int) -> Artist:
        try:
            await self._fetch("artist", artist, self._artists)
        except DiscogsError as error:
            return Artist(str(artist), "error", type(error).__name__)
        if artist in self._world.failing_artists:
            return Artist(str(artist), "error", "Discogs has no such artist")
        return Artist(str(artist), "success")

    async def _fetch(self, what: str, key: int, cache: set[int]) -> None:
        """Have an answer in the cache, an absence too; callers that want the same one share one call."""
        if key in cache:
            return
        lock = self._fetching.setdefault((what, key), asyncio.Lock())
        async with lock:
            if key not in cache:
                await self._discogs.call("refresh")
                cache.add(key)
        self._fetching.pop((what, key), None)
