"""Messages that were never finished: accounted for as errors, so that their run ends."""

import json

import pytest
from botocore.exceptions import ClientError

from core.runs.messages import ClaimedError
from core.runs.plan import RefreshMessage, encode
from tests.integration.accounts import IDS, RUN, SCHEDULED, TIMEOUT, error

pytest_plugins = ("tests.integration.fixtures",)

FEW = IDS[:6]
DEAD = "dead letter: received 5 times and never finished"


@pytest.fixture
def few(book):
    """Start a run of one message with six ids; returns its id."""
    return str(book.start({"identity_ids": FEW})["run_id"])


@pytest.fixture
def letter(book, few):
    """The body of that message, in the dead-letter queue now."""
    assert book.run(few).is_open
    (body,) = book.waiting()
    book.sqs.purge_queue(QueueUrl=book.urls["refresh"])
    return body


def test_a_message_that_fails_five_times_is_given_up_and_its_run_ends(book, few, closed):
    for _ in range(5):
        with book.sdk.refused("GetItem", error("InternalServerError")), pytest.raises(ClientError):
            book.deliver()
    assert book.deliver() is None
    (body,) = book.waiting("dead")

    book.handle(body)

    assert book.run(few).status == "stopped"
    assert book.totals(few)["lml_error"] == len(FEW)
    assert book.message(run_id=few).failed == dict.fromkeys(FEW, DEAD)
    book.assert_balanced(few)
    assert [line["LmlError"] for line in closed()] == [[len(FEW)]]


def test_a_dead_letter_is_reported_as_an_error(book, few, letter, logged):
    book.handle(letter)

    book.telemetry.flush()
    lines = logged()
    assert [line["DeadLettered"] for line in lines if "DeadLettered" in line] == [[1]]
    (line,) = [line for line in lines if line.get("level") == "ERROR"]
    assert (line["run_id"], line["body"]) == (few, letter)


def test_verdicts_of_earlier_parts_stay(book, few):
    book.lml.fault(path="refresh", ids=FEW[:2], result={"status": "error"}, times=1)
    book.lml.fault(path="refresh", status=429, headers={"Retry-After": "900"}, times=1)
    book.deliver()
    (body,) = book.waiting()
    assert json.loads(body)["identity_ids"] == FEW[:2]

    book.handle(body)

    totals = book.totals(few)
    assert (totals["identities_resolved"], totals["lml_error"]) == (4, 2)
    book.assert_balanced(few)


def test_a_letter_that_is_delivered_twice_counts_once(book, few, letter):
    book.handle(letter)
    book.handle(letter)

    book.assert_balanced(few)


def test_a_worker_that_is_still_at_it_is_left_alone(book, few, letter):
    with book.sdk.killed("TransactWriteItems", when="before"):
        book.work_on(letter)

    with pytest.raises(ClaimedError, match=f"an invocation is still at message 0 part 0 of {few}"):
        book.handle(letter)
    book.clock.advance(TIMEOUT)
    book.handle(letter)

    assert book.totals(few)["lml_error"] == len(FEW)
    book.assert_balanced(few)


def test_a_worker_that_is_faster_wins(book, few, letter):
    """A duplicate delivery and the burial of the same part: one of them counts."""
    with book.sdk.interrupted("TransactWriteItems", lambda: book.work_on(letter)):
        book.handle(letter)

    book.assert_balanced(few)
    book.assert_world(FEW, few)


def test_a_worker_that_is_slower_changes_nothing(book, few, letter):
    def handle():
        book.clock.advance(TIMEOUT)
        book.handle(letter)

    with book.sdk.interrupted("TransactWriteItems", handle):
        book.work_on(letter)

    assert book.totals(few)["lml_error"] == len(FEW)
    book.assert_balanced(few)


def test_a_part_that_was_committed_is_repaired_not_given_up(book, few):
    """The worker died between commit and send: the next part is sent from here."""
    book.lml.fault(path="refresh", status=429, headers={"Retry-After": "900"}, times=1)
    (body,) = book.waiting()
    with book.sdk.killed("SendMessage", when="before"):
        book.deliver()
    book.sqs.purge_queue(QueueUrl=book.urls["refresh"])

    book.handle(body)

    assert book.totals(few)["lml_error"] == 0
    assert book.deliver_all() == 1
    book.assert_balanced(few)
    book.assert_world(FEW, few)


def test_a_run_that_only_had_to_be_closed_is_closed(book, few, letter):
    with book.sdk.killed("TransactWriteItems", when="before", holding="closed_at"):
        book.work_on(letter)

    book.handle(letter)

    book.assert_balanced(few)
    book.assert_world(FEW, few)


def test_a_letter_of_a_run_that_has_ended_changes_nothing(book):
    book.start(SCHEDULED)
    body = book.waiting()[0]
    book.lifecycle.finalise(book.run(), "a person said so")

    book.handle(body)

    assert book.totals()["not_attempted"] == len(IDS)
    book.assert_balanced()


def test_a_letter_of_a_stopping_run_lets_it_end(book, few, letter):
    book.lifecycle.stop(few, "person", "a person said so")

    book.handle(letter)

    assert book.run(few).status == "stopped"
    book.assert_balanced(few)


def test_a_replay_by_hand_that_died_is_reported_and_gone(book, logged):
    body = json.dumps({"version": 1, "identity_ids": FEW})

    book.handle(body)

    book.telemetry.flush()
    lines = logged()
    assert [line["DeadLettered"] for line in lines if "DeadLettered" in line] == [[1]]
    assert [line["body"] for line in lines if line.get("level") == "ERROR"] == [body]
    assert book.waiting("parked") == []
    assert book.sdk.dynamodb.scan(TableName="ledger")["Count"] == 0


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ("{", "not a refresh message: "),
        (
            encode(RefreshMessage(version=1, run_id="nobodys", identity_ids=(1,))),
            "run nobodys is not in the ledger as a run that has sent messages",
        ),
    ],
    ids=["no message", "unknown run"],
)
def test_what_cannot_be_accounted_for_is_parked(book, body, reason):
    book.handle(body)

    assert book.waiting("parked") == [body]
    assert book.reasons()[0].startswith(reason)


POINTS = {
    "before the commit": ("TransactWriteItems", "before", "winner"),
    "after the commit": ("TransactWriteItems", "after", "winner"),
    "before the close": ("TransactWriteItems", "before", "closed_at"),
    "after the close": ("TransactWriteItems", "after", "closed_at"),
    "between emission and its mark": ("UpdateItem", "before", "emitted_at = "),
}


@pytest.mark.parametrize("point", POINTS.values(), ids=POINTS.keys())
def test_a_burial_that_is_killed_is_finished_by_the_next(book, few, letter, point):
    operation, when, holding = point
    with book.sdk.killed(operation, when=when, holding=holding):
        book.handle(letter)

    book.clock.advance(TIMEOUT)
    book.handle(letter)

    assert book.run(few).status == "stopped"
    assert book.totals(few)["lml_error"] == len(FEW)
    book.assert_balanced(few)


def test_a_letter_of_one_message_leaves_the_others_to_the_worker(book):
    book.start(SCHEDULED)
    book.handle(book.waiting()[1])

    book.deliver_all()

    assert book.run().status == "complete"
    assert book.totals()["lml_error"] == 50
    assert book.lml.asked_for() == IDS[:50] + IDS[100:]
    book.assert_balanced()
    assert book.message(1, RUN).failed.keys() == set(IDS[50:100])
