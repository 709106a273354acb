"""The way to LML: 5 at once, 50 a minute, 5 s of queueing, a breaker, and a walk that stands back for DJs."""

import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.clock import SystemClock
from core.picker.limiter import Limiter, LmlBusyError, OwnMeter, YieldError, spend
from core.picker.lookup import AnswerError, UnsureError
from tests.virtual import VirtualClock

MINUTE = 60_000


@pytest.fixture
def clock():
    return VirtualClock()


@pytest.fixture
def limiter(clock):
    return Limiter(OwnMeter(), clock)


def call(limiter, request="lookup", *, walk=False):
    with limiter.admitted(request, walk=walk):
        pass


def time_out(limiter, times, request="lookup"):
    for _ in range(times):
        with suppress(AnswerError), limiter.admitted(request):
            raise AnswerError("a request", "timeout", "no answer")


def test_fifty_calls_pass_at_once_and_then_one_every_1200_ms(limiter, clock):
    for _ in range(53):
        call(limiter)

    assert clock.sleeps == [pytest.approx(1.2, abs=0.01)] * 3


def test_a_quiet_minute_fills_the_bucket_and_no_more(limiter, clock):
    for _ in range(50):
        call(limiter)
    clock.advance(3600)
    for _ in range(50):
        call(limiter)
    assert clock.sleeps == []

    call(limiter)
    assert clock.sleeps != []


def test_the_walk_leaves_ten_calls_of_the_fifty(limiter, clock):
    for _ in range(40):
        call(limiter)
    with pytest.raises(YieldError) as put_off:
        call(limiter, walk=True)
    assert put_off.value.wait == pytest.approx(1.2, abs=0.01)

    for _ in range(10):
        call(limiter)
    assert clock.sleeps == []
    with pytest.raises(YieldError) as put_off:
        call(limiter, walk=True)
    assert put_off.value.wait == pytest.approx(11 * 1.2, abs=0.01)
    clock.advance(put_off.value.wait)
    call(limiter, walk=True)


def test_the_walk_makes_forty_calls_a_minute_and_never_a_burst(limiter, clock):
    """LML's own bucket would pass a burst on, and Discogs answers 429 beyond 60 in any minute."""
    began, calls = clock.pace(), 0
    while clock.pace() < began + 60:
        call(limiter, walk=True)
        calls += 1
        with pytest.raises(YieldError) as put_off:
            call(limiter, walk=True)
        assert put_off.value.wait == pytest.approx(1.5)
        clock.advance(put_off.value.wait)
    assert calls == 40


@given(
    st.lists(st.tuples(st.integers(0, 5000), st.booleans()), max_size=300),
)
def test_whatever_the_pattern_the_bucket_is_never_overdrawn(arrivals):
    """In any window of w minutes at most 50 + 50 w calls start, the walk's only while 10 are left."""
    now, full_at, starts = 1_000_000_000, 0, []
    for pause, walk in arrivals:
        now += pause
        after, wait = spend(full_at, now, leave=10 if walk else 0)
        if wait == 0:
            full_at = after
            starts.append(now)
            assert full_at - now <= (48_000 if walk else MINUTE)
    for first, start in enumerate(starts):
        for last in range(first, len(starts)):
            assert last - first + 1 <= 50 + (starts[last] - start) / 1200 + 1e-9


def test_a_clock_that_steps_back_costs_a_minute_at_most():
    _, wait = spend(10_000_000, 1_000_000, leave=0)
    assert wait == 1200


def test_five_calls_are_under_way_at_once_and_a_sixth_waits_five_seconds():
    limiter = Limiter(OwnMeter(), SystemClock(speed=100))
    with ExitStack() as under_way:
        for _ in range(5):
            under_way.enter_context(limiter.admitted())
        with pytest.raises(LmlBusyError, match="5 calls"):
            call(limiter)
    call(limiter)


