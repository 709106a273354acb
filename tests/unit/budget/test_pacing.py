"""The budget's arithmetic: who may call Discogs, and when (DESIGN §6)."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from core.budget import pacing
from core.budget.pacing import Charge, Go, Pace, Sample, Wait
from core.settings import Pacing

LIMITS = Pacing()
T = 10_000.0


def ask(pace: Pace, now: float = T, *, wanted: int = 1, cost: float = 4.0, limits: Pacing = LIMITS) -> Go | Wait:
    return pacing.attempt(pace, now, limits, charge_id=f"c{now}", wanted=wanted, cost_per_id=cost)


def sample(at: float, calls: int | None, *, breaker: str | None = "closed", commit: str | None = "abc") -> Sample:
    return Sample(at=at, calls=calls, breaker=breaker, commit=commit)


def spent(*calls: float, seconds_ago: float = 10.0) -> tuple[Charge, ...]:
    at = T - seconds_ago
    return tuple(Charge(f"old{n}", at, cost, 1, at) for n, cost in enumerate(calls))


def measured(others: int = 0, *, mean: float = 0.0, **fields: object) -> Pace:
    """A budget whose last minute is sampled: `others` calls of others, spread over it."""
    samples = (sample(T - 60, 0), sample(T - 30, others // 2), sample(T, others))
    return replace(Pace(samples=samples, others_mean=mean), **fields)


# GCRA without burst


def test_a_fresh_budget_lets_one_slice_start_and_charges_it_at_the_open_rate():
    go = ask(Pace(), cost=4)

    assert isinstance(go, Go)
    assert go.charge == Charge(f"c{T}", T, 4, 1)
    assert go.pace.paid_until == T + 4 * 60 / 20


def test_the_next_slice_waits_until_the_last_is_paid_and_no_pause_saves_up_for_a_burst():
    go = ask(Pace(paid_until=T - 5000))
    assert isinstance(go, Go)

    assert ask(go.pace, T + 11.9) == Wait(T + 12, "budget")
    assert isinstance(ask(go.pace, T + 12), Go)


def test_what_a_slice_has_cost_replaces_what_it_was_expected_to_cost():
    go = ask(Pace(), cost=4)
    assert isinstance(go, Go)

    dear = pacing.settle(go.pace, T + 2, LIMITS, charge=go.charge, cost=9)
    free = pacing.settle(go.pace, T + 2, LIMITS, charge=go.charge, cost=0)

    assert dear.paid_until == T + 9 * 3
    assert free.paid_until == T
    assert dear.charges == (Charge(f"c{T}", T, 9, 1, T + 2),)


def test_a_killed_slice_leaves_its_charge_standing():
    """Given a slice that is never settled; then the others still wait for what it was expected to cost."""
    go = ask(Pace(), cost=20)
    assert isinstance(go, Go)

    assert ask(go.pace, T + 59) == Wait(T + 60, "budget")


def test_a_slice_that_outlives_the_memory_is_still_paid():
    go = ask(Pace(), cost=4)
    assert isinstance(go, Go)
    later = pacing.add_sample(go.pace, sample(T + 200, 0), LIMITS)
    assert later.charges == ()

    settled = pacing.settle(later, T + 300, LIMITS, charge=go.charge, cost=104)

    assert settled.paid_until == go.pace.paid_until + 100 * 3


def test_charges_and_samples_are_kept_for_150_seconds():
    pace = Pace(charges=(*spent(1, seconds_ago=150), *spent(2, seconds_ago=149)), samples=(sample(T - 151, 1),))

    kept = pacing.remembered(pace, T)

    assert [charge.cost for charge in kept.charges] == [2]
    assert kept.samples == ()


# Room


def test_measured_room_has_the_higher_budget_and_counts_what_others_do():
    room = pacing.room(measured(others=20), T, LIMITS)

    assert (room.loop, room.budget, room.limit) == ("measured", 40, 44)
    assert room.others == pytest.approx(20)


@pytest.mark.parametrize(
    ("others", "ours", "may_start"),
    [
        pytest.param(20, 20, True, id="44 with the slice"),
        pytest.param(20, 21, False, id="more than 44 with the slice"),
        pytest.param(40, 0, True, id="others alone leave just enough"),
        pytest.param(41, 0, False, id="others alone leave too little"),
    ],
)
def test_a_slice_starts_only_if_ours_and_others_and_it_fit_into_the_minute(others, ours, may_start):
    pace = measured(others, charges=spent(ours))
    pace = replace(
        pace, samples=tuple(replace(s, calls=(s.calls or 0) + (s.at == T) * round(ours)) for s in pace.samples)
    )

    assert isinstance(ask(pace), Go) is may_start


def test_a_slice_shrinks_to_what_the_minute_holds():
    go = ask(measured(others=30), wanted=4, cost=5)

    assert isinstance(go, Go)
    assert go.charge.ids == 2


@pytest.mark.parametrize(("ours", "may_start"), [(40, True), (41, False)])
def test_above_our_budget_nothing_starts_however_cheap_it_is_and_however_quiet_the_others_are(ours, may_start):
    """Given refunds that have paid off every debt; then what the last minute holds is a bound of its own."""
    pace = Pace(paid_until=T - 1, charges=spent(ours), others_mean=0.0)

    assert isinstance(ask(pace, cost=0.1), Go) is may_start


def test_a_full_message_is_one_request_where_slices_are_switched_off():
    go = ask(measured(others=30), wanted=50, cost=4, limits=replace(LIMITS, slice_max=50))

    assert isinstance(go, Go)
    assert go.charge.ids == 50


def test_however_full_the_minute_one_id_may_start_every_60_seconds():
    full = measured(others=60)
    assert isinstance(ask(full, wanted=4), Go)

    again = replace(full, charges=spent(1, seconds_ago=59))
    assert ask(again, wanted=4) == Wait(T + 1, "room")
    go = ask(replace(full, charges=spent(1, seconds_ago=60)), wanted=4)

    assert isinstance(go, Go)
    assert go.charge.ids == 1


def test_our_own_calls_are_not_counted_as_others():
    """Given 20 calls at the counter, 12 of them charged to us; then others made 8."""
    pace = measured(20, charges=(Charge("x", T - 40, 12, 3, T - 20),))

    room = pacing.room(pace, T, LIMITS)

    assert room.spent == pytest.approx(12)
    assert room.others == pytest.approx(8)


def test_since_the_last_sample_others_are_taken_to_go_on_as_on_average():
    pace = replace(measured(others=20), others_mean=30)

    assert pacing.room(pace, T + 20, LIMITS).others == pytest.approx(20 * 40 / 60 + 30 * 20 / 60)


# What is not measured


@pytest.mark.parametrize(
    "samples",
    [
        pytest.param((), id="no sample"),
        pytest.param((sample(T, 5),), id="one sample"),
        pytest.param((sample(T - 100, 0), sample(T - 61, 5)), id="the newest is older than 60 s"),
        pytest.param((sample(T - 61, 0), sample(T, 5)), id="more than 60 s between the two"),
        pytest.param((sample(T - 30, 9), sample(T, 5)), id="the counter fell"),
        pytest.param((sample(T - 30, 0), sample(T, 5, commit="def")), id="another commit"),
        pytest.param((sample(T - 30, None), sample(T, 5)), id="no counter before"),
        pytest.param((sample(T - 30, 0), sample(T, None, breaker=None)), id="no counter now"),
    ],
)
def test_the_open_loop_takes_over_where_lml_cannot_be_measured(samples):
    room = pacing.room(Pace(samples=samples), T, LIMITS)

    assert (room.loop, room.budget, room.others, room.breaker_closed) == ("open", 20, 0, True)


@pytest.mark.parametrize("state", ["open", "half_open", "something new"])
def test_nothing_is_sent_until_the_breaker_is_closed(state):
    pace = Pace(samples=(sample(T - 30, 0), sample(T, 0, breaker=state)))

    assert ask(pace) == Wait(T + 60, "breaker")
    closed = pacing.add_sample(pace, sample(T + 30, 0), LIMITS)
    assert isinstance(ask(closed, T + 30), Go)


def test_a_sample_that_is_too_old_says_nothing_of_the_breaker():
    assert isinstance(ask(Pace(samples=(sample(T - 61, 0, breaker="open"),))), Go)


# Samples


def test_one_slot_samples_and_its_call_is_charged():
    begun = pacing.begin_sample(Pace(), T, LIMITS, charge_id="s")

    assert begun is not None
    assert begun.charges == (Charge("s", T, 1, 0, T),)
    assert begun.paid_until == T + 3
    assert pacing.begin_sample(begun, T + 29, LIMITS, charge_id="s2") is None


def test_a_new_sample_is_due_30_seconds_after_the_last():
    pace = Pace(samples=(sample(T, 0),))

    assert pacing.begin_sample(pace, T + 29.9, LIMITS, charge_id="s") is None
    assert pacing.begin_sample(pace, T + 30, LIMITS, charge_id="s") is not None


def test_a_sampler_that_never_comes_back_is_replaced_after_30_seconds():
    begun = pacing.begin_sample(Pace(), T, LIMITS, charge_id="dead")
    assert begun is not None

    assert pacing.begin_sample(begun, T + 30, LIMITS, charge_id="next") is not None


def test_settling_twice_is_settling_once():
    """Given a write whose answer was lost, and that is made again; then the debt moves once, up or down."""
    for cost in (0.0, 9.0):
        go = ask(Pace())
        assert isinstance(go, Go)
        once = pacing.settle(go.pace, T + 2, LIMITS, charge=go.charge, cost=cost)

        twice = pacing.settle(once, T + 3, LIMITS, charge=go.charge, cost=cost)

        assert (twice.paid_until, twice.charges) == (once.paid_until, once.charges)


def test_a_breaker_is_tried_after_a_quarter_of_an_hour_and_then_every_one():
    """Given samples every 30 s of a breaker that stays open; then one id may start at 900 s and at 1,800 s."""
    pace, started = Pace(), []
    for second in range(0, 2000, 30):
        pace = pacing.add_sample(pace, sample(T + second, 7, breaker="open"), LIMITS)
        answer = ask(pace, T + second, wanted=4)
        if isinstance(answer, Go):
            started.append((second, answer.charge.ids))
            pace = answer.pace
        else:
            assert answer == Wait(T + second + 60, "breaker")
    closed = pacing.add_sample(pace, sample(T + 2020, 7), LIMITS)
    again = pacing.add_sample(closed, sample(T + 2050, 7, breaker="open"), LIMITS)

    assert started == [(900, 1), (1800, 1)]
    assert ask(again, T + 2051) == Wait(T + 2111, "breaker")


def test_charges_beyond_the_counters_difference_are_refunded():
    """Given slices charged with 12 calls while LML made 3, one of them the sampler's; then 10 are given back."""
    slices = (Charge("a", T - 25, 8, 2, T - 20), Charge("b", T - 15, 4, 1, T - 12), Charge("s", T - 1, 1, 0, T - 1))
    pace = Pace(paid_until=T + 10, charges=slices, samples=(sample(T - 30, 100),))

    after = pacing.add_sample(pace, sample(T, 103), LIMITS)

    assert sum(charge.cost for charge in after.charges if charge.ids) == pytest.approx(2)
    assert after.paid_until == pytest.approx(T + 10 - 10 * 60 / 40)


