"""One part of one message: what is sent, in which order, what counts as an attempt, and when it is handed on."""

import math
from collections.abc import Callable, Sequence
from itertools import pairwise
from random import Random
from typing import TYPE_CHECKING

import pytest
from msgspec.structs import replace

from core.aws.client import CLIENT
from core.aws.queues import LONGEST_DELAY
from core.budget.pacing import BREAKER_REST, TRIAL_AFTER
from core.budget.throttle import COMMIT_RESERVE_SECONDS, LONGEST_REQUEST, Throttle
from core.environment import SettingsError
from core.refresh.result import PartResult
from core.refresh.worker import STAYS_SO, Worker
from core.runs.plan import MAX_PARTS, Carried, RefreshMessage, decode, encode
from core.runs.totals import Totals
from core.settings import Pacing
from tests.fleet import MemoryStore, RecordedReports, Script, ScriptedLml, failure, warmed
from tests.virtual import VirtualClock

if TYPE_CHECKING:
    from core.runs.ledger import Progress

HOUR = 3600.0


def left(result: PartResult) -> dict[int, int]:
    """Ids without a verdict, with how often they failed, in the order to go on with."""
    return result.next_part.attempts if result.next_part else {}


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
        self.reports = RecordedReports()
        self.noted: list[Progress] = []
        lml = ScriptedLml(self.script, self.clock)
        luck = Random(1)  # noqa: S311
        throttle = Throttle(MemoryStore(), lml, self.clock, Pacing(budget=8, slice_max=slice_max), luck)
        self.worker = Worker(lml, throttle, self.clock, self.reports, 3)

    def work(
        self,
        *ids: int,
        failed: dict[int, int] | None = None,
        carried: Carried | None = None,
        seconds: float = HOUR,
        goes_on: Callable[[], bool] = lambda: True,
    ) -> PartResult:
        message = RefreshMessage(version=1, run_id="r", identity_ids=ids, failed=failed or {})
        if carried is not None:
            message = replace(message, carried=carried)
        ends = self.clock.pace() + seconds
        return self.worker.part(
            message, time_left=lambda: ends - self.clock.pace(), run_goes_on=goes_on, note=self.noted.append
        ).work()

    @property
    def times(self) -> list[float]:
        """When each request began, in seconds after the first."""
        return [at - self.script.asked[0][0] for at, _ in self.script.asked]

    @property
    def sent(self) -> list[list[int]]:
        return [ids for _, ids in self.script.asked]

    def warnings(self, step: str) -> list[dict[str, object]]:
        return [fields for reports, fields in self.reports.warnings if reports == step]


def test_every_id_gets_its_verdict_and_the_totals_add_up():
    bench = Bench(all_with("warmed"), all_with("not_found"), all_with("not_implemented"))

    result = bench.work(1, 2, 3)

    totals = result.totals
    assert (totals.identities_scanned, totals.identities_resolved, totals.lml_error) == (3, 3, 0)
    assert (totals.not_found, totals.not_implemented, totals.lml_requests, totals.retries) == (1, 1, 3, 0)
    assert result.not_found == [2]
    assert (left(result), result.failed, result.stop, result.ended) == ({}, {}, None, False)


def test_a_cold_cache_is_asked_one_id_at_a_time():
    bench = Bench()

    bench.work(*range(1, 9))

    assert bench.sent == [[identity] for identity in range(1, 9)]


def test_a_warm_cache_is_asked_one_then_four_ids():
    bench = Bench(seconds=0.02)

    bench.work(*range(1, 10))

    assert bench.sent == [[1], [2, 3, 4, 5], [6, 7, 8, 9]]
    assert bench.clock.sleeps[:1] != [pytest.approx(30)]


def test_a_warm_day_is_over_in_no_time():
    """Given 50 cached ids, 10 ms each; then nothing waits, and no Discogs call is charged."""
    bench = Bench()
    bench.script.seconds = lambda ids: 0.01 * len(ids)

    result = bench.work(*range(1, 51))

    assert result.totals.discogs_calls_estimated == 0
    assert bench.times[-1] < 1


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
    assert left(result) == {}


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


