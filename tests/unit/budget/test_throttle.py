"""One slot's hold on the shared budget, and what several slots, any LML and stepping clocks do to it (DESIGN §6)."""

import math
from itertools import pairwise
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.budget.pacing import Pace, Sample, Wait
from core.budget.throttle import Permit, Throttle
from core.runs.plan import RefreshMessage, batches
from core.settings import Pacing
from tests.fleet import Fleet, KilledError, MemoryStore, Script, ScriptedLml, failure, warmed
from tests.virtual import VirtualClock

LIMITS = Pacing()
GOOD_HEALTH = {"discogs_live_requests_total": 7, "discogs_breaker_state": "closed", "commit_sha": "abc"}


class Bench:
    """A throttle, with the store, the script and the clock that it works with."""

    def __init__(self, script: Script | None = None, limits: Pacing = LIMITS, store: MemoryStore | None = None) -> None:
        self.clock = VirtualClock()
        self.store = store or MemoryStore()
        self.script = script or Script(health=lambda: GOOD_HEALTH)
        self.throttle = self.another(limits)

    def another(self, limits: Pacing = LIMITS) -> Throttle:
        return Throttle(self.store, ScriptedLml(self.script, self.clock), self.clock, limits, Random(1))  # noqa: S311

    def permit(self, throttle: Throttle | None = None) -> Permit:
        for _ in range(1000):
            answer = (throttle or self.throttle).ask(1)
            if isinstance(answer, Permit):
                return answer
            self.clock.sleep((throttle or self.throttle).pause(answer))
        raise AssertionError("waits for ever")

    @property
    def pace(self) -> Pace:
        return self.store.read_pace()[0]


def test_the_first_ask_takes_a_sample_and_the_next_gives_leave():
    bench = Bench()

    assert isinstance(bench.throttle.ask(1), Wait)
    assert [(s.calls, s.breaker, s.commit) for s in bench.pace.samples] == [(7, "closed", "abc")]
    bench.clock.advance(3)
    assert isinstance(bench.throttle.ask(1), Permit)


def test_slots_share_one_sample_every_30_seconds():
    bench = Bench()
    slots = [bench.another() for _ in range(5)]

    for _ in range(120):
        for slot in slots:
            slot.ask(1)
        bench.clock.advance(1)

    gaps = [later - earlier for earlier, later in zip(bench.script.sampled, bench.script.sampled[1:], strict=False)]
    assert gaps
    assert all(gap >= 30 for gap in gaps)


@pytest.mark.parametrize(
    ("health", "sample"),
    [
        pytest.param({}, (None, None, None), id="an old version without the fields"),
        pytest.param(GOOD_HEALTH | {"discogs_live_requests_total": True}, (None, "closed", "abc"), id="no number"),
        pytest.param(GOOD_HEALTH | {"discogs_live_requests_total": "7"}, (None, "closed", "abc"), id="a text"),
        pytest.param(GOOD_HEALTH | {"discogs_breaker_state": None}, (7, None, "abc"), id="no breaker"),
        pytest.param(GOOD_HEALTH | {"commit_sha": None}, (7, "closed", None), id="no commit"),
        pytest.param(GOOD_HEALTH | {"commit_sha": "\ud800"}, (7, "closed", r"\ud800"), id="a commit no ledger takes"),
        pytest.param(GOOD_HEALTH | {"discogs_breaker_state": "x" * 500_000}, (7, "unknown", "abc"), id="a new state"),
    ],
)
def test_fields_that_health_lacks_are_no_sample_of_them(health, sample):
    bench = Bench(Script(health=lambda: health))

    bench.throttle.ask(1)

    assert [(s.calls, s.breaker, s.commit) for s in bench.pace.samples] == [sample]


def test_an_lml_that_does_not_answer_leaves_the_open_loop():
    def away() -> dict[str, object]:
        raise failure(cause="connection")

    bench = Bench(Script(health=away))
    for _ in range(10):
        permit = bench.permit()
        bench.throttle.settle(permit, outcomes=4, elapsed=1)

    assert bench.pace.samples == ()
    assert 1 < len(bench.script.sampled) <= 1 + (bench.clock.pace() - bench.script.sampled[0]) / 30


def test_a_lost_race_is_no_leave_and_no_charge():
    """Given another slot that writes between our read and our write; then we wait, and only its charge stands."""

    class Contended(MemoryStore):
        raced = False

        def write_pace(self, pace: Pace, revision: int) -> bool:
            if pace.charges and pace.charges[-1].ids and not self.raced:
                self.raced = True
                assert super().write_pace(Pace(others_mean=1.0, samples=pace.samples), revision)
            return super().write_pace(pace, revision)

    bench = Bench(store=Contended())
    bench.throttle.ask(1)
    bench.clock.advance(3)

    assert isinstance(bench.throttle.ask(1), Wait)
    assert bench.pace.charges == ()
    assert bench.pace.others_mean == 1.0