@pytest.mark.parametrize(
    "charge",
    [
        pytest.param(Charge("early", T - 31, 8, 1, T - 20), id="started before the first sample"),
        pytest.param(Charge("late", T - 5, 8, 1, T + 1), id="settled after the second"),
        pytest.param(Charge("open", T - 5, 8, 1), id="not settled yet"),
    ],
)
def test_only_slices_started_and_settled_between_the_two_samples_are_refunded(charge):
    pace = Pace(paid_until=T + 10, charges=(charge,), samples=(sample(T - 30, 100),))

    after = pacing.add_sample(pace, sample(T, 100), LIMITS)

    assert after.paid_until == T + 10
    assert after.charges == (charge,)


def test_nothing_is_refunded_where_the_counter_says_nothing():
    pace = Pace(paid_until=T + 10, charges=spent(8), samples=(sample(T - 30, 100),))

    assert pacing.add_sample(pace, sample(T, 50), LIMITS).paid_until == T + 10


def test_the_slow_mean_of_others_starts_at_20_and_forgets_over_five_minutes():
    pace = Pace()
    for n in range(21):
        pace = pacing.add_sample(pace, sample(T + 30 * n, 5 * n), LIMITS)

    assert Pace().others_mean == 20
    assert pace.others_mean == pytest.approx(10 + 10 * 2.718281828 ** (-600 / 300))


