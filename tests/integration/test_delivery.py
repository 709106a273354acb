"""A refresh message on its way: whatever happens to its deliveries, each id counts once and its run ends."""

import json
from datetime import timedelta

import pytest
from botocore.exceptions import ClientError

from core.aws.queues import LONGEST_DELAY
from core.runs.ledger import Commit
from core.runs.messages import ClaimedError
from core.runs.plan import MAX_PARTS, RefreshMessage, encode
from core.runs.totals import Totals
from tests.integration.accounts import IDS, RUN, SCHEDULED, TIMEOUT, WORLD, error

pytest_plugins = ("tests.integration.fixtures",)

FEW = IDS[:6]


@pytest.fixture
def few(book):
    """Start a run of one message with six ids; returns its id."""
    return str(book.start({"identity_ids": FEW})["run_id"])


def test_a_run_ends_with_the_totals_of_lmls_world(book, closed):
    book.start(SCHEDULED)

    assert book.deliver_all() == 4, "three messages, and the tombstone of one goes on to be asked again"

    assert book.run().status == "complete"
    book.assert_balanced()
    book.assert_world()
    assert set(book.lml.asked_for()) == set(IDS)
    assert set(book.message(0).not_found) == set(WORLD.stale()) & set(book.message(0).planned)
    (metrics,) = closed()
    assert (metrics["IdentitiesScanned"], metrics["RunCompleted"]) == ([len(IDS)], [1])


def test_small_slices_add_up_to_the_same(book):
    run_id = book.start({"identity_ids": IDS[:9]}, batch_size=5)["run_id"]

    book.deliver_all(to=book.consumer_with(slice_max=4))

    assert 1 <= max(map(len, book.lml.asked())) <= 4
    book.assert_balanced(run_id)
    book.assert_world(IDS[:9], run_id)


# Twice, too late, too early


def test_a_message_that_is_delivered_twice_counts_once(book, few):
    book.deliver(keep=True)
    book.deliver()

    assert book.deliver_all() == 0
    book.assert_balanced(few)
    book.assert_world(FEW, few)
    assert book.lml.asked_for() == FEW


def test_a_second_delivery_during_the_first_raises_and_is_delivered_again(book, few):
    """ClaimedError leaves the message in the queue."""
    (body,) = book.waiting()

    def duplicate():
        with pytest.raises(ClaimedError, match=f"another invocation is at message 0 part 0 of {few}"):
            book.work_on(body)

    with book.sdk.interrupted("TransactWriteItems", duplicate):
        book.deliver(keep=True)
    book.deliver_all()

    book.assert_balanced(few)
    book.assert_world(FEW, few)
    assert book.lml.asked_for() == FEW


def test_the_claim_of_a_killed_worker_runs_out_with_its_time(book, few):
    with book.sdk.killed("TransactWriteItems", when="before"):
        book.deliver()

    with pytest.raises(ClaimedError):
        book.deliver()
    book.clock.advance(TIMEOUT)
    book.deliver()

    book.assert_balanced(few)
    book.assert_world(FEW, few)
    assert book.lml.asked_for() == sorted(FEW * 2), "LML was asked twice, the accounts hold it once"


def test_when_a_claim_ran_out_under_a_worker_the_first_commit_counts(book, few):
    """A duplicate may overtake a worker that hangs; what the worker did is dropped."""
    (body,) = book.waiting()

    def overtake():
        book.clock.advance(TIMEOUT)
        book.work_on(body)

    with book.sdk.interrupted("TransactWriteItems", overtake):
        book.deliver()

    book.assert_balanced(few)
    book.assert_world(FEW, few)