def test_a_settling_that_loses_a_race_is_repeated_on_the_newer_state():
    """Given two slots in flight; when the other settles between our read and our write, both costs count."""
    bench = Bench()
    other = bench.another()
    first = bench.permit()
    second = bench.permit(other)

    class Interrupting(MemoryStore):
        def read_pace(self) -> tuple[Pace, int]:
            state = bench.store.read_pace()
            if not self.written:
                self.written.append(Pace())
                other.settle(second, outcomes=2, elapsed=5)
            return state

        def write_pace(self, pace: Pace, revision: int) -> bool:
            return bench.store.write_pace(pace, revision)

    bench.throttle._store = Interrupting()
    bench.throttle.settle(first, outcomes=3, elapsed=5)

    assert sorted(charge.cost for charge in bench.pace.charges if charge.ids) == [2, 3]


def test_an_error_of_the_store_goes_up_and_nothing_is_sent():
    class Broken(MemoryStore):
        def read_pace(self) -> tuple[Pace, int]:
            raise OSError("throttled")

    bench = Bench(store=Broken())

    with pytest.raises(OSError, match="throttled"):
        bench.throttle.ask(1)
    assert bench.script.asked == []


def test_what_an_answer_tells_of_the_breaker_stops_every_slot():
    bench = Bench()
    bench.permit()

    bench.throttle.breaker_open()

    answer = bench.another().ask(1)
    assert isinstance(answer, Wait)
    assert answer.reason == "breaker"


def test_the_time_of_an_empty_request_is_not_charged():
    """Given a round trip of 2 s; then a slice of 2.3 s has had time for 4 calls, not for 30."""
    bench = Bench()
    bench.throttle._lml.round_trip = lambda: 2.0
    bench.throttle.measure_round_trip()

    assert bench.throttle.settle(bench.permit(), outcomes=20, elapsed=2.3) == pytest.approx(4)


def test_the_fastest_empty_request_of_an_environment_counts():
    times = iter([3.0, 0.5, 2.0, 2.0, 4.0])
    bench = Bench()
    bench.throttle._lml.round_trip = lambda: next(times)
    bench.throttle.measure_round_trip()
    bench.throttle.measure_round_trip()

    assert bench.throttle.settle(bench.permit(), outcomes=20, elapsed=0.8) == pytest.approx(4)


def test_a_passing_fault_of_the_empty_request_is_no_reason_to_stop_and_a_wrong_key_is():
    bench = Bench()

    def fails(status: int) -> float:
        raise failure(status)

    bench.throttle._lml.round_trip = lambda: fails(503)
    bench.throttle.measure_round_trip()
    bench.throttle._lml.round_trip = lambda: fails(403)
    with pytest.raises(Exception, match="403"):
        bench.throttle.measure_round_trip()


def test_a_slice_without_any_outcome_teaches_nothing():
    bench = Bench()

    bench.throttle.settle(bench.permit(), outcomes=0, elapsed=5)
    bench.throttle.settle(bench.permit(), outcomes=None, elapsed=5)

    assert (bench.throttle.size.ids, bench.throttle.size.cost_per_id) == (1, 4)


@given(st.integers(0, 2**32), st.floats(0, 100), st.sampled_from(["budget", "room", "breaker"]))
def test_a_pause_lasts_to_the_end_of_a_debt_or_about_a_second(seed, ahead, reason):
    clock = VirtualClock()
    throttle = Throttle(MemoryStore(), ScriptedLml(Script(), clock), clock, LIMITS, Random(seed))  # noqa: S311

    pause = throttle.pause(Wait(clock.pace() + ahead, reason))

    if reason == "budget" and ahead < 0.5:
        assert ahead - 1e-6 <= pause <= ahead + 0.1 + 1e-6
    else:
        assert 0.5 - 1e-6 <= pause <= 1.0


def test_after_the_clock_of_every_slot_was_set_back_an_hour_work_goes_on_within_two_minutes():
    bench = Bench()
    bench.throttle.settle(bench.permit(), outcomes=20, elapsed=10)
    bench.clock.advance(-3600)
    stepped = bench.clock.pace()

    bench.permit()

    assert bench.clock.pace() - stepped < 120


# Several slots beside any LML


def messages(ids: int) -> list[RefreshMessage]:
    return [
        RefreshMessage(version=1, run_id="r", message=number, identity_ids=batch)
        for number, batch in enumerate(batches(range(1, ids + 1), 6))
    ]