def test_ids_that_lml_would_not_take_now_are_asked_in_their_order():
    bench = Bench(seconds=0.02)
    bench.work(9)
    bench.script.answer = in_turn(failure(429))

    bench.work(1, 2, 3)

    assert bench.sent[1:] == [[1, 2, 3], [1], [2, 3]]


def test_retry_after_is_obeyed():
    bench = Bench(failure(429, retry_after=200))

    bench.work(1)

    (first, _), (second, _) = bench.script.asked
    assert second - first >= 200


def test_after_a_failure_one_id_at_a_time_until_one_succeeds():
    """Given a warm cache and slices of four; when one fails, the next request holds one id, then they grow again."""
    bench = Bench(seconds=0.02)
    bench.work(*range(1, 6))
    assert len(bench.sent[-1]) == 4
    bench.script.answer = in_turn(failure(500))

    bench.work(*range(11, 20))

    assert bench.sent[2:] == [[11, 12, 13, 14], [15], [16, 17, 18, 19], [11, 12, 13, 14]]


def test_failures_in_a_row_wait_ever_longer_with_jitter():
    bench = Bench(*[failure(429)] * 12)

    bench.work(1)

    times = [at for at, _ in bench.script.asked]
    waits = [later - earlier - 1 for earlier, later in pairwise(times)]
    for n, wait in enumerate(waits, start=1):
        assert wait <= max(30, min(300, 2 * 2**n)) + 1  # the pause, or what the request was expected to cost
    assert max(waits) > 60


@pytest.mark.parametrize("status", [400, 413, 422])
def test_a_request_that_lml_rejects_is_final_for_its_ids_and_the_rest_goes_on(status):
    bench = Bench(failure(status))

    result = bench.work(1, 2)

    assert bench.sent == [[1], [2]]
    assert (result.totals.lml_error, result.totals.identities_resolved) == (1, 1)
    assert [error.status for error in result.rejected] == [status]
    assert result.stop is None


@pytest.mark.parametrize("status", [401, 403])
def test_an_lml_that_does_not_want_this_job_stops_the_run(status):
    """Given the second request is turned away; then its ids are left, no attempt is counted, nothing more is sent."""
    bench = Bench(all_with("warmed"), failure(status))

    result = bench.work(1, 2, 3, failed={2: 1, 3: 2})

    assert bench.sent == [[1], [2]]
    assert left(result) == {2: 1, 3: 2}
    assert result.ended
    assert result.stop is not None
    assert result.stop.cause == f"lml_{status}"


@pytest.mark.parametrize("status", [401, 403, 404, 405])
def test_a_wrong_key_or_address_is_found_before_any_id_is_sent(status):
    bench = Bench()

    def refused() -> float:
        raise failure(status)

    bench.worker.throttle._lml.round_trip = refused

    result = bench.work(1, 2)

    assert bench.sent == []
    assert left(result) == {1: 0, 2: 0}
    assert result.stop is not None


@pytest.mark.parametrize("status", [404, 405])
def test_a_404_between_good_answers_is_an_attempt_as_any_other(status):
    bench = Bench(all_with("warmed"), failure(status))

    result = bench.work(1, 2, 3)

    assert bench.sent == [[1], [2], [3], [2]]
    assert (result.totals.identities_resolved, result.stop) == (3, None)


def test_a_404_that_stays_so_stops_the_run():
    bench = Bench(all_with("warmed"), *[failure(404)] * 100)

    result = bench.work(*range(1, 51))

    assert len(bench.sent) == 1 + STAYS_SO
    assert result.totals.lml_error == 0
    assert result.stop is not None
    assert result.stop.cause == "lml_404"