def test_a_part_that_was_committed_is_acknowledged(book, few):
    (body,) = book.waiting()
    book.deliver_all()

    book.work_on(body)

    assert book.waiting() == []
    book.assert_balanced(few)


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"run_id": "manual-unknown"}, "run manual-unknown is not in the ledger as a run that has sent messages"),
        ({"message": 1}, "run {run} has no message 1"),
        ({"message": 2**31 - 1}, "run {run} has no message 2147483647"),
        ({"part": 1}, "part 1 is not due: the ledger waits for part 0"),
    ],
    ids=["unknown run", "unknown message", "absurd message", "a part to come"],
)
def test_a_message_that_the_ledger_does_not_expect_is_parked(book, few, fields, reason):
    body = encode(RefreshMessage(**{"version": 1, "run_id": few, "identity_ids": (1,)} | fields))

    book.work_on(body)

    assert book.waiting("parked") == [body]
    assert book.reasons() == [reason.format(run=few)]
    assert book.lml.asked() == []
    book.deliver_all()
    book.assert_balanced(few)


def test_leftovers_above_the_plan_are_no_messages(book, few):
    leftover = RefreshMessage(version=1, run_id=few, message=1, identity_ids=(1,))
    book.ledger.messages.plan([leftover], book.clock.utc())

    book.work_on(encode(leftover))

    assert book.reasons() == [f"run {few} has no message 1"]


@pytest.mark.parametrize("body", ["{", '{"version": 1, "identity_ids": [1, 1]}'], ids=["no JSON", "repeated ids"])
def test_a_body_that_is_no_message_is_parked_with_its_reason(book, body):
    book.work_on(body)

    assert book.waiting("parked") == [body]
    (reason,) = book.reasons()
    assert reason.startswith("not a refresh message: ")


def test_the_ledger_says_which_ids_are_left_not_the_body(book, few):
    book.work_on(encode(RefreshMessage(version=1, run_id=few, identity_ids=(999_999,))))

    assert book.lml.asked_for() == FEW
    book.deliver_all()
    book.assert_balanced(few)
    book.assert_world(FEW, few)


# The end of a run


def test_a_stopping_run_asks_lml_for_nothing(book, closed):
    book.start(SCHEDULED)
    book.deliver()
    asked = book.lml.asked()

    book.lifecycle.stop(RUN, "person", "a person said so")
    book.deliver_all()

    assert book.lml.asked() == asked
    assert book.run().status == "stopped"
    assert book.totals()["not_attempted"] == len(IDS) - 50
    book.assert_balanced()
    book.assert_world(IDS[:50])
    (metrics,) = closed()
    assert (metrics["RunCompleted"], metrics["NotAttempted"]) == ([0], [len(IDS) - 50])


def test_a_run_that_is_stopped_in_the_middle_of_a_part_keeps_what_it_has(book, few):
    def stop():
        book.lifecycle.stop(few, "person", "a person said so")

    with book.sdk.interrupted("PutItem", stop):
        book.deliver_all(to=book.consumer_with(slice_max=1))

    assert book.run(few).status == "stopped"
    assert 0 < book.totals(few)["not_attempted"] < len(FEW) or book.lml.asked_for() == []
    book.assert_balanced(few)


def test_a_message_of_a_run_that_has_ended_does_nothing_and_says_how_to_replay(book, few, logged):
    (body,) = book.waiting()
    book.deliver_all()
    asked = book.lml.asked()
    logged()

    book.work_on(body)

    (line,) = logged("done")
    assert line["message"] == f"run complete: message ignored; `rotation replay {few}` asks again"
    assert book.lml.asked() == asked


def test_a_run_past_its_deadline_attempts_no_more(book):
    book.start(SCHEDULED)
    book.deliver()
    book.clock.advance(timedelta(hours=20).total_seconds())

    book.deliver_all()

    assert book.run().status == "stopped"
    assert book.run().reason == "the run is past its deadline"
    assert book.causes_reported() == {"deadline"}
    assert book.totals()["not_attempted"] == len(IDS) - 50
    book.assert_balanced()


