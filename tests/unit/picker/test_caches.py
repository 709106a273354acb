"""What a process remembers: how much, for how long, and how many ask for it."""

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from core.picker.caches import Answers, Cache, Kept, OneCall
from core.picker.limiter import YieldError
from tests.virtual import VirtualClock

HOUR = 3600.0


@pytest.fixture
def clock():
    return VirtualClock()


def kept(clock, value, seconds=HOUR):
    return Kept(value, clock.utc().timestamp() + seconds, float("inf"))


def test_an_entry_is_gone_at_the_very_end_of_its_life(clock):
    cache = Cache(clock)
    cache.put(1, kept(clock, "answer"))

    clock.advance(HOUR - 0.001)
    assert cache.get(1).value == "answer"
    clock.advance(0.001)
    assert cache.get(1) is None


def test_the_501st_entry_drops_the_one_least_recently_used(clock):
    cache = Cache(clock)
    for key in range(500):
        cache.put(key, kept(clock, key))
    cache.get(0)

    cache.put(500, kept(clock, 500))

    assert [key for key in range(501) if cache.get(key) is None] == [1]


def test_writing_an_entry_again_drops_none(clock):
    cache = Cache(clock)
    for key in [*range(500), 0]:
        cache.put(key, kept(clock, key))

    assert cache.get(1) is not None


@pytest.fixture
def answers(clock):
    """Finds are odd and live an hour, misses live a minute."""
    return Answers(
        clock, None, found=lambda value: value % 2 == 1, lives=lambda value: (HOUR if value % 2 else 60.0, 0)
    )


def test_misses_do_not_push_out_finds(answers):
    answers.get(0, lambda: 1, walk=False)
    for key in range(1, 502):
        answers.get(key, lambda: 2, walk=False)

    assert answers.kept(0, walk=False) == 1
    assert answers.kept(1, walk=False) is None


def test_finds_and_misses_have_lives_of_their_own(answers, clock):
    answers.get(1, lambda: 1, walk=False)
    answers.get(2, lambda: 2, walk=False)

    clock.advance(60)
    assert (answers.kept(1, walk=False), answers.kept(2, walk=False)) == (1, None)
    clock.advance(HOUR - 60)
    assert answers.kept(1, walk=False) is None


def test_what_a_fetch_raises_is_not_remembered(answers):
    def trouble():
        raise OSError("trouble")

    with pytest.raises(OSError, match="trouble"):
        answers.get(1, trouble, walk=False)
    assert answers.get(1, lambda: 3, walk=False) == (3, "fetched")


def test_a_miss_that_becomes_a_find_is_a_find(answers, clock):
    answers.get(1, lambda: 2, walk=False)
    clock.advance(60)

    assert answers.get(1, lambda: 1, walk=False) == (1, "fetched")
    assert answers.get(1, lambda: 9, walk=False) == (1, "cached")


def test_a_dj_takes_over_a_call_that_the_walk_puts_off():
    """Else a DJ would wait for a walk that waits for DJs."""
    calls = OneCall()
    begun, put_off = threading.Event(), threading.Event()

    def walking():
        begun.set()
        put_off.wait(30)
        raise YieldError(1.2)

    with ThreadPoolExecutor(2) as threads:
        walk = threads.submit(calls.run, 1, walking, walk=True)
        begun.wait(30)
        dj = threads.submit(calls.run, 1, lambda: "tracks", walk=False)
        put_off.set()
        assert isinstance(walk.exception(), YieldError)
        assert dj.result() == "tracks"