def test_404s_that_an_answer_comes_between_do_not_stay_so():
    bench = Bench(all_with("warmed"), *([failure(404)] * (STAYS_SO - 1) + [all_with("warmed")]) * 2)

    result = bench.work(*range(1, 51), seconds=10 * HOUR)

    assert (result.stop, len(bench.sent) > 2 * STAYS_SO) == (None, True)


@pytest.mark.parametrize("status", [404, 405])
def test_a_404_at_the_first_request_of_a_run_stops_it(status):
    bench = Bench(failure(status))

    result = bench.work(1, 2)

    assert (bench.sent, left(result)) == ([[1]], {1: 0, 2: 0})
    assert result.stop is not None
    assert result.stop.cause == f"lml_{status}"


LATCHED = "Entity store is not available"


def test_an_lml_that_has_lost_its_store_ends_the_run_with_that_sentence_and_costs_no_attempt():
    """Given 503s that say so for good; then, with one id on its last attempt too, the run stops after some minutes."""
    bench = Bench(*[failure(503, detail=LATCHED)] * 100)

    result = bench.work(7, failed={7: 2})

    assert len(bench.sent) == STAYS_SO
    assert (result.totals.lml_error, left(result)) == (0, {7: 2})
    assert result.stop is not None
    assert LATCHED in result.stop.reason
    assert "until it is started again" in result.stop.reason


def test_an_lml_whose_store_comes_back_goes_on():
    bench = Bench(*[failure(503, detail=LATCHED)] * 3)

    result = bench.work(7, 8)

    assert (result.totals.identities_resolved, result.stop) == (2, None)


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


# The breaker

SHED = {"message": "DiscogsBreakerOpenError"}
BELOW = {"sources": {"discogs_release": {"release_outcome": "error", "artists": [], **SHED}}}


def shed(status: str = "error", shed_result: dict[str, object] = SHED) -> Callable[[Sequence[int]], object]:
    """LML's breaker turns away the first id, and answers the others."""
    return lambda ids: {"results": [{"identity_id": ids[0], "status": status, **shed_result}, *map(warmed, ids[1:])]}


def artists_shed(ids: Sequence[int]) -> object:
    """LML has the releases, and its breaker turns away two of three artists."""
    results = [warmed(identity) for identity in ids]
    for result in results:
        for artist in result["sources"]["discogs_release"]["artists"][1:]:
            artist.update(outcome="error", **SHED)
    return {"results": results}


@pytest.mark.parametrize(
    ("status", "shed_result"),
    [
        pytest.param("error", SHED, id="at the result"),
        pytest.param("error", BELOW, id="at its source"),
        pytest.param("not_implemented", BELOW, id="beside a source that is not wired"),
    ],
)
def test_an_id_that_lmls_breaker_sheds_goes_again_alone_every_few_seconds_and_then_everybody_rests(status, shed_result):
    """Given ids on their last attempt; then three sheds cost none, and the next id waits for the rest."""
    bench = Bench(*[shed(status, shed_result)] * 3)

    result = bench.work(1, 2, failed={1: 2, 2: 2})

    assert bench.sent == [[1]] * 4 + [[2]]
    assert [round(later - earlier) for earlier, later in pairwise(bench.times)] == [TRIAL_AFTER + 1] * 3 + [
        BREAKER_REST + 1
    ]
    assert (result.totals.identities_resolved, result.totals.lml_error) == (2, 0)
    assert result.totals.breaker_rest_seconds == 3 * TRIAL_AFTER + BREAKER_REST
    assert [fields["seconds"] for fields in bench.warnings("resting")] == [TRIAL_AFTER] * 3 + [BREAKER_REST]


def test_artists_that_were_shed_are_asked_again_and_the_identity_counts_once():
    """Given artists turned away beside a release that LML has; then the id goes again alone, and its artists count."""
    bench = Bench(artists_shed)

    result = bench.work(1, 2, 3)

    assert bench.sent == [[1], [1], [2], [3]]
    totals = result.totals
    assert (totals.identities_scanned, totals.warmed_releases, totals.warmed_artists, totals.artist_errors) == (
        *(3, 3, 9),
        0,
    )
    assert totals.retries == 1


