"""The stand-in's own routes under `/_`, no part of LML.md: what it saw, and what shall go wrong."""

from collections import Counter
from collections.abc import Awaitable, Callable

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from local.lml.discogs import MINUTE, busiest_minute
from local.lml.faults import Fault
from local.lml.readers import Order
from local.lml.service import StandIn


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
    most_in_a_minute: int  # calls in any 60 s
    calls_per_minute: dict[int, int]  # by calendar minute, from the first: the unix time of its start, paced
    breaker_state: str
    breaker_opened: int
    runtime_seconds: list[float]


def stats(lml: StandIn) -> Stats:
    calls = lml.discogs.calls
    return Stats(
        now=lml.clock.now(),
        requests=len(lml.calls),
        in_flight=lml.in_flight,
        in_flight_most=lml.in_flight_most,
        held=lml.held,
        discogs_calls=len(calls),
        discogs_calls_by_kind=Counter(call.kind for call in calls),
        discogs_calls_refused=sum(call.refused for call in calls),
        most_in_a_minute=busiest_minute([call.at for call in calls]),
        calls_per_minute=Counter(int(call.at // MINUTE * MINUTE) for call in calls),
        breaker_state=lml.discogs.breaker.state,
        breaker_opened=lml.discogs.breaker.opened,
        runtime_seconds=[reading.seconds for reading in lml.readers.readings],
    )


def routes(lml: StandIn) -> list[Route]:
    """Return the control routes; a body that does not fit is answered 400 with the reason."""

    async def faults(request: Request) -> None:
        lml.faults.add(msgspec.json.decode(await request.body(), type=list[Fault]))

    async def runtime(request: Request) -> None:
        lml.readers.start(msgspec.json.decode(await request.body(), type=Order))

    async def release(_: Request) -> None:
        lml.release()

    async def reset(_: Request) -> None:
        lml.forget()

    return [
        _get("/_stats", lambda: stats(lml)),
        _get("/_calls", lambda: lml.calls),
        _get("/_asked", lambda: lml.asked),
        _get("/_discogs", lambda: {"calls": lml.discogs.calls, "readings": lml.readers.readings}),
        _post("/_faults", faults),
        _post("/_runtime", runtime),
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
