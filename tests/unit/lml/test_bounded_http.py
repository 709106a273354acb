"""A request that is given up, wherever that happens, leaves a client that works."""

import sys
import types
from itertools import count

import pytest

from core.lml.http import BoundedHttp, NoReplyError
from tests.wire import Wire, reply


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
