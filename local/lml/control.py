"""The stand-in's own routes under `/_`, which LML does not have: its record, and the faults that a test orders."""

from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Final

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from local.lml.discogs import DiscogsTrouble
from local.lml.faults import Fault
from local.lml.orders import Order
from local.lml.records import MINUTE, busiest_minute
from local.lml.service import StandIn

TOO_MANY: Final = 429


class Stats(msgspec.Struct):
    """What the stand-in has counted since it started or was reset; seconds are paced."""

    now: float
    requests: int  # refresh requests, whatever their status
    in_flight: int
    in_flight_most: int
    held: int
    discogs_calls: int
    discogs_calls_by_kind: dict[str, int]
    discogs_calls_refused: int  # answered 429
    sheds_by_kind: dict[str, int]  # calls that the breaker turned away
    most_in_a_minute: int  # calls in any 60 s
    calls_per_minute: dict[int, int]  # by calendar minute, from the first: the unix time of its start, paced
    live_requests: int
    breaker_state: str  # of the first process
    breaker_opened: int
    runtime_seconds: list[float]


def stats(stand_in: StandIn) -> Stats:
    lml = stand_in.lml
    calls = lml.discogs.calls
    return Stats(
        now=stand_in.clock.now(),
        requests=len(stand_in.calls),
        in_flight=stand_in.in_flight,
        in_flight_most=stand_in.in_flight_most,
        held=stand_in.held,
        discogs_calls=len(calls),
        discogs_calls_by_kind=Counter(call.kind for call in calls),
        discogs_calls_refused=sum(call.status == TOO_MANY for call in calls),
        sheds_by_kind=Counter(shed.kind for process in lml.processes for shed in process.sheds),
        most_in_a_minute=busiest_minute([call.at for call in calls]),
        calls_per_minute=Counter(int(call.at // MINUTE * MINUTE) for call in calls),
        live_requests=sum(process.live_requests for process in lml.processes),
        breaker_state=lml.processes[0].breaker.state,
        breaker_opened=sum(len(process.breaker.openings) for process in lml.processes),
        runtime_seconds=[reading.seconds for reading in lml.readers.readings],
    )


def seen(stand_in: StandIn) -> dict[str, object]:
    """Return every call, reading, opening and shed, in paced time, and the first process's breaker as it is."""
    lml = stand_in.lml
    return {
        "breaker": lml.processes[0].breaker.state,
        "calls": lml.discogs.calls,
        "readings": lml.readers.readings,
        "openings": sorted(opening for process in lml.processes for opening in process.breaker.openings),
        "sheds": sorted(shed for process in lml.processes for shed in process.sheds),
    }


def routes(lml: StandIn) -> list[Route]:
    """Return the control routes; a body that does not fit is answered 400 with the reason."""

    async def faults(request: Request) -> None:
        lml.faults.add(msgspec.json.decode(await request.body(), type=list[Fault]))

    async def runtime(request: Request) -> None:
        lml.lml.readers.start(msgspec.json.decode(await request.body(), type=Order))

    async def staging(request: Request) -> None:
        lml.lml.staging.start(msgspec.json.decode(await request.body(), type=Order))

    async def discogs(request: Request) -> None:
        lml.lml.discogs.be(msgspec.json.decode(await request.body(), type=DiscogsTrouble))

    async def release(_: Request) -> None:
        lml.release()

    async def reset(_: Request) -> None:
        lml.forget()

    return [
        _get("/_stats", lambda: stats(lml)),
        _get("/_calls", lambda: lml.calls),
        _get("/_asked", lambda: lml.asked),
        _get("/_discogs", lambda: seen(lml)),
        _get("/_stored", lambda: {"releases": lml.lml.stored.releases, "artists": lml.lml.stored.artists}),
        _post("/_faults", faults),
        _post("/_runtime", runtime),
        _post("/_staging", staging),
        _post("/_discogs", discogs),
        _post("/_release", release),
        _post("/_reset", reset),
    ]


def _get(path: str, value: Callable[[], object]) -> Route:
    async def endpoint(_: Request) -> Response:
        return Response(msgspec.json.encode(value()), media_type="application/json")

    return Route(path, endpoint)


def _post(path: str, act: Callable[[Request], Awaitable[None]]) -> Route:
    async def endpoint(request: Request) -> Response:
        try:
            await act(request)
        except msgspec.DecodeError as error:
            return Response(str(error), 400, media_type="text/plain")
        return Response(status_code=204)

    return Route(path, endpoint, methods=["POST"])
