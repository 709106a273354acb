"""The rules of LML and Discogs (docs/design/lml.md) in virtual time: the stand-in's, and so those of the model."""

import asyncio
import math
import statistics
from collections import Counter
from dataclasses import replace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from local.lml.breaker import Breaker
from local.lml.deployment import Deployment
from local.lml.discogs import Discogs, DiscogsTrouble
from local.lml.limits import Limits
from local.lml.orders import Order
from local.lml.process import DiscogsBreakerOpenError, LmlProcess
from local.lml.readers import Readers
from local.lml.records import busiest_minute
from local.world import World

FREE = Limits.instant()
MINUTE_ONLY = replace(FREE, discogs_per_minute=60)
STEADY = Limits(discogs_median_seconds=1, discogs_sigma=0, per_minute=math.inf, discogs_per_minute=math.inf)


def process(clock, limits=MINUTE_ONLY):
    discogs = Discogs(clock, limits, seed=1)
    return LmlProcess(discogs, clock, limits, "1"), discogs


async def calls(lml, number, **options):
    """Make calls one after another; the statuses, and `shed` for those that the breaker turned away."""
    answers = []
    for _ in range(number):
        try:
            answers.append((await lml.call("runtime", **options)).status)
        except DiscogsBreakerOpenError:
            answers.append("shed")
    return answers


def test_the_fifty_seventh_call_of_a_minute_opens_the_breaker_for_everybody(in_virtual_time):
    async def work(clock):
        lml, discogs = process(clock)
        return await calls(lml, 60), await calls(lml, 1, low=True), lml.breaker.state, len(discogs.calls)

    assert in_virtual_time(work) == ([200] * 57 + ["shed"] * 3, ["shed"], "open", 57)


@pytest.mark.parametrize(("seconds", "state"), [(19.9, "open"), (20, "closed"), (1000, "closed")])
def test_the_breaker_lets_the_first_call_after_twenty_seconds_try(in_virtual_time, seconds, state):
    """With one call in the minute or none, that is; the trial's own answer must say that more than 3 are left."""

    async def work(clock):
        lml, _ = process(clock)
        lml.breaker.force_open(clock.now(), 20)
        await clock.sleep(seconds)
        before = lml.breaker.state
        await calls(lml, 1)
        return before, lml.breaker.state

    assert in_virtual_time(work) == ("open", state)


def test_without_a_live_call_the_breaker_stays_open_for_ever(in_virtual_time):
    async def work(clock):
        lml = Deployment(World.seeded(5), clock, MINUTE_ONLY)
        lml.processes[0].breaker.force_open(clock.now(), 20)
        await clock.sleep(86_400)
        return [(await lml.worker().health("abc"))["discogs_breaker_state"] for _ in range(3)]

    assert in_virtual_time(work) == ["open"] * 3


def test_all_but_the_trial_are_shed_while_it_is_under_way(in_virtual_time):
    async def work(clock):
        lml, _ = process(clock, STEADY)
        lml.breaker.force_open(clock.now(), 20)
        await clock.sleep(20)
        answers = [asyncio.ensure_future(calls(lml, 1)) for _ in range(5)]
        await clock.sleep(0.5)
        return lml.breaker.state, [await one for one in answers], lml.breaker.state

    assert in_virtual_time(work) == ("half-open", [[200], *[["shed"]] * 4], "closed")


@pytest.mark.parametrize("condition", ["down", "unreachable", "slow"])
def test_a_trial_that_does_not_succeed_opens_the_breaker_for_another_twenty_seconds(in_virtual_time, condition):
    async def work(clock):
        lml, discogs = process(clock, STEADY)
        lml.breaker.force_open(clock.now(), 20)
        await clock.sleep(20)
        discogs.be(DiscogsTrouble(condition=condition, seconds=10))
        await calls(lml, 1)
        ended = clock.now()
        await clock.sleep(ended + 19.9 - clock.now())
        late = await calls(lml, 1)
        await clock.sleep(0.1)
        return late, await calls(lml, 1), [opening.after for opening in lml.breaker.openings]

    assert in_virtual_time(work) == (["shed"], [200], ["closed", "half-open"])