def test_a_message_has_a_hundred_parts(book, few, logged):
    """With too little time for a request each time, the ids of a message go on a hundred times, and no more."""
    for _ in range(97):
        item = book.message(run_id=few)
        left = item.left.next_part(item.left.attempts)
        commit = Commit(message=item, request_id="earlier", totals=Totals(), left=left)
        book.ledger.messages.commit(commit, book.ledger.runs)

    book.deliver_all(timeout=20)

    assert [line["part"] for line in logged("handed_on")] == [97, 98, 99]
    assert book.message(run_id=few).next_part == MAX_PARTS
    assert book.run(few).status == "stopped"
    assert book.totals(few)["not_attempted"] == len(FEW)
    book.assert_balanced(few)


# What LML says


@pytest.mark.parametrize("status", [401, 403, 404, 405])
def test_an_lml_that_refuses_the_job_stops_the_run(book, logged, status):
    book.start(SCHEDULED)
    book.lml.fault(path="refresh", status=status, body="no", times=None)

    book.deliver_all()

    assert book.run().status == "stopped"
    assert f"answered {status}: no" in (book.run().reason or "")
    assert book.causes_reported() == {f"lml_{status}"}, "one Sentry event"
    assert book.totals()["not_attempted"] == len(IDS)
    book.assert_balanced()
    assert len([ids for ids in book.lml.asked() if ids]) == 1
    assert len(logged("stopping")) == 1


def test_a_wrong_key_is_found_before_any_id_is_sent(book, few):
    book.deliver_all(to=book.consumer_with(key="another"))

    assert book.run(few).status == "stopped"
    assert book.causes_reported(few) == {"lml_403"}
    assert book.lml.asked_for() == []
    book.assert_balanced(few)


@pytest.mark.parametrize("status", [400, 413, 422])
def test_ids_that_lml_refuses_are_errors_at_once(book, status):
    book.start(SCHEDULED, batch_size=25)
    book.lml.fault(path="refresh", status=status, body="no such thing", times=2)

    book.deliver_all()

    assert book.run().status == "complete"
    assert book.totals()["lml_error"] == 50
    assert book.totals()["retries"] == len(book.asked_twice()), "none but for answers in doubt"
    assert f"answered {status}: no such thing" in book.message().failed[IDS[0]]
    assert f"lml_{status}" in book.causes_reported(), "one Sentry event for both"
    book.assert_balanced()


def test_a_run_of_which_most_fails_stops(book):
    """More than half of at least 100 verdicts; then nobody else is asked for."""
    book.start(SCHEDULED)
    book.lml.fault(path="refresh", status=422, times=None)

    book.deliver_all()

    assert book.run().status == "stopped"
    assert book.run().reason == "100 of 100 identities failed, more than 50 %"
    assert book.totals()["lml_error"] == 100
    assert book.totals()["not_attempted"] == 25
    assert book.causes_reported() == {"lml_422", "errors"}
    book.assert_balanced()


def test_few_verdicts_are_no_reason_to_stop(book, few):
    """Unless every one of them failed."""
    book.lml.fault(path="refresh", ids=FEW[1:], result={"status": "error"}, times=None)

    book.deliver_all()

    assert book.run(few).status == "complete"
    assert book.totals(few)["lml_error"] == len(FEW) - 1
    book.assert_balanced(few)


def test_an_id_is_tried_three_times_after_all_the_others(book, few):
    book.lml.fault(path="refresh", ids=[FEW[1]], result={"status": "error", "message": "Boom"}, times=None)

    book.deliver_all()

    assert [ids for ids in book.lml.asked() if ids] == [FEW, [FEW[1]], [FEW[1]]]
    assert book.message(run_id=few).failed == {FEW[1]: "error: Boom"}
    assert book.totals(few)["retries"] == 2
    book.assert_balanced(few)


def test_attempts_are_counted_across_parts(book, few):
    """A message that is handed on carries how often each id has failed."""
    book.lml.fault(path="refresh", status=500, times=None)

    deliveries = book.deliver_all(timeout=TIMEOUT / 2)

    assert deliveries > 1
    assert book.totals(few)["lml_requests"] <= 3 * len(FEW)
    assert set(book.message(run_id=few).failed) == set(FEW)
    assert len(book.lml.asked_for()) == 3 * len(FEW)
    book.assert_balanced(few)