# Clocks


def test_two_machines_may_differ_by_a_second():
    pace = Pace(paid_until=T + 5, charges=(Charge("x", T + 0.9, 4, 1),), samples=(sample(T + 0.5, 7),))

    assert pacing.remembered(pace, T) == pace


@given(st.floats(2, 1e6))
def test_after_a_clock_was_set_back_the_same_debt_is_owed(seconds):
    """Given a debt of 12 s, written by a clock that was then set back; then 12 s are owed from now on."""
    go = ask(Pace(samples=(sample(T - 40, 0), sample(T - 5, 4))))
    assert isinstance(go, Go)
    debt = go.pace.paid_until - T

    back = pacing.remembered(go.pace, T - seconds)

    assert back.paid_until - (T - seconds) == pytest.approx(debt)
    assert back.charges[0].at == pytest.approx(T - seconds)
    assert back.samples[-1].at == pytest.approx(T - seconds - 5)


def test_what_a_vanished_clock_has_reserved_for_sampling_is_given_up_after_a_minute():
    begun = pacing.begin_sample(Pace(), T, LIMITS, charge_id="s")
    assert begun is not None

    assert pacing.begin_sample(begun, T - 3600, LIMITS, charge_id="t") is None
    assert pacing.begin_sample(begun, T - 3600, LIMITS, charge_id="t", abandoned=True) is not None