def test_of_a_slice_whose_artists_were_all_shed_one_goes_at_once_and_the_others_after_all_fresh_ids():
    bench = Bench(seconds=0.02)
    bench.work(100)
    bench.script.answer = in_turn(artists_shed)

    result = bench.work(*range(1, 9))

    assert bench.sent[1:] == [[1, 2, 3, 4], [1], [5, 6, 7, 8], [2, 3, 4]]
    assert (result.totals.warmed_artists, result.totals.artist_errors) == (24, 0)


def test_artists_that_are_shed_again_and_again_are_errors_at_last():
    """Given an id whose artists were turned away twice before; then once more makes them artist_errors, not the id."""
    bench = Bench(artists_shed)

    result = bench.work(1, carried=Carried(artists_shed={1: 2}))

    assert bench.sent == [[1]]
    totals = result.totals
    assert (totals.identities_resolved, totals.warmed_artists, totals.artist_errors) == (1, 1, 2)


def test_artists_that_the_breaker_sheds_at_its_trial_are_asked_as_often_as_it_stays_open():
    bench = Bench(*[artists_shed] * 6)

    totals = bench.work(1, 2, carried=Carried(artists_shed={2: 1, 1: 1})).totals

    assert bench.sent == [[1]] * 7 + [[2]]
    assert (totals.warmed_artists, totals.artist_errors) == (6, 0)


def test_trials_do_not_count_among_the_times_that_artists_were_shed():
    result = Bench(*[artists_shed] * 100).work(1, 2, seconds=400)

    assert result.next_part is not None
    assert result.next_part.known.artists_shed == {1: 1}


def test_how_often_artists_were_shed_goes_on_to_the_next_part():
    """Given a slice met by the breaker just before its part ends."""
    bench = Bench(artists_shed, seconds=2.0)

    result = bench.work(1, 2, seconds=355)

    assert result.next_part is not None
    assert result.next_part.identity_ids == (2, 1)
    assert result.next_part.known.artists_shed == {1: 1}
    assert TRIAL_AFTER - 1 < result.delay <= TRIAL_AFTER
    assert "LML's breaker is open" in (result.why or "")

    bench.worker.part(result.next_part, time_left=lambda: HOUR, run_goes_on=lambda: True).work()

    assert bench.sent == [[1], [1], [2]]


# Answers in doubt


def bare(ids: Sequence[int]) -> object:
    """Every release a success without any artist: tombstones, or Discogs is down."""
    return {"results": [warmed(identity, 0) for identity in ids]}


def tombstones(*without: int) -> Callable[[Sequence[int]], object]:
    return lambda ids: {"results": [warmed(identity, 0 if identity in without else 3) for identity in ids]}


def to_the_end(bench: Bench, *ids: int, seconds: float = 900.0) -> list[PartResult]:
    """Work on a message part by part, as SQS delivers it: each after its delay, in whole seconds."""
    return and_on(bench, bench.work(*ids, seconds=seconds), seconds)


def and_on(bench: Bench, first: PartResult, seconds: float = 900.0) -> list[PartResult]:
    results = [first]
    while (message := results[-1].next_part) is not None:
        assert len(results) < 100
        bench.clock.advance(math.ceil(results[-1].delay))
        message, ends = decode(encode(message)), bench.clock.pace() + seconds
        results.append(
            bench.worker.part(
                message, time_left=lambda ends=ends: ends - bench.clock.pace(), run_goes_on=lambda: True
            ).work()
        )
    return results


def summed(results: list[PartResult]) -> Totals:
    return sum((result.totals for result in results), Totals())


