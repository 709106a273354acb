"""A request that is given up, wherever that happens, leaves a client that works."""

import gzip
import sys
import time
import tracemalloc
import types
import zlib
from functools import partial
from itertools import count

import pytest

from core.lml.gate import Github
from core.lml.http import BODY_LIMIT, BoundedHttp, NoReplyError
from core.settings import Secret
from tests.wire import Wire, reply

packed = partial(gzip.compress, mtime=0)  # the same bytes, and so the same names of tests, in every worker


@types.coroutine
def late(exchange, at, clock):
    """Run a coroutine, and let a minute pass at the given of its awaits; False if it ends before."""
    awaits, thrown = 0, None
    while True:
        try:
            waits_for = exchange.throw(thrown) if thrown else exchange.send(None)
        except (StopIteration, NoReplyError):
            return awaits >= at
        awaits, thrown = awaits + 1, None
        if awaits == at:
            clock.seconds += 60
        try:
            yield waits_for
        except BaseException as error:  # noqa: BLE001 - what the event loop has for the coroutine
            thrown = error


class LoopClock:
    """The time of an event loop, which a test may set on."""

    def __init__(self, loop):
        self.seconds, self._time = 0, loop.time
        loop.time = self

    def __call__(self):
        return self._time() + self.seconds


async def exchanged(http, url, at, clock):
    return await late(http._exchange("POST", url, 30, None, [1]), at, clock)


@pytest.mark.parametrize("kept", [False, True], ids=["new connection", "kept connection"])
def test_a_request_whose_time_is_over_anywhere_is_not_in_the_way_of_the_next(kept):
    """One that is never let go would have every later request of the environment wait for it, and fail."""
    stuck = []
    with Wire(reply(200, b"[]")) as wire:
        for at in count(1):
            with BoundedHttp() as http:
                clock = LoopClock(http._runner.get_loop())
                if kept:
                    http.send("GET", wire.url, limit=30)
                if not http._runner.run(exchanged(http, wire.url, at, clock)):
                    break
                try:
                    assert http.send("GET", wire.url, limit=1).status == 200
                except NoReplyError:
                    stuck.append(at)
    assert at > 5
    assert stuck == []


def test_a_request_on_a_kept_connection_searches_for_no_package(monkeypatch):
    """Else httpcore looks for sniffio at every lock, and each look goes through the whole path."""
    searched = []

    class Finder:
        def find_spec(self, name, *_):
            searched.append(name)

    with Wire(*[reply(200, b"{}")] * 2) as server, BoundedHttp() as http:
        http.send("GET", server.url, limit=30)
        monkeypatch.setattr(sys, "meta_path", [Finder(), *sys.meta_path])
        http.send("GET", server.url, limit=30)

    assert searched == []


# Bodies that are packed


def body_of(body, encoding):
    with Wire(reply(200, body, {"Content-Encoding": encoding})) as wire, BoundedHttp() as http:
        return bytes(http.send("GET", wire.url, limit=30).body)


@pytest.mark.parametrize(
    ("body", "encoding"),
    [
        (b"[1]", "identity"),
        (b"[1]", ""),
        (packed(b"[1]"), "gzip"),
        (packed(b"[1]"), "GZIP"),
        (packed(b"[1]"), "identity, x-gzip"),
        (zlib.compress(b"[1]"), "deflate"),
    ],
)
def test_a_body_that_a_server_packs_unasked_is_read(body, encoding):
    assert body_of(body, encoding) == b"[1]"


@pytest.mark.parametrize(
    ("body", "encoding", "reason"),
    [
        (b"[1]", "gzip", "not in the encoding"),
        (packed(packed(b"[1]")), "gzip, gzip", "packed 2 times"),
        (packed(packed(packed(b"[1]"))), "gzip, deflate, gzip", "packed 3 times"),
    ],
)
def test_a_body_that_cannot_be_unpacked_is_refused_in_words(body, encoding, reason):
    with pytest.raises(NoReplyError, match=reason) as refused:
        body_of(body, encoding)

    assert refused.value.cause == "malformed"


def test_a_small_body_that_unpacks_to_gigabytes_is_refused_within_the_memory_that_is_promised():
    packed = zlib.compressobj(9, wbits=31)
    block = packed.compress(bytes(1 << 20))
    body = block + b"".join(packed.compress(bytes(1 << 20)) for _ in range(200)) + packed.flush()

    tracemalloc.start()
    with pytest.raises(NoReplyError, match="longer than 16 MiB"):
        body_of(body, "gzip")
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert most < 4 * BODY_LIMIT


# Names


@pytest.mark.usefixtures("hanging")
def test_a_request_ends_at_its_limit_while_its_host_is_being_looked_up_and_so_does_its_client():
    begun = time.monotonic()

    with BoundedHttp() as http, pytest.raises(NoReplyError, match=r"no complete answer within 0\.1 s") as given_up:
        http.send("GET", "http://lml.example:9/", limit=0.1)

    assert time.monotonic() - begun < 5
    assert given_up.value.cause == "timeout"


@pytest.mark.usefixtures("hanging")
def test_the_gate_goes_on_at_its_limit_while_github_is_being_looked_up(monkeypatch):
    monkeypatch.setattr("core.lml.gate._GITHUB_LIMIT", 0.1)
    begun = time.monotonic()

    with pytest.raises(LookupError, match="GitHub gave no answer"):
        Github(Secret("GITHUB_TOKEN", fetch=lambda _arn, _anew: ""), url="http://github.example").compare("abc")

    assert time.monotonic() - begun < 5