def test_what_lml_asks_to_wait_for_is_no_attempt_and_is_handed_on_that_late(book, few):
    book.lml.fault(path="refresh", status=429, headers={"Retry-After": "1800"}, times=1)

    book.deliver()

    (body,) = book.waiting()
    assert json.loads(body) | {"part": 1, "identity_ids": FEW, "failed": {}} == json.loads(body)
    assert book.delays == [LONGEST_DELAY]
    book.deliver_all()
    book.assert_balanced(few)
    book.assert_world(FEW, few)


@pytest.mark.usefixtures("few")
def test_on_a_faster_clock_a_message_is_held_back_for_less(book):
    book.clock.speed = 100
    book.lml.fault(path="refresh", status=429, headers={"Retry-After": "3600"}, times=1)

    book.deliver(timeout=9)

    assert book.delays == [36]


# Killed at any point: what SQS delivers again repairs it


def redeliver(book):
    """What follows a kill: SQS shows the message again when its claim has run out."""
    book.clock.advance(TIMEOUT + 60)
    return book.deliver_all()


POINTS = {
    "before the claim": ("UpdateItem", "before", "claimed_until", 1),
    "after the claim": ("UpdateItem", "after", "claimed_until", 1),
    "before the commit": ("TransactWriteItems", "before", "winner", 1),
    "between commit and send": ("TransactWriteItems", "after", "winner", 1),
    "between send and mark": ("SendMessage", "after", "", 1),
    "after the mark": ("TransactWriteItems", "after", "sent_part", 1),
    "before the last commit": ("TransactWriteItems", "before", "winner", 2),
    "between commit and close": ("TransactWriteItems", "after", "winner", 2),
    "before the close": ("TransactWriteItems", "before", "closed_at", 1),
    "between close and emission": ("TransactWriteItems", "after", "closed_at", 1),
    "before the emission is claimed": ("UpdateItem", "before", "emitting_until", 1),
    "after the emission is claimed": ("UpdateItem", "after", "emitting_until", 1),
    "between emission and its mark": ("UpdateItem", "before", "emitted_at = ", 1),
    "after the mark of the emission": ("UpdateItem", "after", "emitted_at = ", 1),
}


@pytest.mark.parametrize("duplicate", [False, True], ids=["alone", "with a duplicate"])
@pytest.mark.parametrize("point", POINTS.values(), ids=POINTS.keys())
def test_a_worker_that_is_killed_leaves_exact_accounts(book, few, closed, point, duplicate):
    """Two parts: the first is pushed back and hands on, the second ends message and run."""
    book.lml.fault(path="refresh", status=429, headers={"Retry-After": "900"}, times=1)
    (first,) = book.waiting()

    operation, when, holding, nth = point
    with book.sdk.killed(operation, when=when, holding=holding, nth=nth):
        book.deliver_all()
    if duplicate:
        book.clock.advance(TIMEOUT + 60)
        book.work_on(first)
    redeliver(book)

    assert book.run(few).status == "complete"
    book.assert_balanced(few)
    book.assert_world(FEW, few)
    assert book.waiting("parked") == []
    assert 1 <= len(closed()) <= 2, "told at least once"


def test_totals_that_were_never_reported_are_reported_by_whoever_comes_next(book, few, closed):
    (body,) = book.waiting()
    with book.sdk.killed("UpdateItem", when="before", holding="emitting_until"):
        book.deliver()
    assert closed() == []

    book.work_on(body)

    assert len(closed()) == 1
    book.assert_balanced(few)


@pytest.mark.parametrize(
    ("operation", "code"),
    [
        ("GetItem", "ThrottlingException"),
        ("PutItem", "ProvisionedThroughputExceededException"),
        ("UpdateItem", "InternalServerError"),
        ("TransactWriteItems", "ThrottlingException"),
    ],
)
def test_when_dynamodb_is_away_the_message_stays_and_counts_once(book, few, operation, code):
    with book.sdk.refused(operation, error(code)), pytest.raises(ClientError):
        book.deliver()

    redeliver(book)

    book.assert_balanced(few)
    book.assert_world(FEW, few)