def test_a_tombstone_is_asked_once_more_after_all_others_a_minute_later_and_nobody_asks_health():
    bench = Bench()
    bench.script.answer = tombstones(2)

    results = to_the_end(bench, 1, 2, 3)

    assert bench.sent == [[1], [2], [3], [2]]
    assert bench.times[3] - bench.times[1] >= 60
    assert bench.script.sampled == []
    totals = summed(results)
    assert (totals.identities_resolved, totals.warmed_releases, totals.warmed_without_artists) == (3, 3, 1)
    assert [identity for result in results for identity in result.without_artists] == [2]


def test_two_answers_in_doubt_in_a_row_ask_health_once_and_a_discogs_that_is_up_makes_them_tombstones():
    bench = Bench()
    bench.script.answer = tombstones(1, 2)

    totals = summed(to_the_end(bench, 1, 2, 3))

    assert len(bench.script.sampled) == 1
    assert (totals.warmed_without_artists, totals.discogs_rest_seconds) == (2, 0)


def test_a_long_row_of_tombstones_asks_health_once():
    """Given five in a row; then they ask once, and once more where they are asked again, in a row too."""
    bench = Bench()
    bench.script.answer = tombstones(1, 2, 3, 4, 5)

    totals = summed(to_the_end(bench, *range(1, 9)))

    assert len(bench.script.sampled) == 2
    assert (totals.warmed_without_artists, totals.warmed_artists) == (5, 9)


def test_cached_answers_prove_no_discogs_that_is_up():
    """Given an id in doubt behind two that are cached; then it counts as a tombstone only after `/health` said so."""
    bench = Bench(seconds=0.02)
    bench.script.answer = tombstones(1)

    totals = bench.work(1, 2, 3, carried=Carried(in_doubt={1: bench.clock.pace() - 90})).totals

    assert (len(bench.script.sampled), totals.warmed_without_artists) == (1, 1)


def test_tombstones_with_a_cold_release_between_them_are_no_row():
    bench = Bench()
    bench.script.answer = tombstones(1, 3, 5)

    to_the_end(bench, *range(1, 7))

    assert [ids for at, ids in bench.script.asked if at < min(bench.script.sampled)][:6] == [[i] for i in range(1, 7)]


def test_an_outage_that_goes_on_is_asked_about_again_by_the_next_row():
    """Given a Discogs that is down, up in `/health` alone, and down again; then each row asks, and nothing is lost."""
    bench = Bench()
    words = ["error", "error", "ok"]
    bench.script.answer = lambda ids: {"results": [warmed(i, 3 if not words else 0) for i in ids]}
    bench.script.health = lambda: {"services": {"discogs_api": words.pop(0) if words else "ok"}}

    totals = summed(to_the_end(bench, *range(1, 9)))

    assert (totals.warmed_artists, totals.warmed_without_artists) == (24, 0)


@pytest.mark.parametrize(
    ("carried", "sent"),
    [
        (lambda now: Carried(in_doubt={1: now + 5000}), 60),
        (lambda now: Carried(not_before=now + 5000), 0),
        (lambda now: Carried(in_doubt={1: now - 30}), 30),
    ],
    ids=["since when it is in doubt", "the end of a back-off", "half of the minute is over"],
)
def test_what_a_clock_that_was_set_back_has_carried_holds_nothing_up(carried, sent):
    bench = Bench()
    began = bench.clock.pace()

    bench.work(1, carried=carried(began))

    assert bench.script.asked[0][0] - began == pytest.approx(sent, abs=1.1)


def test_a_discogs_that_was_up_by_a_clock_that_was_set_back_proves_nothing():
    bench = Bench(bare)
    now = bench.clock.pace()

    bench.work(1, carried=Carried(in_doubt={1: now - 90}, discogs_up=now + 5000))

    assert len(bench.script.sampled) == 1


def test_those_in_doubt_are_asked_again_from_the_oldest_on_and_none_before_its_minute_is_over():
    bench = Bench(seconds=0.02)
    now = bench.clock.pace()
    bench.work(100)

    and_on(bench, bench.work(3, 1, 2, carried=Carried(in_doubt={3: now - 20, 1: now - 90, 2: now - 40})))

    assert bench.sent[1:] == [[1], [2], [3]]
    assert [round(at - now) for at, _ in bench.script.asked[2:]] == pytest.approx([20, 40], abs=2)


