"""One part of one message: what is sent, in which order, what counts as an attempt, and when it is handed on."""

from collections.abc import Callable, Sequence
from itertools import pairwise
from random import Random

import pytest

from core.aws.client import CLIENT
from core.budget.throttle import Throttle
from core.refresh.worker import COMMIT_RESERVE_SECONDS, PartResult, Worker
from core.runs.plan import RefreshMessage
from core.settings import Pacing
from tests.fleet import MemoryStore, Script, ScriptedLml, Told, failure, warmed
from tests.virtual import VirtualClock

HOUR = 3600.0


def in_turn(*answers: object) -> Callable[[Sequence[int]], object]:
    """Answer the n-th request with the n-th of these: an error, a body made for the ids, or a body."""
    left = list(answers)

    def answer(ids: Sequence[int]) -> object:
        if not left:
            return {"results": [warmed(identity) for identity in ids]}
        this = left.pop(0)
        if isinstance(this, Exception):
            raise this
        return this(ids) if callable(this) else this

    return answer


def all_with(status: str) -> Callable[[Sequence[int]], object]:
    return lambda ids: {"results": [{"identity_id": identity, "status": status} for identity in ids]}


class Bench:
    def __init__(self, *answers: object, seconds: float = 1.0, slice_max: int = 4) -> None:
        self.clock = VirtualClock()
        self.script = Script(answer=in_turn(*answers), seconds=lambda _: seconds)
        self.told = Told()
        lml = ScriptedLml(self.script, self.clock)
        luck = Random(1)  # noqa: S311
        throttle = Throttle(MemoryStore(), lml, self.clock, Pacing(slice_max=slice_max), luck)
        self.worker = Worker(lml, throttle, self.clock, self.told, 3)

    def work(
        self,
        *ids: int,
        failed: dict[int, int] | None = None,
        seconds: float = HOUR,
        goes_on: Callable[[], bool] = lambda: True,
    ) -> PartResult:
        message = RefreshMessage(version=1, run_id="r", identity_ids=ids, failed=failed or {})
        ends = self.clock.pace() + seconds
        return self.worker.work(message, time_left=lambda: ends - self.clock.pace(), run_goes_on=goes_on)

    @property
    def sent(self) -> list[list[int]]:
        return [ids for _, ids in self.script.asked]

    def warnings(self, step: str) -> list[dict[str, object]]:
        return [fields for told, fields in self.told.warnings if told == step]


def test_every_id_gets_its_verdict_and_the_totals_add_up():
    bench = Bench(all_with("warmed"), all_with("not_found"), all_with("not_implemented"))

    result = bench.work(1, 2, 3)

    totals = result.totals
    assert (totals.identities_scanned, totals.identities_resolved, totals.lml_error) == (3, 3, 0)
    assert (totals.not_found, totals.not_implemented, totals.lml_requests, totals.retries) == (1, 1, 3, 0)
    assert result.not_found == [2]
    assert (result.left, result.failed, result.stop, result.ended) == ({}, {}, None, False)


def test_a_cold_cache_is_asked_one_id_at_a_time():
    bench = Bench()

    bench.work(*range(1, 9))

    assert bench.sent == [[identity] for identity in range(1, 9)]


def test_a_warm_cache_is_asked_one_then_two_then_four_ids():
    bench = Bench(seconds=0.02)

    bench.work(*range(1, 12))

    assert bench.sent == [[1], [2, 3], [4, 5, 6, 7], [8, 9, 10, 11]]


def test_with_slices_switched_off_a_message_is_one_request():
    bench = Bench(slice_max=50)

    bench.work(*range(1, 51))

    assert bench.sent == [list(range(1, 51))]


def test_a_failed_id_is_tried_again_after_all_fresh_ones():
    bench = Bench(all_with("error"))

    result = bench.work(1, 2, 3)

    assert bench.sent == [[1], [2], [3], [1]]
    assert result.totals.identities_resolved == 3
    assert result.totals.retries == 1