def test_a_trial_that_nobody_waits_for_any_more_opens_the_breaker_again(in_virtual_time):
    async def work(clock):
        lml, _ = process(clock, STEADY)
        lml.breaker.force_open(clock.now(), 20)
        await clock.sleep(20)
        trial = asyncio.ensure_future(lml.call("runtime"))
        await clock.sleep(0.1)
        trial.cancel()
        await asyncio.wait([trial])
        return lml.breaker.state

    assert in_virtual_time(work) == "open"


def test_a_late_answer_that_says_low_starts_the_twenty_seconds_anew():
    breaker = Breaker(floor=3, failures=4, seconds=20)
    early, late = breaker.admit(0), breaker.admit(0)
    breaker.note_answer(1, early, 200, 3)
    breaker.note_answer(15, late, 200, 2)

    assert breaker.admit(34.9) is None
    assert breaker.admit(35) is not None
    assert [opening.at for opening in breaker.openings] == [1], "one opening, however long"


def test_an_answer_from_before_decides_no_trial():
    breaker = Breaker(floor=3, failures=4, seconds=20)
    before = breaker.admit(0)
    breaker.force_open(1, 20)
    trial = breaker.admit(21)
    breaker.note_answer(22, before, 200, 50)
    assert breaker.state == "half-open"
    breaker.note_answer(23, trial, 200, 50)
    assert breaker.state == "closed"


@pytest.mark.parametrize(
    ("statuses", "state"),
    [
        ([429] * 3, "closed"),
        ([429] * 4, "open"),
        ([429, 429, 429, 200, 429], "closed"),
        ([429, 429, 503, 429, 429], "open"),
        ([503] * 20, "closed"),
    ],
    ids=["three", "four", "one good between", "one 5xx between says nothing", "only 5xx"],
)
def test_four_requests_in_a_row_that_ended_in_429_open_the_breaker(statuses, state):
    breaker = Breaker(floor=3, failures=4, seconds=20)
    for at, status in enumerate(statuses):
        ticket = breaker.admit(at)
        breaker.note_answer(at, ticket, status, None)

    assert breaker.state == state


@pytest.mark.parametrize(
    ("status", "remaining", "state"),
    [
        (200, 4, "closed"),
        (200, 3, "open"),
        (200, None, "closed"),
        (404, 3, "open"),
        (503, 3, "open"),
        (503, 4, "closed"),
    ],
)
def test_what_is_left_of_the_minute_decides_whatever_the_status(status, remaining, state):
    breaker = Breaker(floor=3, failures=4, seconds=20)
    breaker.note_answer(0, breaker.admit(0), status, remaining)

    assert breaker.state == state


events = st.lists(
    st.tuples(
        st.floats(0, 30),
        st.sampled_from(["admit", "answer", "abandon"]),
        st.sampled_from([200, 200, 404, 429, 503]),
        st.one_of(st.none(), st.integers(0, 60)),
        st.integers(0, 5),
    ),
    max_size=60,
)


@given(events)
def test_the_breaker_keeps_its_word_whatever_happens(steps):
    """Given any calls and answers in any order; then nobody is shed while it is closed, all for 20 s after it opened
    or heard of a low answer, all but one trial after that; and only a trial whose answer was good closes it.
    """  # noqa: D205
    breaker, now = Breaker(floor=3, failures=4, seconds=20), 0.0
    under_way, open_until = [], 0.0
    for gap, what, status, remaining, which in steps:
        now += gap
        before, low = breaker.state, remaining is not None and remaining <= 3
        if what == "admit":
            ticket = breaker.admit(now)
            assert (ticket is not None) == (before == "closed" or (before == "open" and now >= open_until))
            if ticket is not None:
                under_way.append((ticket, before == "open"))
            continue
        if not under_way:
            continue
        ticket, trial = under_way.pop(which % len(under_way))
        if what == "abandon":
            breaker.abandon(now, ticket)
        else:
            breaker.note_answer(now, ticket, status, remaining)
        if before == "closed" and low and what == "answer":
            assert breaker.state == "open"
        if breaker.state == "closed" and before != "closed":
            assert (before, trial, what, low) == ("half-open", True, "answer", False)
            assert status in {200, 404}
        if breaker.state == "open" and (before != "open" or breaker.admit(max(now, open_until)) is None):
            open_until = now + 20
        if breaker.state == "half-open" and before == "open":
            return  # the look for whether the 20 s began anew was itself the trial