# All of it


@st.composite
def histories(draw: st.DrawFn) -> tuple[list[tuple[float, float, float]], float]:
    """Slices: seconds since the last, calls, seconds that it takes; and what an id is expected to cost."""
    steps = st.tuples(st.floats(0, 20), st.floats(0, 84), st.floats(0, 120))
    return draw(st.lists(steps, min_size=1, max_size=60)), draw(st.floats(0.1, 20))


@given(histories(), st.booleans())
def test_what_is_paid_in_any_minute_is_at_most_the_budget_and_the_slices_in_flight(history, in_measured_room):
    """Given any slices of one slot at any time; then any 60 s hold the budget and the dearest slice at most."""
    steps, expected = history
    pace, now = Pace(), T
    paid: list[tuple[float, float]] = []
    for pause, cost, elapsed in steps:
        now += pause
        if in_measured_room:
            pace = replace(pace, samples=(sample(now - 30, 0), sample(now, 0)), others_mean=0.0)
        answer = ask(pace, now, cost=expected)
        if isinstance(answer, Go):
            pace = pacing.settle(answer.pace, now + elapsed, LIMITS, charge=answer.charge, cost=cost)
            paid.append((now, cost))
            now += elapsed

    budget = LIMITS.budget_max if in_measured_room else LIMITS.budget
    dearest = max((cost for _, cost in paid), default=0)
    for start, _ in paid:
        assert sum(cost for at, cost in paid if start <= at < start + 60) <= budget + max(dearest, expected) + 1e-6


@given(st.builds(Pace, paid_until=st.floats(0, 2e9)))
def test_the_state_survives_being_written_and_read(pace):
    go = ask(pacing.add_sample(pace, sample(T, 3), LIMITS), now=3e9)
    assert isinstance(go, Go)

    assert msgspec.json.decode(msgspec.json.encode(go.pace), type=Pace) == go.pace