def test_an_id_that_failed_before_it_was_in_doubt_is_asked_once():
    bench = Bench()

    result = bench.work(1, failed={1: 1}, carried=Carried(in_doubt={1: bench.clock.pace() - 90}))

    assert (bench.sent, result.totals.identities_resolved) == ([[1]], 1)


def test_an_id_in_doubt_that_lml_would_not_ask_about_now_stays_in_doubt():
    bench = Bench(failure(429, retry_after=1800))
    since = math.floor(bench.clock.pace()) - 90

    result = bench.work(1, carried=Carried(in_doubt={1: since}), seconds=900)

    assert result.next_part is not None
    assert result.next_part.known.in_doubt == {1: since}


def test_a_part_without_doubts_and_with_a_short_back_off_has_nothing_to_carry():
    bench = Bench(tombstones(), failure(429, retry_after=100))

    result = bench.work(1, 2, seconds=400)

    assert result.next_part is not None
    assert result.next_part.known == Carried()


def test_a_lonely_id_that_stays_in_doubt_beside_cached_ones_asks_health():
    """Given a warm message with one cold id while Discogs is down; then a cached answer says nothing of Discogs."""
    bench = Bench(seconds=0.02)
    up_at = bench.clock.pace() + 600
    is_up = lambda: bench.clock.pace() >= up_at  # noqa: E731
    bench.script.answer = lambda ids: {"results": [warmed(i, 0 if i == 2 and not is_up() else 3) for i in ids]}
    bench.script.health = lambda: {"services": {"discogs_api": "ok" if is_up() else "network-error"}}

    totals = summed(to_the_end(bench, 1, 2, 3, 4, 5))

    assert (totals.warmed_artists, totals.warmed_without_artists) == (15, 0)
    assert 500 < totals.discogs_rest_seconds <= 660


@pytest.mark.parametrize("seconds", [0.02, 1.0, 12.0])
def test_with_discogs_down_for_ten_minutes_in_mid_day_no_id_ends_without_the_artists_that_it_has(seconds):
    """Given a cold day of 50 ids, three of them tombstones, and an outage from its fifth minute on."""
    bench = Bench(seconds=seconds)
    began = bench.clock.pace()
    is_down = lambda: 300 <= bench.clock.pace() - began < 900  # noqa: E731
    dead = {7, 25, 48}
    cold = set(range(1, 51))

    def answer(ids: Sequence[int]) -> object:
        reports = [
            warmed(identity, 0 if (is_down() and identity in cold) or identity in dead else 3) for identity in ids
        ]
        if not is_down():
            cold.difference_update(ids)
        return {"results": reports}

    bench.script.answer = answer
    bench.script.health = lambda: {"services": {"discogs_api": "upstream-error" if is_down() else "ok"}}
    if seconds < 1:
        began -= 300

    totals = summed(to_the_end(bench, *range(1, 51)))

    assert (totals.identities_resolved, totals.warmed_artists, totals.warmed_without_artists) == (50, 141, 3)
    assert totals.discogs_rest_seconds >= 480


def test_with_discogs_down_all_day_nothing_counts_as_warmed():
    bench = Bench()
    bench.script.answer = bare
    bench.script.health = lambda: {"services": {"discogs_api": "auth-error"}}
    ends = bench.clock.pace() + 20 * HOUR
    parts, message = [], RefreshMessage(version=1, run_id="r", identity_ids=tuple(range(1, 51)))
    while message is not None and bench.clock.pace() < ends:
        until = bench.clock.pace() + 900
        parts.append(
            bench.worker.part(
                message,
                time_left=lambda until=until: until - bench.clock.pace(),
                run_goes_on=lambda: bench.clock.pace() < ends,
            ).work()
        )
        bench.clock.advance(math.ceil(parts[-1].delay))
        message = parts[-1].next_part

    totals = summed(parts)
    assert message is not None
    assert set(message.identity_ids) == set(range(1, 51))
    assert (totals.identities_scanned, totals.warmed_releases) == (0, 0)
    assert totals.discogs_rest_seconds > 19 * HOUR
    assert totals.rested == [f"rested {totals.discogs_rest_seconds} s, since Discogs was down"]
    assert len(bench.sent) < 10
    assert len(parts) < MAX_PARTS * 2  # of two slots' work: a message has a hundred parts


