"""One slot's hold on the shared pace, and what several slots, any LML and stepping clocks do to it."""

from collections.abc import Iterable
from random import Random

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from core.budget.pacing import BREAKER_REST, DEAREST_COST, EXPECTED_COST, TRIAL_AFTER, TRIAL_GRACE, Pace
from core.budget.throttle import COMMIT_RESERVE_SECONDS, LONGEST_REQUEST, OutOfTime, Permit, Rest, Stopped, Throttle
from core.runs.plan import RefreshMessage, batches
from core.settings import Pacing
from tests.fleet import Booked, Fleet, KilledError, MemoryStore, Script, ScriptedLml, failure, warmed
from tests.virtual import VirtualClock

LIMITS = Pacing()
CALL = 60 / LIMITS.budget


class Bench:
    """A throttle, with the store, the script and the clock that it works with."""

    def __init__(self, script: Script | None = None, limits: Pacing = LIMITS, store: MemoryStore | None = None) -> None:
        self.clock = VirtualClock()
        self.store = store or MemoryStore()
        self.script = script or Script()
        self.rests: list[Rest] = []
        self.throttle = self.another(limits)

    def another(self, limits: Pacing = LIMITS) -> Throttle:
        throttle = Throttle(self.store, ScriptedLml(self.script, self.clock), self.clock, limits, Random(1))  # noqa: S311
        throttle.on_rest = self.rests.append
        return throttle

    def acquire(self, throttle=None, *, wanted=50, holding=(), seconds=3600.0, goes_on=lambda: True, not_before=0.0):
        ends = self.clock.pace() + seconds
        return (throttle or self.throttle).acquire(
            wanted,
            holding=holding,
            limit=LONGEST_REQUEST,
            time_left=lambda: ends - self.clock.pace(),
            run_goes_on=goes_on,
            not_before=not_before,
        )

    def waits(self, throttle=None, **asked) -> float:
        """Paced seconds until a slice may start."""
        before = self.clock.pace()
        assert isinstance(self.acquire(throttle, **asked), Permit)
        return self.clock.pace() - before

    @property
    def pace(self) -> Pace:
        return self.store.read_pace()[0]


def test_slots_start_one_after_another_a_dearest_wait_apart():
    bench = Bench()

    assert bench.waits() == 0
    assert 4 * CALL <= bench.waits(bench.another()) <= 4 * CALL + 0.1


def test_what_was_cached_costs_nothing_and_lets_the_next_slice_be_larger():
    bench = Bench()
    permit = bench.acquire()
    assert bench.throttle.settle(permit, outcomes=4, elapsed=0.02) == 0

    after = bench.acquire()

    assert (permit.ids, after.ids) == (1, LIMITS.slice_max)
    assert after.started == permit.started


def test_the_first_slice_that_costs_a_call_makes_the_next_one_identity():
    bench = Bench()
    bench.throttle.settle(bench.acquire(), outcomes=4, elapsed=0.02)
    assert bench.throttle.settle(bench.acquire(), outcomes=16, elapsed=0.1) == 1

    assert bench.acquire().ids == 1


def test_a_slot_that_waits_for_a_slice_sees_that_it_cost_nothing():
    """Given a slot that waits for 30 s; when the slice ahead of it turns out to be cached, it starts within 5 s."""
    bench = Bench()
    permit, began = bench.acquire(), bench.clock.pace()

    def settled_after_a_while() -> bool:
        if bench.clock.pace() - began > 2 and bench.pace.next_start > bench.clock.pace():
            bench.throttle.settle(permit, outcomes=4, elapsed=0.02)
        return True

    assert bench.waits(bench.another(), goes_on=settled_after_a_while) < 6


def test_what_a_killed_slot_wrote_stands():
    bench = Bench()
    bench.acquire()

    assert bench.waits(bench.another()) >= 4 * CALL


def test_without_a_usable_body_what_the_start_wrote_stands():
    bench = Bench()
    bench.throttle.settle(bench.acquire(), outcomes=None, elapsed=0.1)

    assert bench.waits() >= 4 * CALL


@pytest.mark.parametrize(
    ("cost", "wait"),
    [(2, EXPECTED_COST), (EXPECTED_COST, EXPECTED_COST), (DEAREST_COST, DEAREST_COST)],
)
def test_a_slice_behind_which_another_has_started_gives_nothing_back_and_owes_what_it_cost_more(cost, wait):
    bench = Bench()
    slow, other = bench.throttle, bench.another()
    permit = bench.acquire(slow)
    bench.acquire(other)

    slow.settle(permit, outcomes=cost, elapsed=40)

    assert wait * CALL <= bench.waits() <= wait * CALL + 0.1