def test_after_a_quiet_minute_fifty_calls_pass_at_once_and_fifty_more_in_the_next(in_virtual_time):
    async def work(clock):
        lml, discogs = process(clock, replace(FREE, per_minute=50))
        await asyncio.gather(*(lml.call("runtime") for _ in range(150)))
        return [call.at for call in discogs.calls]

    times = in_virtual_time(work)

    assert sum(at < 0.1 for at in times) == 50
    assert sum(at < 60.1 for at in times) == 100
    assert busiest_minute(times) in {99, 100}
    assert times[-1] == pytest.approx(120, abs=0.1)


def test_the_limiter_serves_in_order_of_arrival(in_virtual_time):
    async def work(clock):
        lml, discogs = process(clock, replace(FREE, per_minute=50))
        await asyncio.gather(*(lml.call("refresh" if i < 60 else "runtime") for i in range(80)))
        return [call.kind for call in discogs.calls]

    assert in_virtual_time(work) == ["refresh"] * 60 + ["runtime"] * 20


def test_a_caller_that_gives_up_in_the_queue_takes_nothing_from_the_limiter(in_virtual_time):
    async def work(clock):
        lml, discogs = process(clock, replace(FREE, per_minute=50))
        await asyncio.gather(*(lml.call("runtime") for _ in range(50)))
        impatient = [asyncio.ensure_future(lml.call("runtime")) for _ in range(20)]
        await clock.sleep(0.5)
        for task in impatient:
            task.cancel()
        await lml.call("runtime")
        return discogs.calls[-1].at

    assert in_virtual_time(work) == pytest.approx(1.2)


def test_the_low_lane_has_two_of_the_five_slots(in_virtual_time):
    async def work(clock):
        lml, discogs = process(clock, STEADY)
        lanes = [("refresh", True)] * 10 + [("runtime", False)] * 10
        await asyncio.gather(*(lml.call(kind, low=low) for kind, low in lanes))
        return [call.kind for call in discogs.calls if call.at == 0]

    assert sorted(in_virtual_time(work)) == ["refresh"] * 2 + ["runtime"] * 3


def test_a_429_is_tried_five_times_more_with_the_slots_free_and_counted_once(in_virtual_time):
    async def work(clock):
        lml, discogs = process(clock, replace(STEADY, at_once=1))
        discogs.be(DiscogsTrouble(condition="rate-limited", seconds=1, retry_after=30))
        refused = asyncio.ensure_future(lml.call("runtime"))
        await clock.sleep(2)
        assert await calls(lml, 1) == [200], "while the other waits for its second try"
        answer = await refused
        return answer.status, [call.at for call in discogs.calls], lml.live_requests

    assert in_virtual_time(work) == (200, [0, 2, 31], 2)


def test_retries_of_a_429_end_with_a_429_after_six_attempts(in_virtual_time):
    async def work(clock):
        lml, discogs = process(clock, FREE)
        discogs.be(DiscogsTrouble(condition="rate-limited"))
        answers = await calls(lml, 4)
        return answers, len(discogs.calls), lml.live_requests, lml.breaker.state, clock.now()

    answers, attempts, counted, state, seconds = in_virtual_time(work)

    assert (answers, attempts, counted, state) == ([429] * 4, 24, 4, "open")
    assert 4 * 31 * 0.5 <= seconds <= 4 * 31 * 1.5


