"""LML's two routes for the picker: looking a row up, and a release with its tracks (docs/design/lml.md)."""

from collections.abc import Awaitable, Callable
from itertools import chain, cycle
from random import Random
from typing import Final, Literal, TypeAlias

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from local import names
from local.lml.faults import Fault
from local.lml.process import DiscogsBreakerOpenError
from local.lml.reply import Reply, deliver
from local.lml.service import PickerCall, RequestRefusedError, StandIn, unless_hung_up
from local.world import RELEASE_IDS, Row, World

Shape: TypeAlias = Literal[
    "direct",
    "direct_with_tracks",
    "tracks_without_release",
    "nothing_direct",
    "fallback",
    "alternative",
    "compilation",
    "song_as_artist",
    "none",
    "deadline_exceeded",
    "upstream_unavailable",
    "cache_only",
    "timeout",
]
SHAPES: Final[tuple[Shape, ...]] = (
    "direct",
    "none",
    "direct_with_tracks",
    "tracks_without_release",
    "nothing_direct",
    "compilation",
    "cache_only",
    "timeout",
    "deadline_exceeded",
    "upstream_unavailable",
    "fallback",
    "alternative",
    "song_as_artist",
)
"""The answers to rows of the third tier, in turn, so that a few active rows have every kind of outcome."""
LOST_EVERY: Final = 97  # Discogs has none of the releases whose ids this divides


class LookupBody(msgspec.Struct):
    raw_message: str
    album: str
    extended: bool
    artist: str | None = None


class Catalog:
    """LML's answers for each row of a world; the same world has the same answers."""

    def __init__(self, world: World) -> None:
        third = [row for row in world.rows if _needs_lookup(row, world)]
        ordered = chain((row for row in third if row.active), (row for row in third if not row.active))
        self._rows: dict[tuple[str | None, str], list[int]] = {}
        self.shapes: dict[int, Shape] = {}
        for row, shape in zip(ordered, cycle(SHAPES)):
            self.shapes[row.id] = shape
            for artist in (row.artist_name, None):  # without one: various artists
                self._rows.setdefault((artist, row.album_title or ""), []).append(row.id)

    def rows_of(self, ask: LookupBody) -> list[int]:
        """Return the rows that a lookup may mean."""
        return self._rows.get((ask.artist, ask.album), [])

    def answer(self, rows: list[int]) -> dict[str, object]:
        """Return the body of a lookup; for a row that is not in the world it is a miss."""
        shape = self.shapes[rows[0]] if rows else "none"
        luck = Random(f"lookup/{rows}")  # noqa: S311  reproducible, not secret
        release_id = luck.randrange(*RELEASE_IDS) // LOST_EVERY * LOST_EVERY + 1
        without_release = shape in {"tracks_without_release", "nothing_direct"}
        artwork: dict[str, object] = {"release_id": 0 if without_release else release_id, "tracklist": []}
        if shape in {"direct_with_tracks", "tracks_without_release"}:
            artwork["tracklist"] = tracklist(release_id)
        search_type: str = shape
        if shape in {"direct", "direct_with_tracks", "tracks_without_release", "nothing_direct", "cache_only"}:
            search_type = "direct"
        elif shape in {"timeout", "deadline_exceeded", "upstream_unavailable"}:
            search_type = "none"
        degraded = shape if shape in {"deadline_exceeded", "upstream_unavailable", "cache_only"} else None
        return {
            "search_type": search_type,
            "timeout": shape == "timeout",
            "degraded": degraded is not None,
            "degraded_reason": degraded,
            "results": [] if search_type == "none" else [{"artwork": artwork}],
        }


def tracklist(release_id: int) -> list[dict[str, object]]:
    """Return a release's tracks; on one release in four each names its artists, on the others none does."""
    luck = Random(f"tracks/{release_id}")  # noqa: S311  reproducible, not secret
    compilation = luck.random() < 0.25
    return [
        {
            "position": f"{'AB'[number > 4]}{number}",
            "title": names.album(luck),
            "duration": f"{luck.randrange(2, 9)}:{luck.randrange(60):02}" if luck.random() < 0.8 else None,
            "artists": [names.artist(luck)] if compilation else None,
        }
        for number in range(1, luck.randrange(4, 14))
    ]


