"""One call a key: who shares it, who takes it over, and that it outlasts those who wait."""

import threading
from concurrent.futures import ThreadPoolExecutor, wait

import pytest

from core.clock import SystemClock
from core.picker.calls import Background, OneCall, Wait
from core.picker.limiter import LmlBusyError, StillFetchingError, YieldError

LONG = 3600.0


@pytest.fixture
def background():
    return Background()


@pytest.fixture
def clock():
    return SystemClock(speed=100)


@pytest.fixture
def calls(clock, background):
    return OneCall(clock, background)


def test_a_dj_takes_over_a_call_that_the_walk_puts_off(calls):
    """Else a DJ would wait for a walk that waits for DJs."""
    begun, put_off = threading.Event(), threading.Event()

    def walking(_):
        begun.set()
        put_off.wait(30)
        raise YieldError(1.2)

    with ThreadPoolExecutor(2) as threads:
        walk = threads.submit(calls.run, 1, walking, walk=True)
        begun.wait(30)
        dj = threads.submit(calls.run, 1, lambda _: "tracks")
        put_off.set()
        assert isinstance(walk.exception(), YieldError)
        assert dj.result() == "tracks"


def test_a_call_goes_on_when_the_dj_who_started_it_has_left(calls, clock, background):
    answer, asked = threading.Event(), []

    def work(under_way):
        asked.append(1)
        under_way()
        answer.wait(30)
        return "tracks"

    with pytest.raises(StillFetchingError) as left:
        calls.run(1, work, wait_for=Wait(10, clock.pace() + LONG))
    assert isinstance(left.value, LmlBusyError)
    assert left.value.retry_after > 0
    assert not background.wait(0)

    with ThreadPoolExecutor(1) as threads:
        later = threads.submit(calls.run, 1, work, wait_for=Wait(LONG, clock.pace() + LONG))
        answer.set()
        assert later.result() == "tracks"
    assert asked == [1]
    assert background.wait(30)


def test_queueing_is_not_in_the_time_that_a_dj_gives_lml(calls, clock):
    """Five seconds of queueing, and then ten of LML."""
    admitted = threading.Event()

    def work(under_way):
        admitted.wait(30)
        under_way()
        return "tracks"

    with ThreadPoolExecutor(1) as threads:
        dj = threads.submit(calls.run, 1, work, wait_for=Wait(0.0, clock.pace() + LONG))
        assert wait([dj], 0.05).not_done
        admitted.set()
        assert wait([dj], 30).done


def test_nobody_waits_beyond_the_moment_at_which_a_dj_must_be_answered(calls, clock):
    end = threading.Event()
    began = clock.pace()
    with pytest.raises(StillFetchingError):
        calls.run(1, lambda _: end.wait(30), wait_for=Wait(LONG, began + 10))
    assert clock.pace() - began < LONG
    end.set()


def test_all_who_wait_share_a_failure_and_the_next_asks_anew(calls):
    begun, fail = threading.Event(), threading.Event()

    def trouble(_):
        begun.set()
        fail.wait(30)
        raise OSError("trouble")

    with ThreadPoolExecutor(3) as threads:
        waiting = [threads.submit(calls.run, 1, trouble) for _ in range(3)]
        begun.wait(30)
        fail.set()
        assert all(isinstance(each.exception(), OSError) for each in waiting)
    assert calls.run(1, lambda _: "tracks") == "tracks"


def test_without_a_thread_to_be_had_everybody_is_told(calls, monkeypatch):
    def no_thread(_):
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as here:
        here.setattr(threading.Thread, "start", no_thread)
        with pytest.raises(RuntimeError, match="thread"):
            calls.run(1, lambda _: "tracks")
    assert calls.run(1, lambda _: "tracks") == "tracks"