def test_without_the_budget_nothing_is_sent(book, few):
    with book.sdk.refused("PutItem", *[error("ThrottlingException")] * 9), pytest.raises(ClientError):
        book.deliver()

    assert book.lml.asked_for() == []
    assert book.run(few).totals.identities_scanned == 0


def test_when_sqs_is_away_the_next_part_is_sent_by_the_next_delivery(book, few):
    book.lml.fault(path="refresh", status=429, headers={"Retry-After": "900"}, times=1)
    with book.sdk.refused("SendMessage", error("InternalError")), pytest.raises(ClientError):
        book.deliver()

    redeliver(book)

    book.assert_balanced(few)
    book.assert_world(FEW, few)


def test_a_run_that_is_finalised_under_a_worker_drops_what_came_too_late(book, logged):
    book.start(SCHEDULED)
    book.deliver()

    with book.sdk.interrupted("TransactWriteItems", lambda: book.lifecycle.finalise(book.run(), "its lock ran out")):
        book.deliver()

    assert book.run().status == "stopped"
    assert book.totals()["not_attempted"] == len(IDS) - 50
    assert "the run ended meanwhile: what this part did is not counted" in [line["message"] for line in logged("done")]
    book.deliver_all()
    book.assert_balanced()


def test_a_worker_under_whom_its_run_was_ended_comes_again_until_the_totals_are_reported(book, few):
    """Given somebody who ends the run and dies before its totals are reported; then the last worker sees to that."""

    def end_it_and_die():
        with book.sdk.killed("UpdateItem", when="before", holding="emitted_at = "):
            book.lifecycle.finalise(book.run(few), "its lock went to another")

    with book.sdk.interrupted("TransactWriteItems", end_it_and_die), pytest.raises(ClaimedError):
        book.deliver()
    assert book.run(few).emitted_at is None

    redeliver(book)

    assert book.run(few).emitted_at is not None
    assert book.waiting() == []


def test_the_lock_is_renewed_by_every_part(book):
    book.start(SCHEDULED)
    book.clock.advance(3600)
    book.deliver()

    book.clock.advance(timedelta(hours=2, minutes=30).total_seconds())

    assert book.ledger.lock.holder(book.clock.utc()).is_live
    book.deliver_all()
    book.assert_balanced()


# By hand


def test_a_message_without_a_run_is_worked_and_reported_outside_the_ledger(book, logged):
    book.work_on(json.dumps({"version": 1, "identity_ids": FEW}))

    assert book.lml.asked_for() == FEW
    lines = logged()
    (metrics,) = [line for line in lines if "RunCompleted" in line]
    assert (metrics["trigger"], metrics["IdentitiesScanned"], metrics["RunCompleted"]) == ("manual", [len(FEW)], [1])
    (line,) = [line for line in lines if line.get("step") == "done"]
    assert line["identities_resolved"] == len(FEW)
    partitions = book.sdk.dynamodb.scan(TableName="ledger")["Items"]
    assert {item["pk"]["S"] for item in partitions} == {"PACE"}


def test_a_replay_by_hand_has_ten_parts_and_what_is_left_is_parked(book, closed):
    book.work_on(json.dumps({"version": 1, "identity_ids": FEW}), timeout=15)

    assert book.deliver_all(timeout=15) == 9

    (body,) = book.waiting("parked")
    assert json.loads(body)["identity_ids"] == FEW
    assert book.reasons() == ["a replay by hand has 10 parts at most"]
    metrics = closed()
    assert [line["RunCompleted"] for line in metrics] == [[0]] * 10
    assert [line["NotAttempted"] for line in metrics] == [[0]] * 9 + [[len(FEW)]]


def test_a_replay_by_hand_that_lml_refuses_is_parked_with_the_reason(book):
    book.work_on(json.dumps({"version": 1, "identity_ids": FEW}), to=book.consumer_with(key="another"))

    (reason,) = book.reasons()
    assert "answered 403" in reason
    assert book.deliver_all() == 0