class PickerRoutes:
    """The routes; what was asked for once is in LML's cache and costs no Discogs call again."""

    def __init__(self, lml: StandIn, world: World) -> None:
        self._lml = lml
        self._catalog = Catalog(world)
        self._cached: set[tuple[int, ...]] = set()

    def routes(self) -> list[Route]:
        return [
            Route("/api/v1/lookup", self.lookup, methods=["POST"]),
            Route("/api/v1/discogs/release/{release_id:int}", self.release),
        ]

    async def lookup(self, request: Request) -> Response:
        async def work(fault: Fault) -> Reply:
            limits, degraded = self._lml.limits, None
            try:
                if not await self._known((0, *rows), limits.lookup_calls, limits.lookup_seconds):
                    degraded = "upstream_unavailable"
            except DiscogsBreakerOpenError:
                degraded = "cache_only"
            if degraded is None:
                return Reply.json(200, fault.body_of(self._catalog.answer(rows)))
            body = self._catalog.answer([]) | {"degraded": True, "degraded_reason": degraded}
            return Reply.json(200, fault.body_of(body))

        asked = PickerCall(self._lml.clock.now(), "lookup", headers=dict(request.headers), body=await request.body())
        try:
            rows = self._catalog.rows_of(msgspec.json.decode(asked.body, type=LookupBody))
        except msgspec.DecodeError as error:
            self._lml.asked.append(asked)
            asked.status = 422
            reply = Reply.error(422, "Request validation failed", {"errors": str(error)})
            return deliver(request, reply, Fault(), self._lml.clock)
        asked.ids = rows
        return await self._answered(request, asked, work)

    async def release(self, request: Request) -> Response:
        release_id = int(request.path_params["release_id"])

        async def work(fault: Fault) -> Reply:
            lost = release_id % LOST_EVERY == 0
            try:
                known = await self._known((release_id,), 1, self._lml.limits.release_seconds, missing=lost)
            except DiscogsBreakerOpenError as shed:
                return Reply.error(503, type(shed).__name__)
            if lost or not known:  # what failed just now reads as what Discogs has not
                return Reply.json(404, {"detail": f"Release {release_id} not found"})
            artist = names.artist(Random(f"artist/{release_id}"))  # noqa: S311  reproducible, not secret
            body = {"release_id": release_id, "artist": artist, "tracklist": tracklist(release_id)}
            return Reply.json(200, fault.body_of(body))

        asked = PickerCall(self._lml.clock.now(), "release", headers=dict(request.headers), ids=[release_id])
        return await self._answered(request, asked, work)

    async def _answered(
        self, request: Request, asked: PickerCall, work: Callable[[Fault], Awaitable[Reply]]
    ) -> Response:
        """Let a caller in, apply a fault, and note what became of it."""
        self._lml.asked.append(asked)
        fault = Fault()

        async def harmed() -> Reply:
            await self._lml.before(fault)
            await self._lml.clock.sleep(fault.delay)
            instead = fault.instead()
            return await work(fault) if instead is None else Reply(*instead)

        try:
            self._lml.let_in(request)
        except RequestRefusedError as refusal:
            reply = refusal.reply
        else:
            fault = self._lml.faults.take(asked.path, asked.ids)
            reply = await unless_hung_up(request, harmed())
        asked.status, asked.seconds = reply.status, self._lml.clock.now() - asked.at
        return deliver(request, reply, fault, self._lml.clock)

    async def _known(self, key: tuple[int, ...], calls: int, seconds: float, *, missing: bool = False) -> bool:
        """Ask Discogs for what is not cached; False where it gave no answer.

        Raises DiscogsBreakerOpenError.
        """
        if key in self._cached:
            return True
        process = self._lml.lml.worker().process
        answers = [await process.call("runtime", missing=missing) for _ in range(calls)]
        await self._lml.clock.sleep(seconds)
        if any(answer.status not in {200, 404} for answer in answers):
            return False
        self._cached.add(key)
        return True


def _needs_lookup(row: Row, world: World) -> bool:
    """Whether the first two tiers have no release for a row, and the third has names to ask for."""
    if row.discogs_release_id or (row.album_id and world.library.get(row.album_id)):
        return False
    return bool(row.artist_name and row.album_title)
