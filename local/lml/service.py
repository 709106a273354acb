"""LML's own two routes over HTTP (docs/design/lml.md): who is let in, what is logged, what a fault changes."""

import asyncio
import hmac
from collections.abc import Coroutine, Iterator, Sequence
from contextlib import contextmanager
from typing import Annotated, Final, Literal

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from local.lml.deployment import Deployment
from local.lml.faults import NO_FAULT, Fault, Faults
from local.lml.library import RefreshResult
from local.lml.limits import Limits, LmlClock
from local.lml.reply import Reply, deliver
from local.world import World

IDS_MOST: Final = 50
HUNG_UP: Final = Reply(499)
UNPROCESSABLE: Final = 422
LATCHED: Final = "Entity store is not available"


class RefreshCall(msgspec.Struct):
    """A refresh request in the log: paced time and seconds, and the answer to each id."""

    at: float
    ids: list[int] = []
    status: int | None = None
    seconds: float | None = None
    results: list[tuple[int, str]] = []


class PickerCall(msgspec.Struct):
    """A request of the picker in the log; `ids` are the rows that it may mean, or its release."""

    at: float
    path: Literal["lookup", "release"]
    headers: dict[str, str]
    body: bytes = b""
    ids: list[int] = []
    status: int | None = None
    seconds: float | None = None


class RequestRefusedError(Exception):
    """A request that LML refuses before any work; `details` is the second field of its body."""

    def __init__(self, status: int, message: str, details: object = None) -> None:
        super().__init__(message)
        self.status = status
        self.details = details

    @property
    def reply(self) -> Reply:
        return Reply.error(self.status, str(self), self.details)


class RefreshBody(msgspec.Struct):
    identity_ids: Annotated[list[int], msgspec.Meta(min_length=1)]


class StandIn:
    """LML behind one address, with a log of its requests for tests."""

    def __init__(
        self, world: World, clock: LmlClock, limits: Limits, token: str | None, commit_sha: str | None
    ) -> None:
        self.clock = clock
        self.lml = Deployment(world, clock, limits)
        self.faults = Faults()
        self.calls: list[RefreshCall] = []
        self.asked: list[PickerCall] = []
        self.in_flight = self.in_flight_most = self.held = 0
        self.limits = limits
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
        self.lml.forget()
        self.in_flight_most = self.in_flight
        self.release()

    async def refresh(self, request: Request) -> Response:
        call, fault = RefreshCall(self.clock.now()), NO_FAULT
        self.calls.append(call)
        body = await request.body()
        try:
            self.let_in(request)
            call.ids = _identity_ids(body)
        except RequestRefusedError as refusal:
            fault = self.faults.take("probe") if refusal.status == UNPROCESSABLE else NO_FAULT
            reply = await unless_hung_up(request, self._refused(refusal, fault))
        else:
            fault = self.faults.take("refresh", call.ids)
            with self._in_flight():
                reply = await unless_hung_up(request, self._refreshed(call, fault))
        call.status, call.seconds = reply.status, self.clock.now() - call.at
        return deliver(request, reply, fault, self.clock)

    async def health(self, request: Request) -> Response:
        fault = self.faults.take("health")
        reply = await unless_hung_up(request, self._checked(fault))
        return deliver(request, reply, fault, self.clock)

    async def _refreshed(self, call: RefreshCall, fault: Fault) -> Reply:
        await self.before(fault)
        try:
            async with asyncio.timeout(self.clock.wall(self.limits.ingress_seconds)):
                await self.clock.sleep(self.limits.round_trip_seconds + fault.delay)
                if (instead := fault.instead()) is not None:
                    return Reply(*instead)
                worker = self.lml.worker()
                if worker.process.latched:
                    return Reply.error(503, LATCHED)
                results = await worker.library.refresh(call.ids)
        except TimeoutError:
            return Reply(502, b"upstream request time-out")
        answers = _changed(results, fault)
        call.results = [(int(str(answer["identity_id"])), str(answer["status"])) for answer in answers]
        return Reply.json(200, fault.body_of({"results": answers}))

    async def _refused(self, refusal: RequestRefusedError, fault: Fault) -> Reply:
        """Answer a body that names no work; an empty list is how callers look for the endpoint."""
        await self.before(fault)
        await self.clock.sleep(self.limits.round_trip_seconds + fault.delay)
        instead = fault.instead()
        return refusal.reply if instead is None else Reply(*instead)

    async def _checked(self, fault: Fault) -> Reply:
        await self.before(fault)
        await self.clock.sleep(fault.delay)
        if (instead := fault.instead()) is not None:
            return Reply(*instead)
        body = await self.lml.worker().health(self._commit_sha)
        return Reply.json(200, fault.body_of(body))

    async def before(self, fault: Fault) -> None:
        """Apply a fault before the work; one of an LML process is applied to all of them."""
        if fault.discogs is not None:
            self.lml.discogs.be(fault.discogs)
        for process in self.lml.processes:
            if fault.restart:
                process.restart()
            if fault.latched:
                process.latched = True
            if fault.breaker is not None:
                process.breaker.force_open(self.clock.now(), fault.breaker)
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
            raise RequestRefusedError(401, "no bearer token")
        if not hmac.compare_digest(token.encode(), self._token.encode()):
            raise RequestRefusedError(403, "wrong bearer token")

    @contextmanager
    def _in_flight(self) -> Iterator[None]:
        self.in_flight += 1
        self.in_flight_most = max(self.in_flight_most, self.in_flight)
        try:
            yield
        finally:
            self.in_flight -= 1


def _identity_ids(body: bytes) -> list[int]:
    """Read a body as LML does: 400 for what is no JSON object or too long, 422 for what has not the right types."""
    try:
        given = msgspec.json.decode(body)
    except msgspec.DecodeError as error:
        raise RequestRefusedError(400, f"Malformed JSON body: {error}") from None
    if not isinstance(given, dict):
        raise RequestRefusedError(400, "Request body must be a JSON object.")
    ids = given.get("identity_ids")
    if isinstance(ids, list) and len(ids) > IDS_MOST:
        raise RequestRefusedError(400, f"Batch exceeded the {IDS_MOST}-item cap (received {len(ids)}).")
    try:
        return msgspec.convert(given, RefreshBody).identity_ids
    except msgspec.ValidationError as error:
        raise RequestRefusedError(UNPROCESSABLE, "Request failed", {"detail": str(error)}) from None


def _changed(results: Sequence[RefreshResult], fault: Fault) -> list[dict[str, object]]:
    """Return the results that are sent: the fault leaves out or replaces those that it is about."""
    answers = []
    for result in results:
        if not fault.concerns(result.identity_id):
            answers.append(msgspec.to_builtins(result))
        elif not fault.omit:
            answers.append(msgspec.to_builtins(result) | (fault.result or {}))
    return answers


async def unless_hung_up(request: Request, work: Coroutine[None, None, Reply]) -> Reply:
    """Return the result of the work; if the caller hangs up, the work is cancelled."""
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