def test_ids_that_failed_in_an_earlier_part_wait_for_the_fresh_ones():
    bench = Bench()

    bench.work(1, 2, 3, failed={1: 1})

    assert bench.sent == [[2], [3], [1]]


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param(all_with("error"), id="error"),
        pytest.param(all_with("quarantined"), id="a status never seen before"),
        pytest.param(lambda _: {"results": []}, id="no result"),
        pytest.param(lambda _: None, id="no object"),
        pytest.param(lambda _: {"results": "none"}, id="no list of results"),
        pytest.param(lambda _: {"results": [17]}, id="an item that is no object"),
        pytest.param(failure(cause="timeout"), id="a time-out"),
        pytest.param(failure(cause="connection"), id="a broken connection"),
        pytest.param(failure(200, cause="malformed"), id="no JSON"),
        pytest.param(failure(408), id="408"),
        pytest.param(failure(500), id="500"),
        pytest.param(failure(502), id="502"),
        pytest.param(failure(503), id="503 without a time"),
    ],
)
def test_what_lml_could_not_do_is_an_attempt_and_the_third_is_the_last(answer):
    """Given an id that has failed twice in earlier parts; then the next failure makes it an lml_error."""
    bench = Bench(answer)

    result = bench.work(7, failed={7: 2})

    assert bench.sent == [[7]]
    assert (result.totals.identities_scanned, result.totals.identities_resolved, result.totals.lml_error) == (1, 0, 1)
    assert list(result.failed) == [7]
    assert result.left == {}


@pytest.mark.parametrize(
    "error",
    [
        pytest.param(failure(429), id="429"),
        pytest.param(failure(429, retry_after=5), id="429 with a time"),
        pytest.param(failure(503, retry_after=5), id="503 with a time"),
    ],
)
def test_what_lml_would_not_do_now_is_no_attempt(error):
    """Given an id on its last attempt; when LML asks for a pause, it is asked again, at once in order."""
    bench = Bench(error, error, error, error)

    result = bench.work(7, 8, failed={7: 2, 8: 2})

    assert bench.sent == [[7]] * 5 + [[8]]
    assert result.totals.identities_resolved == 2
    assert result.totals.lml_error == 0


def test_retry_after_is_obeyed():
    bench = Bench(failure(429, retry_after=200))

    bench.work(1)

    (first, _), (second, _) = bench.script.asked
    assert second - first >= 200


def test_after_a_failure_one_id_at_a_time_until_one_succeeds():
    """Given a warm cache and slices of four; when one fails, the next request holds one id, then they grow again."""
    bench = Bench(seconds=0.02)
    bench.work(*range(1, 8))
    assert len(bench.sent[-1]) == 4
    bench.script.answer = in_turn(failure(500))

    bench.work(*range(11, 20))

    assert bench.sent[3:] == [[11, 12, 13, 14], [15], [16, 17, 18, 19], [11, 12, 13, 14]]


def test_failures_in_a_row_wait_ever_longer_with_jitter():
    bench = Bench(*[failure(429)] * 12)

    bench.work(1)

    times = [at for at, _ in bench.script.asked]
    waits = [later - earlier - 1 for earlier, later in pairwise(times)]
    for n, wait in enumerate(waits, start=1):
        assert wait <= min(300, 2 * 2**n) + 21 * 3 + 2  # the pause, or the debt of what the request may have cost
    assert max(waits) > 60


@pytest.mark.parametrize("status", [400, 413, 422])
def test_a_request_that_lml_rejects_is_final_for_its_ids_and_the_rest_goes_on(status):
    bench = Bench(failure(status))

    result = bench.work(1, 2)

    assert bench.sent == [[1], [2]]
    assert (result.totals.lml_error, result.totals.identities_resolved) == (1, 1)
    assert [error.status for error in result.rejected] == [status]
    assert result.stop is None