class Moods:
    """An LML whose every answer is another one of these, as the example says."""

    def __init__(self, moods: list[str], luck: Random) -> None:
        self._moods = moods
        self._luck = luck
        self._calls = 0
        self.script = Script(answer=self.answer, seconds=self.seconds, health=self.health)
        self.breaker_open_until = -1.0
        self.now = lambda: 0.0

    def mood(self) -> str:
        return self._luck.choice(self._moods)

    def seconds(self, _: object) -> float:
        return {"slow": 50.0, "stuck": 10_000.0, "warm": 0.02}.get(self.mood(), self._luck.uniform(0.2, 3.0))

    def answer(self, ids: list[int]) -> object:
        self._calls += self._luck.randrange(6)
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
        return {"results": [warmed(identity, self._luck.randrange(21)) for identity in ids]}

    def health(self) -> dict[str, object]:
        match self.mood():
            case "restarts":
                self._calls = 0
            case "tells nothing":
                return {}
            case "breaker" if self.now() < 300:
                return GOOD_HEALTH | {"discogs_breaker_state": "open"}
            case "lies":
                self._calls += self._luck.randrange(500)
        return GOOD_HEALTH | {"discogs_live_requests_total": self._calls}


def dearest_minute(charges: list[tuple[float, float]]) -> float:
    return max(
        (math.fsum(cost for at, cost in charges if start <= at < start + 60) for start, _ in charges), default=0.0
    )


BEHAVIOURS = [
    *("warm", "cold", "slow", "stuck", "429", "429 with a time", "503 with a time", "503", "broken", "malformed"),
    *("error", "shed", "killed", "restarts", "tells nothing", "breaker", "lies"),
]
DAY = 20 * 3600.0


@settings(max_examples=25, deadline=None)
@given(
    moods=st.lists(st.sampled_from(BEHAVIOURS), min_size=1, max_size=6),
    slots=st.integers(2, 10),
    slice_max=st.integers(1, 6),
    steps=st.lists(st.tuples(st.floats(0, 600), st.floats(-3600, 3600)), max_size=2),
    seed=st.integers(0, 2**32),
)
def test_whatever_lml_does_the_budget_is_kept_and_no_identity_is_lost(moods, slots, slice_max, steps, seed):
    """Given any LML, two to ten slots, kills and stepping clocks.

    Then in any 60 s the job's own charges are at most its budget and a dearest slice for each slot (and for each step
    of the clock, which may forgive a debt), and its samples, which do not wait, are at most two; and within 20 hours
    every identity has a verdict or is left by name.
    """
    lml = Moods(["cold", *moods], Random(seed))  # noqa: S311
    limits = Pacing(slice_max=slice_max)
    fleet = Fleet(lml.script, messages(12), slots=slots, limits=limits, seed=seed)
    lml.now = fleet._loop.time

    fleet.run(patience=DAY, steps=steps)

    slices, samples = fleet.store.booked(samples=False), fleet.store.booked(samples=True)
    dearest = max((cost for _, cost in slices), default=0.0)
    assert dearest_minute(slices) <= limits.budget_max + (slots + len(steps)) * dearest + 1e-6
    assert dearest_minute(samples) <= 2 + len(steps)
    left = {identity for message in fleet.left for identity in message.identity_ids}
    assert left | fleet.verdicts.keys() == set(range(1, 13))
    assert not left & fleet.verdicts.keys()
    if "killed" not in moods:
        assert not left, f"waited {fleet.seconds:.0f} s for {left}"


def test_ten_slots_that_race_for_one_budget_lose_no_charge():
    """Given ten slots at once; then PACE has held the charge of every slice that was sent, each once."""
    fleet = Fleet(Script(seconds=lambda _: 0.3), messages(60), slots=10, limits=LIMITS)

    fleet.run(patience=DAY)

    states = [[charge.id for charge in pace.charges if charge.ids] for pace in fleet.store.written]
    assert len({charge for state in states for charge in state}) == len(fleet.script.asked)
    assert all(len(set(state)) == len(state) for state in states)


def test_a_breaker_that_is_open_for_an_hour_is_tried_every_quarter_of_it_and_costs_no_attempt():
    """Of a breaker that is open nobody knows whether it would let a call through; one id is no harm."""
    script = Script(health=lambda: GOOD_HEALTH | {"discogs_breaker_state": "open"})
    fleet = Fleet(script, messages(20), slots=2, limits=LIMITS)
    script.health = lambda: GOOD_HEALTH | {"discogs_breaker_state": "open" if fleet._loop.time() < 3600 else "closed"}

    fleet.run(patience=DAY)

    tried = [(at, ids) for at, ids in script.asked if at < 3600]
    assert [len(ids) for _, ids in tried] == [1] * len(tried)
    assert len(tried) == 3
    assert min(later - earlier for (earlier, _), (later, _) in pairwise([(0, []), *tried])) >= 900
    assert set(fleet.verdicts.values()) == {"resolved"}


def test_a_sample_is_worth_a_minute():
    """Given samples that say there is room, then an LML that no longer tells: the open loop's budget rules again."""
    bench = Bench()
    bench.throttle.ask(1)
    bench.clock.advance(30)
    bench.throttle.ask(1)
    assert len(bench.pace.samples) == 2
    bench.script.health = dict

    bench.clock.advance(61)
    permit = bench.permit()

    assert bench.pace.paid_until - permit.charge.at == pytest.approx(4 * 60 / 20)
    assert bench.pace.samples[-1] == Sample(bench.pace.samples[-1].at, None, None, None)
