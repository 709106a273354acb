"""A stand-in for Sentry: keeps the envelopes it receives, and functions that read spans, events and check-ins in them.

`python -m local.sentry --url-file FILE` runs it as a process.
"""

import asyncio
import gzip
import zlib
from argparse import ArgumentParser
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

import msgspec
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from local import sentry_api, serve

DECODERS: Final[dict[str, Callable[[bytes], bytes]]] = {
    "identity": bytes,
    "gzip": gzip.decompress,
    "deflate": zlib.decompress,
}


class EnvelopeItem(msgspec.Struct, frozen=True):
    """One item of an envelope; a payload that is no JSON is kept as text."""

    header: dict[str, object]
    payload: object


class Envelope(msgspec.Struct, frozen=True):
    header: dict[str, object]
    items: list[EnvelopeItem]


class Attribute(msgspec.Struct, frozen=True):
    """An attribute as it travels: `type` is `integer`, `double`, `string`, `boolean` or `array`."""

    value: object
    type: str


class Span(msgspec.Struct, frozen=True, kw_only=True):
    """A streamed span (sentry-sdk's trace_lifecycle "stream"). Times are unix seconds."""

    name: str
    trace_id: str
    span_id: str
    parent_span_id: str | None = None
    status: str | None = None
    is_segment: bool = False
    start_timestamp: float
    end_timestamp: float | None = None
    wire: dict[str, Attribute] = msgspec.field(name="attributes", default_factory=dict)

    @property
    def attributes(self) -> dict[str, object]:
        """The attributes' values by name; `wire` has their types too."""
        return {name: attribute.value for name, attribute in self.wire.items()}


class EnvelopeFault(msgspec.Struct, forbid_unknown_fields=True):
    """What goes wrong with the next `times` envelopes (null: with all); those are not kept."""

    status: int = 503
    hang: float = 0  # seconds before the answer
    headers: dict[str, str] = {}
    times: int | None = None


class Spans(msgspec.Struct):
    items: list[Span]


def dsn(url: str) -> str:
    """Return the DSN that makes an SDK send to the stand-in at this base URL."""
    return f"http://public@{urlsplit(url).netloc}/1"


def spans(envelopes: Iterable[Envelope]) -> list[Span]:
    """Return all streamed spans, in order of arrival."""
    return [span for payload in _payloads(envelopes, "span") for span in msgspec.convert(payload, Spans).items]


def events(envelopes: Iterable[Envelope]) -> list[dict[str, object]]:
    return [msgspec.convert(payload, dict[str, object]) for payload in _payloads(envelopes, "event")]


def check_ins(envelopes: Iterable[Envelope]) -> list[dict[str, object]]:
    return [msgspec.convert(payload, dict[str, object]) for payload in _payloads(envelopes, "check_in")]


def decode(listing: bytes) -> list[Envelope]:
    """Return the envelopes of an answer of `GET /_envelopes`."""
    return msgspec.json.decode(listing, type=list[Envelope])


def parse(body: bytes) -> Envelope:
    """Return the envelope of a request's decompressed body; raises ValueError."""
    head, _, rest = body.partition(b"\n")
    header = msgspec.json.decode(head, type=dict[str, object])
    items = []
    while rest.strip():
        head, _, rest = rest.partition(b"\n")
        item = msgspec.json.decode(head, type=dict[str, object])
        length = item.get("length", rest.find(b"\n") if b"\n" in rest else len(rest))
        if not isinstance(length, int) or not 0 <= length <= len(rest):
            raise ValueError(f"an item of length {length}, where {len(rest)} bytes are left")
        items.append(EnvelopeItem(item, _payload(rest[:length])))
        rest = rest[length:].removeprefix(b"\n")
    return Envelope(header, items)


def build() -> Starlette:
    """Return a fresh stand-in as an ASGI app: what an SDK sends to, and the web API of one organization."""
    envelopes: list[Envelope] = []
    faults: list[EnvelopeFault] = []

    async def receive(request: Request) -> Response:
        body = await request.body()
        if faults:
            return await _failed(faults)
        try:
            decoder = DECODERS[request.headers.get("content-encoding", "identity")]
        except KeyError as encoding:
            return Response(f"content-encoding {encoding} is not known here", 415)
        try:
            envelopes.append(parse(decoder(body)))
        except (ValueError, OSError, EOFError, zlib.error) as error:
            return Response(str(error), 400)
        return Response(b"{}", media_type="application/json")

    async def show(_: Request) -> Response:
        return Response(msgspec.json.encode(envelopes), media_type="application/json")

    async def order_faults(request: Request) -> Response:
        try:
            faults.extend(msgspec.json.decode(await request.body(), type=list[EnvelopeFault]))
        except msgspec.DecodeError as error:
            return Response(str(error), 400)
        return Response(status_code=204)

    async def reset(_: Request) -> Response:
        envelopes.clear()
        faults.clear()
        return Response(status_code=204)

    return Starlette(
        routes=[
            Route("/api/{project}/envelope/", receive, methods=["POST"]),
            Route("/_envelopes", show),
            Route("/_faults", order_faults, methods=["POST"]),
            Route("/_reset", reset, methods=["POST"]),
            *sentry_api.with_old_objects().app().routes,
        ]
    )


async def _failed(faults: list[EnvelopeFault]) -> Response:
    fault = faults[0]
    if fault.times is not None:
        fault.times -= 1
        if fault.times <= 0:
            faults.remove(fault)
    await asyncio.sleep(fault.hang)
    return Response(status_code=fault.status, headers=fault.headers)


def _payloads(envelopes: Iterable[Envelope], kind: str) -> Iterator[object]:
    return (item.payload for envelope in envelopes for item in envelope.items if item.header.get("type") == kind)


def _payload(payload: bytes) -> object:
    try:
        return msgspec.json.decode(payload)
    except msgspec.DecodeError:
        return payload.decode(errors="replace")


def main() -> None:
    parser = ArgumentParser(prog="python -m local.sentry", description="A stand-in for Sentry on 127.0.0.1.")
    parser.add_argument("--url-file", type=Path, required=True, help="gets the base URL when it listens")
    serve.run(build(), parser.parse_args().url_file)


if __name__ == "__main__":
    main()