@pytest.mark.parametrize("status", [401, 403, 404, 405])
def test_an_lml_that_does_not_want_this_job_stops_the_run(status):
    """Given the second request is turned away; then its ids are left, no attempt is counted, nothing more is sent."""
    bench = Bench(all_with("warmed"), failure(status))

    result = bench.work(1, 2, 3, failed={2: 1, 3: 2})

    assert bench.sent == [[1], [2]]
    assert result.left == {2: 1, 3: 2}
    assert result.ended
    assert result.stop is not None
    assert result.stop.cause == f"lml_{status}"


def test_a_wrong_key_is_found_before_any_id_is_sent():
    bench = Bench()

    def refused() -> float:
        raise failure(401)

    bench.worker.throttle._lml.round_trip = refused

    result = bench.work(1, 2)

    assert bench.sent == []
    assert result.left == {1: 0, 2: 0}
    assert result.stop is not None


def test_an_unknown_status_is_warned_of_once_a_part():
    bench = Bench(all_with("quarantined"), all_with("quarantined"), all_with("vaporised"))

    bench.work(1, 2, 3)

    assert [fields["status"] for fields in bench.warnings("unknown_status")] == ["quarantined", "vaporised"]


def test_duplicates_and_strangers_in_an_answer_are_ignored_with_one_warning():
    twice = [lambda ids: {"results": [warmed(ids[0]), warmed(ids[0]), warmed(999)]}] * 2
    bench = Bench(*twice)

    result = bench.work(1, 2)

    assert result.totals.identities_scanned == 2
    assert len(bench.warnings("malformed_response")) == 1


SHED = {"message": "DiscogsBreakerOpenError"}


@pytest.mark.parametrize(
    "said",
    [
        pytest.param(SHED, id="at the result"),
        pytest.param({"sources": {"discogs_release": {"release_outcome": "error", "artists": [], **SHED}}}, id="below"),
    ],
)
def test_ids_that_lmls_breaker_sheds_stop_both_slots_until_it_is_closed(said):
    """Given an answer that says the breaker is open; then nothing is sent before a sample says that it is closed."""
    bench = Bench(lambda _: {"results": [{"identity_id": 1, "status": "error", **said}]})
    until = bench.clock.pace() + 600

    def health() -> dict[str, object]:
        state = "open" if until - 599 < bench.clock.pace() < until else "closed"
        return {"discogs_live_requests_total": 1, "discogs_breaker_state": state, "commit_sha": "abc"}

    bench.script.health = health

    result = bench.work(1, 2, 3)

    assert result.totals.identities_resolved == 3
    assert [at >= until for at, _ in bench.script.asked] == [False, True, True, True]


def test_what_the_breaker_sheds_has_used_no_attempt():
    """Given ids on their last attempt; then being turned away four times costs them nothing but the pause."""
    shed = [lambda ids: {"results": [{"identity_id": ids[0], "status": "error", **SHED}]}] * 4
    bench = Bench(*shed)

    result = bench.work(1, 2, failed={1: 2, 2: 2})

    assert bench.sent == [[1], [2], [1], [2], [1], [2]]
    assert (result.totals.identities_resolved, result.totals.lml_error) == (2, 0)


def test_a_breaker_that_only_a_call_can_close_is_tried():
    """Given an LML whose breaker stays open for as long as nobody calls; then one id is sent after 15 minutes."""
    bench = Bench()
    bench.script.health = lambda: {
        "discogs_live_requests_total": len(bench.sent),
        "discogs_breaker_state": "closed" if bench.sent else "open",
        "commit_sha": "abc",
    }
    began = bench.clock.pace()

    result = bench.work(1, 2, 3)

    assert result.totals.identities_resolved == 3
    assert 900 <= bench.script.asked[0][0] - began <= 940


# Handing on


@pytest.mark.parametrize(("slice_max", "seconds"), [(50, 300), (50, 120), (4, 120), (20, 300)])
def test_a_short_function_sends_what_it_has_time_for(slice_max, seconds):
    """Given a time-out under the limit of a full request; then requests are smaller, and not put off for ever."""
    bench = Bench(seconds=0.02, slice_max=slice_max)

    result = bench.work(*range(1, 51), seconds=seconds)

    assert result.totals.identities_resolved > 0
    assert max(map(len, bench.sent)) <= (seconds - 20) // 30


