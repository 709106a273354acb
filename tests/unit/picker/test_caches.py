"""What a process remembers: how much, and for how long."""

from typing import NamedTuple

import pytest

from core.picker.caches import Answers, Cache
from core.picker.calls import Background
from tests.virtual import VirtualClock

HOUR = 3600.0


class Number(NamedTuple):
    """An answer; the odd ones are finds."""

    number: int

    @property
    def found(self):
        return self.number % 2 == 1

    @property
    def fetches(self):
        return None


@pytest.fixture
def clock():
    return VirtualClock()


def end(clock, seconds=HOUR):
    return clock.utc().timestamp() + seconds


def test_an_entry_is_gone_at_the_very_end_of_its_life(clock):
    cache = Cache(clock)
    cache.put(1, "answer", end(clock))

    clock.advance(HOUR - 0.001)
    assert cache.get(1) == "answer"
    clock.advance(0.001)
    assert cache.get(1) is None


def test_the_501st_entry_drops_the_one_least_recently_used(clock):
    cache = Cache(clock)
    for key in range(500):
        cache.put(key, key, end(clock))
    cache.get(0)

    cache.put(500, 500, end(clock))

    assert [key for key in range(501) if cache.get(key) is None] == [1]


def test_writing_an_entry_again_drops_none(clock):
    cache = Cache(clock)
    for key in [*range(500), 0]:
        cache.put(key, key, end(clock))

    assert cache.get(1) is not None


def test_the_walk_pushes_nothing_out(clock):
    cache = Cache(clock)
    for key in range(500):
        cache.put(key, key, end(clock))

    cache.put(500, 500, end(clock), evict=False)
    cache.put(3, "newer", end(clock), evict=False)

    assert cache.get(500) is None
    assert cache.get(3) == "newer"
    assert len(cache.items()) == 500


def test_a_look_of_the_walk_makes_no_entry_newer(clock):
    cache = Cache(clock)
    for key in range(500):
        cache.put(key, key, end(clock))
    cache.get(0, touch=False)

    cache.put(500, 500, end(clock))

    assert cache.get(0) is None


def test_what_has_ended_makes_room(clock):
    cache = Cache(clock)
    for key in range(500):
        cache.put(key, key, end(clock, 60))
    clock.advance(60)

    assert cache.items() == []
    cache.put(500, 500, end(clock), evict=False)
    assert cache.get(500) == 500


@pytest.fixture
def answers(clock):
    """Finds live an hour, misses a minute."""
    return Answers(clock, Background(), None, lives=lambda value: (HOUR if value.found else 60.0, 0))


def got(answers, key, value, **how):
    kept, origin = answers.get(key, lambda _: Number(value), **how)
    return kept.value.number, origin


def kept(answers, key):
    found = answers.kept(key)
    return found and found.value.number


def test_misses_do_not_push_out_finds(answers):
    got(answers, 0, 1)
    for key in range(1, 502):
        got(answers, key, 2)

    assert kept(answers, 0) == 1
    assert kept(answers, 1) is None


def test_finds_and_misses_have_lives_of_their_own(answers, clock):
    got(answers, 1, 1)
    got(answers, 2, 2)

    clock.advance(60)
    assert (kept(answers, 1), kept(answers, 2)) == (1, None)
    clock.advance(HOUR - 60)
    assert kept(answers, 1) is None


def test_what_a_fetch_raises_is_not_remembered(answers):
    def trouble(_):
        raise OSError("trouble")

    with pytest.raises(OSError, match="trouble"):
        answers.get(1, trouble)
    assert got(answers, 1, 3) == (3, "fetched")


def test_a_miss_that_becomes_a_find_is_a_find(answers, clock):
    got(answers, 1, 2)
    clock.advance(60)

    assert got(answers, 1, 1) == (1, "fetched")
    assert got(answers, 1, 9) == (1, "cached")