@pytest.mark.parametrize("seconds", [-3600, 3600])
def test_after_the_clock_of_every_slot_was_set_work_goes_on_at_once(seconds):
    bench = Bench()
    bench.acquire()
    bench.clock.advance(seconds)

    assert bench.waits() == 0


def test_a_part_without_time_for_the_wait_and_a_request_ends_with_the_wait_as_its_delay():
    bench = Bench()
    bench.acquire()
    wait = EXPECTED_COST * CALL
    needed = wait + LONGEST_REQUEST + COMMIT_RESERVE_SECONDS

    assert bench.acquire(seconds=needed - 1) == OutOfTime(pytest.approx(wait), None)
    assert isinstance(bench.acquire(seconds=needed + 1), Permit)


def test_a_back_off_is_waited_for_as_the_pace_is():
    bench = Bench()

    assert 90 <= bench.waits(not_before=bench.clock.pace() + 90) <= 90.1
    assert bench.acquire(seconds=900, not_before=bench.clock.pace() + 700) == OutOfTime(pytest.approx(700), None)


def test_a_run_that_ends_ends_the_wait():
    bench = Bench()
    bench.acquire()

    assert bench.acquire(goes_on=lambda: len(bench.clock.sleeps) < 3) == Stopped()


def test_an_error_of_the_store_goes_up_and_nothing_is_sent():
    class Broken(MemoryStore):
        def read_pace(self) -> tuple[Pace, int]:
            raise OSError("DynamoDB is away")

    with pytest.raises(OSError, match="away"):
        Bench(store=Broken()).acquire()


def test_a_lost_race_is_no_leave():
    """Given a slot that is overtaken between reading and writing; then it waits for the slice that was faster."""

    class Overtaken(MemoryStore):
        def write_pace(self, pace: Pace, revision: int) -> bool:
            if not self.written:
                super().write_pace(Pace(next_start=pace.next_start), revision)
                return False
            return super().write_pace(pace, revision)

    assert Bench(store=Overtaken()).waits() >= 4 * CALL


def test_the_fastest_empty_request_of_an_environment_is_not_charged():
    bench = Bench()
    trips = iter([0.9, 0.2, 0.4, 0.3, 5.0])
    bench.throttle._lml.round_trip = lambda: next(trips)

    bench.throttle.measure_round_trip()
    bench.throttle.measure_round_trip()

    assert bench.throttle.settle(bench.acquire(), outcomes=4, elapsed=0.2 + 0.31) == 2


# The breaker


def test_after_a_shed_the_identity_goes_alone_until_it_is_answered_and_then_everybody_rests():
    bench = Bench()
    owner, other = bench.throttle, bench.another()
    bench.throttle.settle(bench.acquire(holding={17}), outcomes=0, elapsed=0.02, is_shed=True, trial=17)

    for _ in range(3):
        before = bench.clock.pace()
        trial = bench.acquire(owner, holding={17, 18})
        assert (trial.ids, trial.identity, trial.is_trial) == (1, 17, True)
        assert TRIAL_AFTER <= bench.clock.pace() - before <= TRIAL_AFTER + 0.1
        owner.settle(trial, outcomes=0, elapsed=0.02, is_shed=True, trial=17)
    owner.settle(bench.acquire(owner, holding={17}), outcomes=4, elapsed=2)

    assert BREAKER_REST <= bench.waits(other, holding={1}) <= BREAKER_REST + 0.1
    assert [(rest.reason, rest.seconds) for rest in bench.rests] == [("breaker", TRIAL_AFTER)] * 4 + [
        ("breaker", BREAKER_REST)
    ]


def test_the_trial_of_a_slot_that_is_gone_is_made_by_another_with_one_identity_though_its_last_slice_was_cached():
    bench = Bench()
    other = bench.another()
    other.settle(bench.acquire(other), outcomes=4, elapsed=0.02)
    bench.throttle.settle(bench.acquire(), outcomes=0, elapsed=0.02, is_shed=True, trial=17)

    before = bench.clock.pace()
    trial = bench.acquire(other, holding={18})

    assert (trial.ids, trial.identity, trial.is_trial) == (1, None, True)
    assert TRIAL_AFTER + TRIAL_GRACE <= bench.clock.pace() - before <= TRIAL_AFTER + TRIAL_GRACE + 5