def test_a_part_with_no_time_for_a_request_hands_everything_on_at_once():
    """Given 79 s, less than the 60 of a request and 20 to commit; then nothing is sent, and no delay is asked for."""
    bench = Bench()

    result = bench.work(1, 2, seconds=79)

    assert bench.sent == []
    assert (result.left, result.delay, result.ended) == ({1: 0, 2: 0}, 0, False)


def test_what_is_left_when_time_is_short_goes_on_when_the_budget_is_paid():
    """Given slices of 4 calls at 20 a minute, 12 s each; then the rest goes on with the debt as its delay."""
    bench = Bench()

    result = bench.work(*range(1, 50), seconds=200)

    assert 0 < len(bench.sent) < 15
    assert list(result.left) == list(range(len(bench.sent) + 1, 50))
    assert 0 < result.delay <= 12


def test_a_back_off_that_outlives_the_part_is_its_delay():
    bench = Bench(failure(429, retry_after=1800))

    result = bench.work(1, 2, seconds=900)

    assert list(result.left) == [1, 2]
    assert 1700 < result.delay <= 1800


def test_a_back_off_that_begins_with_the_last_request_is_the_delay():
    """Given 85 s, and a refusal after one of them; then the next part waits for what LML asked for."""
    bench = Bench(failure(429, retry_after=600))

    result = bench.work(1, 2, seconds=85)

    assert len(bench.sent) == 1
    assert 590 < result.delay <= 600


def test_a_debt_is_the_delay_of_a_part_that_had_no_time_at_all():
    bench = Bench(seconds=0.3)
    bench.work(1, seconds=85)

    result = bench.work(2, seconds=79)

    assert len(bench.sent) == 1
    assert 0 < result.delay <= 12


def test_an_open_breaker_hands_on_with_a_minute_once_time_is_short():
    bench = Bench()
    bench.script.health = lambda: {"discogs_breaker_state": "open", "discogs_live_requests_total": 1}
    began = bench.clock.pace()

    result = bench.work(1, seconds=300)

    assert bench.sent == []
    assert 58 < result.delay <= 60
    assert 215 < bench.clock.pace() - began <= 222
    assert result.left == {1: 0}


def test_attempts_travel_with_the_ids_that_are_left():
    bench = Bench(failure(500), seconds=1)

    result = bench.work(*range(1, 40), seconds=150)

    assert result.left[1] == 1
    assert list(result.left)[-1] == 1


def test_a_run_that_ends_leaves_the_rest_by_name():
    """Given a run that is stopped after two requests; then the others are left, as not attempted."""
    bench = Bench()

    result = bench.work(1, 2, 3, 4, goes_on=lambda: len(bench.sent) < 2)

    assert result.ended
    assert result.left == {3: 0, 4: 0}
    assert result.totals.identities_scanned == 2


def test_a_call_of_aws_that_hangs_can_be_made_again_in_the_time_that_is_kept_for_committing():
    assert CLIENT.connect_timeout + CLIENT.read_timeout < COMMIT_RESERVE_SECONDS - 5


@pytest.mark.parametrize("body", [None, {"results": "none"}, {"results": [17]}])
def test_an_answer_of_another_shape_is_a_failed_request_in_its_span_too(body):
    bench = Bench(lambda _: body)

    bench.work(7)

    assert bench.told.failed_spans == ["retryable_error"]


def test_a_request_gets_the_time_that_its_ids_may_take():
    """Given a request that never ends; then it is given up after 60 s for one id, not sooner."""
    bench = Bench(seconds=10_000)

    bench.work(7, failed={7: 2})

    assert dict(bench.told.metrics)["LmlRequestMillis"] == pytest.approx(60_000)
    assert bench.told.failed_spans == ["retryable_error"]


def test_the_estimate_of_discogs_calls_is_what_was_charged():
    bench = Bench()

    result = bench.work(1, 2)

    assert result.totals.discogs_calls_estimated == 8
    assert sum(value for name, value in bench.told.metrics if name == "DiscogsCallsEstimated") == 8