# Handing on


@pytest.mark.parametrize(("slice_max", "seconds"), [(50, 300), (50, 30), (4, 120), (4, 25)])
def test_a_short_function_sends_with_the_time_that_it_has(slice_max, seconds):
    """Given a time-out under 350 s; then its requests have less time, and are not put off for ever."""
    bench = Bench(seconds=0.02, slice_max=slice_max)

    result = bench.work(*range(1, 51), seconds=seconds)

    assert result.totals.identities_resolved > 0


def test_a_request_has_its_whole_limit_or_is_not_sent():
    bench = Bench()

    result = bench.work(1, 2, seconds=LONGEST_REQUEST + COMMIT_RESERVE_SECONDS + 10)

    assert [len(bench.sent), *left(result)] == [1, 2]
    assert 28 < result.delay <= 30


def test_a_part_with_no_time_for_a_request_hands_everything_on_at_once():
    """Given a function with time enough, of which the round trip took too much."""
    bench = Bench()
    bench.worker.throttle._lml.round_trip = lambda: bench.clock.advance(300) or 1.0

    result = bench.work(1, 2, seconds=900)

    assert bench.sent == []
    assert (left(result), result.delay, result.ended) == ({1: 0, 2: 0}, 0, False)


def test_what_is_left_when_time_is_short_goes_on_when_the_next_slice_may_start():
    """Given ids of 4 calls at 8 a minute, 30 s each; then the rest goes on with what is not waited for as its delay."""
    bench = Bench()

    result = bench.work(*range(1, 50), seconds=900)

    assert len(bench.sent) == 19
    assert list(left(result)) == list(range(20, 50))
    assert 0 < result.delay <= 30


@pytest.mark.parametrize("seconds", [900, 370])
def test_a_back_off_that_outlives_the_part_is_its_delay_and_goes_on_with_it(seconds):
    bench = Bench(failure(429, retry_after=1800))

    result = bench.work(1, 2, seconds=seconds)

    assert list(left(result)) == [1, 2]
    assert 1700 < result.delay <= 1800

    bench.clock.advance(LONGEST_DELAY)
    assert result.next_part is not None
    result = bench.worker.part(result.next_part, time_left=lambda: 900, run_goes_on=lambda: True).work()

    assert len(bench.sent) == 1
    assert LONGEST_DELAY - 100 < result.delay <= LONGEST_DELAY


def test_attempts_travel_with_the_ids_that_are_left():
    bench = Bench(failure(500), seconds=1)

    result = bench.work(*range(1, 40), seconds=600)

    assert left(result)[1] == 1
    assert list(left(result))[-1] == 1


def test_a_run_that_ends_leaves_the_rest_by_name():
    """Given a run that is stopped after two requests; then the others are left, as not attempted."""
    bench = Bench()

    result = bench.work(1, 2, 3, 4, goes_on=lambda: len(bench.sent) < 2)

    assert result.ended
    assert left(result) == {3: 0, 4: 0}
    assert result.totals.identities_scanned == 2


def test_a_call_of_aws_that_hangs_can_be_made_again_in_the_time_that_is_kept_for_committing():
    assert CLIENT.connect_timeout + CLIENT.read_timeout < COMMIT_RESERVE_SECONDS - 5


@pytest.mark.parametrize("body", [None, {"results": "none"}, {"results": [17]}])
def test_an_answer_of_another_shape_is_a_failed_request_in_its_span_too(body):
    bench = Bench(lambda _: body)

    bench.work(7)

    assert bench.reports.failed_spans == ["retryable_error"]


