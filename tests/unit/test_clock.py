"""The clock that functions use; its virtual twin is checked against the same rules."""

import time
from datetime import UTC, datetime, timedelta

import pytest

from core.clock import SystemClock
from tests.virtual import VirtualClock


def test_the_real_time_is_aware_and_in_utc():
    before = datetime.now(UTC)

    now = SystemClock(speed=100).utc()

    assert before <= now <= datetime.now(UTC)
    assert now.utcoffset() == timedelta(0)


def test_two_processes_read_the_same_paced_scale():
    """PACE is written by one slot and read by another, so the scale has no starting point of its own."""
    before = time.time() * 100

    readings = [SystemClock(speed=100).pace(), SystemClock(speed=100).pace()]

    assert before <= readings[0] <= readings[1] <= time.time() * 100


def test_a_paced_wait_is_shorter_by_the_speed():
    clock = SystemClock(speed=1000)
    started = time.monotonic()

    clock.sleep(20)

    assert 0.02 <= time.monotonic() - started < 5
    assert clock.wall(20) == pytest.approx(0.02)


@pytest.mark.parametrize("seconds", [0, -0.1, -3600])
def test_a_wait_that_is_over_already_is_no_wait(seconds):
    started = time.monotonic()

    SystemClock().sleep(seconds)

    assert time.monotonic() - started < 1


def test_a_virtual_sleep_moves_all_its_times_and_is_listed():
    clock = VirtualClock(start=datetime(2026, 2, 3, tzinfo=UTC), speed=10)
    paced = clock.pace()

    clock.sleep(60)
    clock.sleep(-1)

    assert clock.pace() - paced == pytest.approx(60)
    assert clock.utc() == datetime(2026, 2, 3, 0, 0, 6, tzinfo=UTC)
    assert clock.sleeps == [60, -1]