def test_a_call_that_waits_to_be_tried_again_is_shed_once_the_breaker_is_open(in_virtual_time):
    async def work(clock):
        lml, discogs = process(clock, FREE)
        discogs.be(DiscogsTrouble(condition="rate-limited", seconds=5, retry_after=10))
        waiting = asyncio.ensure_future(calls(lml, 1))
        await clock.sleep(5)
        lml.breaker.force_open(clock.now(), 20)
        return await waiting, len(discogs.calls)

    assert in_virtual_time(work) == (["shed"], 1)


def test_the_counter_counts_sheds_and_not_the_check_of_health_which_is_one_of_the_sixty(in_virtual_time):
    async def work(clock):
        lml = Deployment(World.seeded(5), clock, MINUTE_ONLY)
        one = lml.processes[0]
        answers = [(await lml.worker().health("abc"))["discogs_live_requests_total"]]
        await calls(one, 56)  # the check was the first of the minute
        answers.append((await lml.worker().health("abc"))["discogs_live_requests_total"])
        await calls(one, 3)
        answers.append((await lml.worker().health("abc"))["discogs_live_requests_total"])
        return answers, one.breaker.state, Counter(call.kind for call in lml.discogs.calls)

    assert in_virtual_time(work) == ([0, 56, 59], "open", {"runtime": 56, "health": 1})


@pytest.mark.parametrize(
    ("condition", "word"),
    [
        ("well", "ok"),
        ("down", "upstream-error"),
        ("unauthorized", "auth-error"),
        ("rate-limited", "rate-limited"),
        ("unreachable", "network-error"),
        ("slow", "timeout"),
    ],
)
def test_health_says_how_discogs_is(in_virtual_time, condition, word):
    async def work(clock):
        lml = Deployment(World.seeded(5), clock, FREE)
        lml.discogs.be(DiscogsTrouble(condition=condition))
        body = await lml.worker().health(None)
        return body["services"]["discogs_api"], body["status"], body["discogs_breaker_state"]

    assert in_virtual_time(work) == (word, "healthy" if word == "ok" else "degraded", "closed")


def test_discogs_counts_calls_of_everybody_with_the_token(in_virtual_time):
    """Staging fills the minute, and is in no counter of production's."""

    async def work(clock):
        discogs = Discogs(clock, MINUTE_ONLY, seed=1)
        staging, production = (LmlProcess(discogs, clock, MINUTE_ONLY, seed) for seed in ("1", "2"))
        await calls(staging, 56)
        return await calls(production, 2), production.live_requests, staging.breaker.state, production.breaker.state

    assert in_virtual_time(work) == ([200, "shed"], 2, "closed", "open")


def test_each_process_behind_one_address_has_a_breaker_and_a_counter_of_its_own(in_virtual_time):
    async def work(clock):
        lml = Deployment(World.seeded(5), clock, replace(FREE, workers=3))
        lml.processes[0].breaker.force_open(clock.now(), 20)
        await calls(lml.processes[1], 7)
        answers = [await lml.worker().health("same") for _ in range(50)]
        return {(body["discogs_breaker_state"], body["discogs_live_requests_total"]) for body in answers}

    assert in_virtual_time(work) == {("open", 0), ("closed", 7), ("closed", 0)}


def test_sixty_calls_are_allowed_again_once_the_minute_has_moved_on(in_virtual_time):
    async def work(clock):
        lml, discogs = process(clock, replace(MINUTE_ONLY, breaker_floor=-1))
        for _ in range(3):
            await calls(lml, 60)
            await clock.sleep(60)
        return {call.status for call in discogs.calls}

    assert in_virtual_time(work) == {200}


def test_discogs_answers_after_a_third_of_a_second_in_the_median_and_never_at_once(in_virtual_time):
    async def work(clock):
        lml, _ = process(clock, Limits(per_minute=math.inf, discogs_per_minute=math.inf))
        seconds = []
        for _ in range(2000):
            before = clock.now()
            await lml.call("runtime")
            seconds.append(clock.now() - before)
        return seconds

    seconds = in_virtual_time(work)

    assert statistics.median(seconds) == pytest.approx(0.33, rel=0.05)
    assert statistics.stdev(map(math.log, seconds)) == pytest.approx(0.4, abs=0.05)
    assert min(seconds) >= 0.149