def test_a_request_that_never_ends_is_given_up_after_lml_s_own_ingress_has_ended_it():
    bench = Bench(seconds=10_000)

    bench.work(7, failed={7: 2})

    assert dict(bench.reports.metrics)["LmlRequestMillis"] == pytest.approx(330_000)
    assert bench.reports.failed_spans == ["retryable_error"]


def test_the_estimate_of_discogs_calls_is_what_was_charged():
    bench = Bench()

    result = bench.work(1, 2)

    assert result.totals.discogs_calls_estimated == 8
    assert sum(value for name, value in bench.reports.metrics if name == "DiscogsCallsEstimated") == 8


def test_what_lml_refused_has_cost_no_call():
    bench = Bench(failure(429), failure(503, retry_after=1))

    assert bench.work(1).totals.discogs_calls_estimated == 4


def test_after_each_request_is_noted_what_the_run_will_get_and_at_the_end_nothing_twice():
    """Whoever watches adds it to the run's totals, which get it when the part is committed."""
    bench = Bench(all_with("warmed"), all_with("error"), all_with("not_found"))

    result = bench.work(1, 2, 3)

    *underway, handed_over = [it.totals for it in bench.noted]
    assert [it.identities_scanned for it in underway] == [1, 1, 2, 3]
    assert [it.lml_requests for it in underway] == [1, 2, 3, 4]
    assert underway[-1] == result.totals
    assert handed_over == Totals()
    assert bench.noted[-1].answered_at == bench.noted[-2].answered_at is not None


def test_an_id_that_is_given_up_is_noted_as_failed_at_once():
    bench = Bench(failure(422), all_with("warmed"))

    bench.work(1, 2)

    assert [it.totals.lml_error for it in bench.noted] == [1, 1, 0]


def test_a_dead_lml_comes_to_no_verdict_and_its_word_is_noted():
    bench = Bench(*[failure(503, detail="out of order")] * 2, all_with("not_found"))

    bench.work(1)

    assert [it.totals.identities_scanned for it in bench.noted] == [0, 0, 1, 0]
    assert ["out of order" in (it.error or "") for it in bench.noted] == [True, True, False, False]
    assert [it.answered_at is None for it in bench.noted] == [True, True, False, False]


@pytest.mark.parametrize("body", [None, [], {"results": None}, {"results": [5]}])
def test_a_body_of_another_form_is_noted_as_an_error_and_no_verdict(body):
    bench = Bench(body)

    bench.work(1)

    assert bench.noted[0].totals.identities_scanned == 0
    assert bench.noted[0].error
    assert bench.noted[1].error is None


def test_nothing_is_noted_of_a_part_that_asked_nothing():
    bench = Bench()
    bench.work(1, goes_on=lambda: False)
    assert bench.noted == []


def gone(*, may_pass: bool) -> SettingsError:
    error = SettingsError("LML_API_KEY_SECRET_ARN's secret cannot be read: it is scheduled for deletion")
    error.may_pass = may_pass
    return error


def test_a_key_that_is_gone_stops_the_run_with_the_reason_and_keeps_every_id():
    bench = Bench(all_with("warmed"), gone(may_pass=False))

    result = bench.work(1, 2, 3)

    assert result.ended
    assert result.stop is not None
    assert (result.stop.cause, "scheduled for deletion" in result.stop.reason) == ("lml_key", True)
    assert result.totals.identities_scanned == 1
    assert sorted(left(result).items()) == [(2, 0), (3, 0)]


def test_a_key_that_cannot_be_fetched_for_a_moment_is_waited_for_and_is_no_attempt():
    bench = Bench(all_with("warmed"), gone(may_pass=True), gone(may_pass=True))

    result = bench.work(1, 2, 3)

    assert (result.stop, left(result)) == (None, {})
    assert (result.totals.identities_resolved, result.totals.lml_error) == (3, 0)