def test_a_trial_without_a_usable_body_is_no_answer_without_a_shed():
    bench = Bench()
    bench.throttle.settle(bench.acquire(holding={17}), outcomes=0, elapsed=0.02, is_shed=True, trial=17)

    bench.throttle.settle(bench.acquire(holding={17}), outcomes=None, elapsed=1)

    assert bench.acquire(holding={17}).is_trial


def test_a_shed_that_was_under_way_begins_no_second_rest():
    bench = Bench()
    first, second = bench.acquire(), bench.acquire(bench.another())
    bench.throttle.settle(first, outcomes=0, elapsed=0.02, is_shed=True, trial=17)

    bench.throttle.settle(second, outcomes=0, elapsed=0.02, is_shed=True, trial=18)

    assert bench.pace.trial == 17
    assert [rest.seconds for rest in bench.rests] == [TRIAL_AFTER]


def test_a_discogs_that_is_down_does_not_end_the_wait_for_the_breakers_trial():
    bench = Bench(Script(health=lambda: {"services": {"discogs_api": "timeout"}}))
    bench.throttle.settle(bench.acquire(), outcomes=0, elapsed=0.02, is_shed=True, trial=17)

    assert bench.another().finds_discogs_down()
    assert (bench.pace.rest, bench.pace.trial) == ("trial", 17)


def test_a_rest_is_the_delay_of_a_part_and_says_why():
    bench = Bench()
    bench.throttle.settle(bench.acquire(holding={17}), outcomes=0, elapsed=0.02, is_shed=True, trial=17)
    bench.throttle.settle(bench.acquire(holding={17}), outcomes=4, elapsed=2)

    out_of_time = bench.acquire(seconds=900)

    assert BREAKER_REST - 1 < out_of_time.delay <= BREAKER_REST
    assert "LML's breaker was open" in out_of_time.why


# Discogs down


DOWN = ["upstream-error", "auth-error", "network-error", "timeout", "error", "unavailable"]


@pytest.mark.parametrize("word", DOWN)
def test_while_lml_says_that_discogs_is_down_one_slot_asks_again_a_minute_apart(word):
    answers = [word] * 3 + ["ok"]
    bench = Bench(Script(health=lambda: {"services": {"discogs_api": answers.pop(0)}}))

    assert bench.throttle.finds_discogs_down()
    assert bench.another().finds_discogs_down(), "another slot is told, and does not ask"
    assert len(bench.script.sampled) == 1

    assert 179 < bench.waits() < 185
    assert len(bench.script.sampled) == 4
    assert bench.pace.rest is None
    assert [rest.reason for rest in bench.rests] == ["discogs"] * 3


def test_a_slot_that_is_overtaken_leaves_the_question_to_the_other():
    """Given two slots at the end of a minute's rest; then the one that writes second asks nothing and waits on."""

    class Overtaken(MemoryStore):
        def write_pace(self, pace: Pace, revision: int) -> bool:
            if len(self.written) == 1:
                super().write_pace(replace(self.pace, next_start=pace.next_start), revision)
                return False
            return super().write_pace(pace, revision)

    answers = ["timeout", "ok"]
    bench = Bench(Script(health=lambda: {"services": {"discogs_api": answers.pop(0)}}), store=Overtaken())

    assert bench.throttle.finds_discogs_down()
    assert 119 < bench.waits() < 125
    assert len(bench.script.sampled) == 2


@pytest.mark.parametrize(
    "body",
    [{}, {"services": None}, {"services": {"discogs_api": "ok"}}, {"services": {"discogs_api": 7}}, {"services": []}],
)
def test_an_lml_that_says_nothing_of_a_discogs_that_is_down_is_taken_at_its_word(body):
    bench = Bench(Script(health=lambda: body))

    assert not bench.throttle.finds_discogs_down()
    assert bench.waits() == 0


def test_an_lml_that_does_not_say_in_time_how_discogs_is_counts_as_one_that_waits_for_it():
    bench = Bench()

    def late() -> object:
        raise failure(cause="timeout")

    bench.throttle._lml.health = late

    assert bench.throttle.finds_discogs_down()


# Several slots beside any LML


def messages(ids: int, size: int = 6) -> list[RefreshMessage]:
    return [
        RefreshMessage(version=1, run_id="r", message=number, identity_ids=batch)
        for number, batch in enumerate(batches(range(1, ids + 1), size))
    ]


