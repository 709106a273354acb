"""LML's own two routes, as LML.md has them: who is let in, what is logged, what a fault changes."""

import asyncio
import hmac
from collections.abc import Coroutine, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from typing import Final, Literal

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from local.lml.discogs import Discogs, DiscogsError
from local.lml.faults import NO_FAULT, Fault, Faults
from local.lml.library import Library, Result
from local.lml.limits import Clock, Limits
from local.lml.readers import Readers
from local.lml.reply import Reply, deliver
from local.world import World

IDS_MOST: Final = 50
HUNG_UP: Final = Reply(499)


class Call(msgspec.Struct):
    """A refresh request as the log keeps it: paced time and seconds, and what each id was told."""

    at: float
    ids: list[int] = []
    status: int | None = None
    seconds: float | None = None
    results: list[tuple[int, str]] = []


class Asked(msgspec.Struct):
    """A request of the picker as the log keeps it; `ids` are the rows it may mean, or its release."""

    at: float
    path: Literal["lookup", "release"]
    headers: dict[str, str]
    body: bytes = b""
    ids: list[int] = []
    status: int | None = None
    seconds: float | None = None


class RefusedError(Exception):
    """A request that LML turns away before any work."""

    def __init__(self, status: int, detail: str) -> None:
        super().__init__(detail)
        self.status = status


class Ask(msgspec.Struct):
    identity_ids: list[int]


class StandIn:
    """One LML process: its limits, its caches, its counters, and what a test wants to know of it."""

    def __init__(self, world: World, clock: Clock, limits: Limits, token: str | None, commit_sha: str | None) -> None:
        self.clock = clock
        self.discogs = Discogs(clock, limits, world.seed)
        self.readers = Readers(self.discogs, clock)
        self.faults = Faults()
        self.calls: list[Call] = []
        self.asked: list[Asked] = []
        self.in_flight = self.in_flight_most = self.held = 0
        self._library = Library(world, self.discogs, clock, limits)
        self._limits = limits
        self._token = token
        self._commit_sha = commit_sha
        self._released = asyncio.Event()

    def release(self) -> None:
        """Let every held request go on."""
        self._released.set()
        self._released = asyncio.Event()

    def forget(self) -> None:
        """Clear the logs and the faults; caches, limits and LML's own counter stay."""
        self.faults.clear()
        self.calls.clear()
        self.asked.clear()
        self.discogs.calls.clear()
        self.readers.readings.clear()
        self.in_flight_most = self.in_flight
        self.release()

    async def refresh(self, request: Request) -> Response:
        call, fault = Call(self.clock.now()), NO_FAULT
        self.calls.append(call)
        body = await request.body()
        try:
            self.let_in(request)
            call.ids = _identity_ids(body)
        except RefusedError as refusal:
            reply = Reply.json(refusal.status, {"detail": str(refusal)})
        else:
            fault = self.faults.take("refresh" if call.ids else "probe", call.ids)
            with self._in_flight() if call.ids else nullcontext():
                reply = await unless_hung_up(request, self._refreshed(call, fault))
        call.status, call.seconds = reply.status, self.clock.now() - call.at
        return deliver(request, reply, fault, self.clock)

    async def health(self, request: Request) -> Response:
        fault = self.faults.take("health")
        reply = await unless_hung_up(request, self._checked(fault))
        return deliver(request, reply, fault, self.clock)

    async def _refreshed(self, call: Call, fault: Fault) -> Reply:
        await self.before(fault)
        try:
            async with asyncio.timeout(self.clock.wall(self._limits.ingress_seconds)):
                await self.clock.sleep(self._limits.round_trip_seconds + fault.delay)
                if (instead := fault.instead()) is not None:
                    return Reply(*instead)
                if not call.ids:
                    return Reply.json(422, {"detail": "identity_ids: one at least"})
                results = await self._library.refresh(call.ids)
        except TimeoutError:
            return Reply(502, b"upstream request time-out")
        answers = _changed(results, fault)
        call.results = [(int(str(answer["identity_id"])), str(answer["status"])) for answer in answers]
        return Reply.json(200, fault.body_of({"results": answers}))

    async def _checked(self, fault: Fault) -> Reply:
        await self.before(fault)
        await self.clock.sleep(fault.delay)
        if (instead := fault.instead()) is not None:
            return Reply(*instead)
        try:
            await self.discogs.call("health")
        except DiscogsError:
            status, service = "degraded", "unavailable"
        else:
            status, service = "healthy", "ok"
        body: dict[str, object] = {
            "status": status,
            "version": "stand-in",
            "commit_sha": self._commit_sha,
            "discogs_breaker_state": self.discogs.breaker.state,
            "discogs_live_requests_total": self.discogs.live_requests,
            "services": {"database": "ok", "discogs_api": service},
        }
        return Reply.json(200, fault.body_of(body))

    async def before(self, fault: Fault) -> None:
        """Do what a fault does before the work."""
        if fault.restart:
            self.discogs.live_requests = 0
        if fault.breaker is not None:
            self.discogs.breaker.open(fault.breaker)
        if fault.hold:
            self.held += 1
            try:
                await self._released.wait()
            finally:
                self.held -= 1

    def let_in(self, request: Request) -> None:
        """Check the token; raises RefusedError."""
        if self._token is None:
            return
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        if scheme.lower() != "bearer" or not token:
            raise RefusedError(401, "no bearer token")
        if not hmac.compare_digest(token.encode(), self._token.encode()):
            raise RefusedError(403, "wrong bearer token")

    @contextmanager
    def _in_flight(self) -> Iterator[None]:
        self.in_flight += 1
        self.in_flight_most = max(self.in_flight_most, self.in_flight)
        try:
            yield
        finally:
            self.in_flight -= 1


def _identity_ids(body: bytes) -> list[int]:
    try:
        ids = msgspec.json.decode(body, type=Ask).identity_ids
    except msgspec.DecodeError as error:
        raise RefusedError(400, str(error)) from None
    if len(ids) > IDS_MOST:
        raise RefusedError(400, f"identity_ids: {len(ids)} of at most {IDS_MOST}")
    return ids


def _changed(results: Sequence[Result], fault: Fault) -> list[dict[str, object]]:
    """Return the results as they go out: those that the fault concerns are left out or stand-ins."""
    answers = []
    for result in results:
        if not fault.concerns(result.identity_id):
            answers.append(msgspec.to_builtins(result))
        elif not fault.omit:
            answers.append(msgspec.to_builtins(result) | (fault.result or {}))
    return answers


async def unless_hung_up(request: Request, work: Coroutine[None, None, Reply]) -> Reply:
    """Return what the work makes; a caller that hangs up cancels what is left of it."""
    task = asyncio.create_task(work)
    gone = asyncio.create_task(_hung_up(request))
    try:
        await asyncio.wait({task, gone}, return_when=asyncio.FIRST_COMPLETED)
        return task.result() if task.done() else HUNG_UP
    finally:
        gone.cancel()
        task.cancel()


async def _hung_up(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass
