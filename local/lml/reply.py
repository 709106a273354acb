"""Sends an answer, whole or as a fault changes it."""

import asyncio
from collections.abc import AsyncIterator
from typing import NamedTuple, Protocol, Self, cast

import msgspec
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from local.lml.faults import Fault
from local.lml.limits import LmlClock


class Reply(NamedTuple):
    status: int
    body: bytes = b""

    @classmethod
    def json(cls, status: int, body: dict[str, object]) -> Self:
        return cls(status, msgspec.json.encode(body))

    @classmethod
    def error(cls, status: int, message: str, details: object = None) -> Self:
        """Return an error in LML's form."""
        return cls.json(status, {"message": message} | ({} if details is None else {"details": details}))


class _Cycle(Protocol):
    transport: asyncio.Transport


class _Receive(Protocol):
    __self__: _Cycle


def deliver(request: Request, reply: Reply, fault: Fault, clock: LmlClock) -> Response:
    """Return the response that carries a reply, changed by the fault."""
    if fault.reset is not None:
        # ASGI cannot reset a connection: uvicorn's `receive` is a method of the object that holds it.
        cast("_Receive", request.receive).__self__.transport.abort()
    body = b" " * fault.padding + reply.body
    headers = {"content-type": "application/json", **fault.headers}
    if not fault.half and fault.dribble is None:
        return Response(body, reply.status, headers)
    slow = _in_halves(body) if fault.half else _in_bytes(body, clock, fault.dribble or 0)
    return StreamingResponse(slow, reply.status, {"content-length": str(len(body)), **headers})


async def _in_halves(body: bytes) -> AsyncIterator[bytes]:
    yield body[: len(body) // 2]
    await asyncio.Event().wait()


async def _in_bytes(body: bytes, clock: LmlClock, seconds: float) -> AsyncIterator[bytes]:
    for i in range(len(body)):
        yield body[i : i + 1]
        await clock.sleep(seconds)