ORDERS = {
    "in fives one after another": Order(20, seed=3),
    "in fives at once": Order(20, seed=3, at_once=5),
    "in lookups of mean five": Order(20, seed=3, geometric=True),
    "singly": Order(20, seed=3, calls=1),
    "a job of 20 a minute": Order(20, seed=3, calls=1, steady=True),
    "half-hours of 30 and 10": Order(30, seed=3, quiet_per_minute=10),
    "26 calls every 78 s, five at once": Order(20, seed=3, calls=26, at_once=5, steady=True),
}


@pytest.mark.parametrize("order", ORDERS.values(), ids=ORDERS)
def test_readers_come_at_the_rate_ordered(in_virtual_time, order):
    async def work(clock):
        lml, _ = process(clock, FREE)
        readers = Readers([lml], clock)
        readers.start(order)
        await clock.sleep(7_200)
        readers.stop()
        return len(readers.readings)

    assert in_virtual_time(work) == pytest.approx(2_400, rel=0.1)


@pytest.mark.parametrize(("at_once", "seconds"), [(1, 5), (5, 1)])
def test_a_lookup_makes_its_calls_in_a_row_or_side_by_side(in_virtual_time, at_once, seconds):
    async def work(clock):
        lml, discogs = process(clock, STEADY)
        readers = Readers([lml], clock)
        readers.start(Order(1, calls=5, at_once=at_once, steady=True))
        await clock.sleep(310)
        readers.stop()
        return discogs.calls[-1].at + 1 - discogs.calls[0].at

    assert in_virtual_time(work) == pytest.approx(seconds)


def test_readers_of_a_seed_are_the_same_whether_or_not_a_refresh_runs_beside_them(in_virtual_time):
    """So that days with and without the job can be compared."""

    async def work(clock, refreshes):
        lml, _ = process(clock, STEADY)
        readers = Readers([lml], clock)
        readers.start(Order(20, seed=5))
        await asyncio.gather(*(lml.call("refresh", low=True) for _ in range(refreshes)), clock.sleep(600))
        readers.stop()
        return [reading.at for reading in readers.readings[::5]]

    assert in_virtual_time(lambda clock: work(clock, 0)) == in_virtual_time(lambda clock: work(clock, 500))


@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(st.tuples(st.floats(0, 40), st.integers(1, 30), st.booleans(), st.booleans()), max_size=20),
    st.integers(1, 1000),
)
def test_discogs_breaker_and_counter_tell_one_story(in_virtual_time, crowd, seed):
    """Given any callers in any bursts, checks of `/health` too; then counter, sheds and Discogs' record agree."""

    async def work(clock):
        lml = Deployment(World.seeded(5, seed), clock, Limits(round_trip_seconds=0.03))
        one = lml.processes[0]
        made = []
        for gap, number, low, check in crowd:
            await clock.sleep(gap)
            made += [asyncio.ensure_future(calls(one, 1, low=low)) for _ in range(number)]
            if check:
                await lml.worker().health("abc")
        answers = [await call for call in made]
        return answers, one, lml.discogs.calls

    answers, one, record = in_virtual_time(work)
    live = [call for call in record if call.kind != "health"]
    outcomes = Counter(outcome for (outcome,) in answers)
    used = [sum(call.at - 60 < other.at for other in record[: place + 1]) for place, call in enumerate(record)]
    low = [call.at for call, number in zip(record, used, strict=True) if number >= 57 and call.kind != "health"]
    assert one.live_requests == len(answers) == outcomes["shed"] + outcomes[200] + outcomes[429]
    assert outcomes["shed"] == len(one.sheds)
    assert len(live) >= outcomes[200]
    assert bool(low) == bool(one.breaker.openings)
    assert all(low[0] < shed.at for shed in one.sheds), "nobody is shed before an answer that said low"
    assert all(call.status == (429 if number > 60 else 200) for call, number in zip(record, used, strict=True))
