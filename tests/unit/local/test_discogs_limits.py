"""The limits of LML.md, in virtual time."""

import asyncio
import math
import statistics
from dataclasses import replace

import pytest

from local.lml.discogs import Discogs, DiscogsBreakerOpenError, DiscogsRateLimitedError, busiest_minute
from local.lml.limits import Limits
from local.lml.readers import Order, Readers

BUCKET_ONLY = replace(Limits.instant(), per_minute=50)
STEADY = Limits(discogs_median_seconds=1, discogs_sigma=0, per_minute=math.inf, discogs_per_minute=math.inf)
DISCOGS_ONLY = replace(Limits.instant(), discogs_per_minute=60, breaker_seconds=30)


def test_after_a_quiet_minute_fifty_calls_pass_at_once_and_fifty_more_in_the_next(in_virtual_time):
    async def work(clock):
        discogs = Discogs(clock, BUCKET_ONLY, seed=1)
        await asyncio.gather(*(discogs.call("runtime") for _ in range(150)))
        return [call.at for call in discogs.calls]

    times = in_virtual_time(work)

    assert sum(at < 0.1 for at in times) == 50
    assert sum(at < 60.1 for at in times) == 100
    assert busiest_minute(times) in {99, 100}
    assert times[-1] == pytest.approx(120, abs=0.1)


def test_the_bucket_serves_in_order_of_arrival(in_virtual_time):
    async def work(clock):
        discogs = Discogs(clock, BUCKET_ONLY, seed=1)
        await asyncio.gather(*(discogs.call("refresh" if i < 60 else "runtime") for i in range(80)))
        return [call.kind for call in discogs.calls]

    assert in_virtual_time(work) == ["refresh"] * 60 + ["runtime"] * 20


def test_a_caller_that_gives_up_in_the_queue_takes_nothing_from_the_bucket(in_virtual_time):
    async def work(clock):
        discogs = Discogs(clock, BUCKET_ONLY, seed=1)
        await asyncio.gather(*(discogs.call("runtime") for _ in range(50)))
        impatient = [asyncio.create_task(discogs.call("runtime")) for _ in range(20)]
        await clock.sleep(0.5)
        for task in impatient:
            task.cancel()
        await discogs.call("runtime")
        return discogs.calls[-1].at

    assert in_virtual_time(work) == pytest.approx(1.2)


def test_a_refresh_has_two_of_the_five_slots(in_virtual_time):
    async def work(clock):
        discogs = Discogs(clock, STEADY, seed=1)
        kinds = ["refresh"] * 10 + ["runtime"] * 10
        await asyncio.gather(*(discogs.call(kind) for kind in kinds))
        return [call.kind for call in discogs.calls if call.at == 0]

    assert sorted(in_virtual_time(work)) == ["refresh"] * 2 + ["runtime"] * 3


def test_runtime_callers_alone_have_five_slots(in_virtual_time):
    async def work(clock):
        discogs = Discogs(clock, STEADY, seed=1)
        await asyncio.gather(*(discogs.call("runtime") for _ in range(10)))
        return [call.at for call in discogs.calls]

    assert in_virtual_time(work) == [0] * 5 + [1] * 5


def test_the_sixty_first_call_of_a_minute_is_refused_and_opens_the_breaker_for_all(in_virtual_time):
    async def work(clock):
        discogs = Discogs(clock, DISCOGS_ONLY, seed=1)
        for _ in range(60):
            await discogs.call("runtime")
        with pytest.raises(DiscogsRateLimitedError):
            await discogs.call("runtime")
        with pytest.raises(DiscogsBreakerOpenError):
            await discogs.call("refresh")
        return discogs.breaker.state, len(discogs.calls)

    assert in_virtual_time(work) == ("open", 61)


def test_sixty_calls_are_allowed_again_once_the_minute_has_moved_on(in_virtual_time):
    async def work(clock):
        discogs = Discogs(clock, DISCOGS_ONLY, seed=1)
        for _ in range(3):
            for _ in range(60):
                await discogs.call("runtime")
            await clock.sleep(60)
        return sum(call.refused for call in discogs.calls)

    assert in_virtual_time(work) == 0


def test_a_half_open_breaker_lets_one_trial_pass_which_closes_it(in_virtual_time):
    async def work(clock):
        discogs = Discogs(clock, STEADY, seed=1)
        discogs.breaker.open(30)
        await clock.sleep(30)
        states = [discogs.breaker.state]
        outcomes = await asyncio.gather(*(discogs.call("runtime") for _ in range(3)), return_exceptions=True)
        return [*states, discogs.breaker.state], [type(outcome) for outcome in outcomes]

    states, outcomes = in_virtual_time(work)

    assert states == ["half_open", "closed"]
    assert outcomes == [type(None), DiscogsBreakerOpenError, DiscogsBreakerOpenError]


def test_a_trial_that_is_refused_opens_the_breaker_again(in_virtual_time):
    async def work(clock):
        discogs = Discogs(clock, DISCOGS_ONLY, seed=1)
        await asyncio.gather(*(discogs.call("runtime") for _ in range(61)), return_exceptions=True)
        await clock.sleep(31)
        with pytest.raises(DiscogsRateLimitedError):
            await discogs.call("runtime")
        return discogs.breaker.state, discogs.breaker.opened

    assert in_virtual_time(work) == ("open", 2)


def test_discogs_answers_after_a_third_of_a_second_in_the_median_and_never_at_once(in_virtual_time):
    async def work(clock):
        discogs = Discogs(clock, Limits(per_minute=math.inf, discogs_per_minute=math.inf), seed=1)
        seconds = []
        for _ in range(2000):
            before = clock.now()
            await discogs.call("runtime")
            seconds.append(clock.now() - before)
        return seconds

    seconds = in_virtual_time(work)

    assert statistics.median(seconds) == pytest.approx(0.33, rel=0.05)
    assert statistics.stdev(map(math.log, seconds)) == pytest.approx(0.4, abs=0.05)
    assert min(seconds) >= 0.149


@pytest.mark.parametrize(("burst", "per_minute"), [(1, 20), (4, 20)])
def test_readers_come_at_the_rate_ordered(in_virtual_time, burst, per_minute):
    async def work(clock):
        readers = Readers(Discogs(clock, Limits.instant(), seed=1), clock)
        readers.start(Order(per_minute, seed=3, burst=burst))
        await clock.sleep(6000)
        readers.start(Order(0))
        return readers.readings

    readings = in_virtual_time(work)

    assert len(readings) == pytest.approx(2000, rel=0.1)
    assert len({reading.at for reading in readings}) == pytest.approx(len(readings) / burst, abs=1)


def test_readers_of_a_seed_are_the_same_whether_or_not_a_refresh_runs_beside_them(in_virtual_time):
    """So that latencies with and without the job can be compared."""

    async def work(clock, refreshes):
        discogs = Discogs(clock, STEADY, seed=1)
        readers = Readers(discogs, clock)
        readers.start(Order(20, seed=5))
        await asyncio.gather(*(discogs.call("refresh") for _ in range(refreshes)), clock.sleep(600))
        readers.start(Order(0))
        return [reading.at for reading in readers.readings]

    assert in_virtual_time(lambda clock: work(clock, 0)) == in_virtual_time(lambda clock: work(clock, 500))