def test_a_waiting_call_goes_on_as_soon_as_another_ends():
    limiter = Limiter(OwnMeter(), SystemClock())
    waiting, end = threading.Event(), threading.Event()

    def first():
        with limiter.admitted():
            waiting.set()
            end.wait(30)

    with ThreadPoolExecutor(1) as threads, ExitStack() as under_way:
        for _ in range(4):
            under_way.enter_context(limiter.admitted())
        threads.submit(first)
        waiting.wait(30)
        end.set()
        call(limiter)


def test_the_walk_never_takes_the_last_permit(limiter):
    with limiter.admitted(), limiter.admitted(), limiter.admitted():
        call(limiter, walk=True)
        with limiter.admitted(), pytest.raises(YieldError):
            call(limiter, walk=True)
        with limiter.admitted():
            call(limiter)


def test_a_call_that_others_always_outrun_is_refused_within_five_seconds(clock):
    class Crowded(OwnMeter):
        def read(self):
            return int(clock.pace() * 1000) + MINUTE

    with pytest.raises(LmlBusyError, match="50 calls"):
        call(Limiter(Crowded(), clock))
    assert clock.sleeps == [pytest.approx(1.2)] * 4


def test_five_time_outs_in_a_row_open_the_breaker_for_thirty_seconds(limiter, clock):
    time_out(limiter, 5)

    with pytest.raises(LmlBusyError, match="30 s") as refused:
        call(limiter)
    assert refused.value.retry_after == pytest.approx(30)
    with pytest.raises(YieldError) as put_off:
        call(limiter, walk=True)
    assert put_off.value.wait == pytest.approx(30)
    clock.advance(29.9)
    with pytest.raises(LmlBusyError):
        call(limiter)
    clock.advance(0.2)
    call(limiter)


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param(AnswerError("a request", "status", "LML answered 500"), id="500"),
        pytest.param(UnsureError("deadline_exceeded"), id="in doubt"),
    ],
)
def test_any_other_answer_ends_the_row_of_time_outs(limiter, answer):
    time_out(limiter, 4)
    with suppress(type(answer)), limiter.admitted():
        raise answer
    time_out(limiter, 4)
    call(limiter)


def test_the_first_time_out_after_the_pause_opens_the_breaker_again(limiter, clock):
    time_out(limiter, 5)
    clock.advance(31)
    time_out(limiter, 1)

    with pytest.raises(LmlBusyError):
        call(limiter)


def test_time_outs_of_lookups_never_keep_a_release_away(limiter):
    time_out(limiter, 5)
    call(limiter, "release")

    time_out(limiter, 5, "release")
    with pytest.raises(LmlBusyError):
        call(limiter, "release")


def test_half_open_lets_one_through_and_its_answer_closes_the_breaker(limiter, clock):
    time_out(limiter, 5)
    clock.advance(30)

    with limiter.admitted():
        with pytest.raises(LmlBusyError):
            call(limiter)
        with pytest.raises(YieldError) as put_off:
            call(limiter, walk=True)
        assert put_off.value.wait > 0
    call(limiter)
    time_out(limiter, 4)
    call(limiter)


def test_a_trial_that_never_came_to_lml_is_no_trial(limiter, clock):
    """It waited for a permit or the bucket in vain."""
    time_out(limiter, 5)
    clock.advance(31)
    with ExitStack() as under_way:
        for _ in range(5):
            under_way.enter_context(limiter.admitted("release"))
        limiter._clock.speed = 1000
        with pytest.raises(LmlBusyError, match="5 calls"):
            call(limiter)
        limiter._clock.speed = 1

    call(limiter)


def test_a_trial_that_breaks_off_does_not_keep_the_breaker_half_open(limiter, clock):
    time_out(limiter, 5)
    clock.advance(31)
    with suppress(ZeroDivisionError), limiter.admitted():
        raise ZeroDivisionError

    call(limiter)


def test_a_full_bucket_says_when_to_come_back(clock):
    class Crowded(OwnMeter):
        def read(self):
            return int(clock.pace() * 1000) + 2 * MINUTE

    with pytest.raises(LmlBusyError) as refused:
        call(Limiter(Crowded(), clock))
    assert 0 < refused.value.retry_after <= 60