class Moods:
    """An LML whose every answer is another one of these, as the example says."""

    def __init__(self, moods: list[str], luck: Random) -> None:
        self._moods = moods
        self._luck = luck
        self.script = Script(
            answer=self.answer,
            seconds=self.seconds,
            health=lambda: {"services": {"discogs_api": self._luck.choice(["ok", "timeout"])}},
        )

    def mood(self) -> str:
        return self._luck.choice(self._moods)

    def seconds(self, _: object) -> float:
        return {"slow": 50.0, "stuck": 10_000.0, "warm": 0.02}.get(self.mood(), self._luck.uniform(0.2, 3.0))

    def answer(self, ids: list[int]) -> object:
        match self.mood():
            case "429":
                raise failure(429)
            case "429 with a time":
                raise failure(429, retry_after=self._luck.uniform(0, 120))
            case "503 with a time":
                raise failure(503, retry_after=30)
            case "503":
                raise failure(503)
            case "broken":
                raise failure(cause="connection")
            case "malformed":
                return self._luck.choice([None, {}, {"results": 3}, {"results": [4]}, {"results": []}, [1]])
            case "error":
                return {"results": [{"identity_id": identity, "status": "error"} for identity in ids]}
            case "shed":
                text = "DiscogsBreakerOpenError"
                return {"results": [{"identity_id": i, "status": "error", "message": text} for i in ids]}
            case "killed":
                raise KilledError
        return {"results": [warmed(identity, self._luck.randrange(DEAREST_COST)) for identity in ids]}


def over_the_pace(booked: Iterable[Booked], budget: float, *, known: bool = False) -> float:
    """By how many calls the dearest stretch, from one start to before another, is above the budget for its time.

    `known` counts what could be known at its end: the cost of what was settled by then, else the expected one.
    """
    booked = list(booked)
    worst = 0.0
    for number, last in enumerate(booked):
        calls = 0
        for first in reversed(booked[:number]):
            calls += first.expected if known and first.known_from > number else first.cost
            worst = max(worst, calls - (last.started - first.started) * budget / 60)
    return worst


BEHAVIOURS = [
    *("warm", "cold", "slow", "stuck", "429", "429 with a time", "503 with a time", "503", "broken", "malformed"),
    *("error", "shed", "killed"),
]
DAY = 20 * 3600.0
IDS = 24
ROUNDING = 1e-6


@settings(max_examples=25, deadline=None)
@example(moods=["slow"] * 6, slots=5, limits=Pacing(slice_max=1), steps=[], seed=1)
@given(
    moods=st.lists(st.sampled_from(BEHAVIOURS), min_size=1, max_size=6),
    slots=st.integers(2, 10),
    limits=st.builds(Pacing, budget=st.integers(1, 30), slice_max=st.sampled_from([1, 2, 4, 6, 50])),
    steps=st.lists(st.tuples(st.floats(0, 600), st.floats(-3600, 3600)), max_size=2),
    seed=st.integers(0, 2**32),
)
def test_whatever_lml_does_the_pace_is_kept_and_no_identity_is_lost(moods, slots, limits, steps, seed):
    """Given any LML, two to ten slots, kills and stepping clocks.

    Then in any stretch of time the job's calls are at most its budget for it and a dearest slice for each slot (and for
    each step of the clock, which may forgive a wait), and within 20 hours every identity has a verdict or is left.
    There are more messages than slots, so that slices behind which others have started pile up where they owe nothing.
    """
    lml = Moods(["cold", *moods], Random(seed))  # noqa: S311
    fleet = Fleet(lml.script, messages(IDS, size=2), slots=slots, limits=limits, seed=seed)

    fleet.run(patience=DAY, steps=steps)

    booked = fleet.booked.values()
    dearest = max((one.cost for one in booked), default=0)
    assert over_the_pace(booked, limits.budget) <= (slots - 1 + len(steps)) * dearest + ROUNDING
    if not steps and not any(pace.rest for pace in fleet.store.written):  # a rest is longer than what is owed, mostly
        assert over_the_pace(booked, limits.budget, known=True) <= ROUNDING
    left = {identity for message in fleet.left for identity in message.identity_ids}
    assert left | fleet.verdicts.keys() == set(range(1, IDS + 1))
    assert not left & fleet.verdicts.keys()
    if not {"killed", "shed"} & set(moods):
        assert not left, f"waited {fleet.seconds:.0f} s for {left}"


def test_ten_slots_that_race_for_one_pace_start_one_after_another():
    fleet = Fleet(Script(seconds=lambda _: 0.9), messages(60), slots=10, limits=LIMITS)

    fleet.run(patience=DAY)

    assert len(fleet.booked) == len(fleet.script.asked) == 60
    assert over_the_pace(fleet.booked.values(), LIMITS.budget) <= ROUNDING
