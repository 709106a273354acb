"""Starting a run: from the rotation table of a real PostgreSQL into ledger and queue, once."""

import re
from datetime import timedelta

import msgspec
import pytest
from botocore.exceptions import ClientError

from core.aws.queues import SendError
from core.lml.gate import Gate
from core.rotation.table import DatabaseError
from core.runs.fan_out import RunRefusedError
from core.runs.ledger._lock import LEASE
from core.runs.plan import decode
from core.runs.request import StartError
from local.world import World
from tests.integration.accounts import IDS, RUN, SCHEDULED, WORLD, error

pytest_plugins = ("tests.integration.fixtures",)

EMPTY = msgspec.structs.replace(World.seeded(identities=1), rows=())
TOMORROW = {"scheduled_time": "2026-02-04T04:30:00Z"}
NEXT_RUN = "scheduled-2026-02-04T04:30:00Z"
MANUAL = re.compile(r"manual-2026-02-\d\dT\d\d:\d\d:\d\dZ-[0-9a-f]{4}")


def planned(book):
    """The ids in the queue, message by message."""
    return [list(decode(body).identity_ids) for body in book.waiting()]


def test_every_active_identity_is_planned_once_in_messages_of_fifty(book):
    outcome = book.start(SCHEDULED)

    assert outcome == {"outcome": "started", "run_id": RUN, "planned": 125, "messages": 3}
    assert planned(book) == [IDS[:50], IDS[50:100], IDS[100:]]
    run = book.run()
    assert (run.status, run.trigger, run.planned, run.messages_planned) == ("running", "scheduled", 125, 3)
    assert book.ledger.lock.holder(book.clock.utc()).run_id == RUN


def test_the_plan_is_reported(book, logged):
    book.start(SCHEDULED)

    lines = logged()
    (plan,) = [line for line in lines if line.get("step") == "plan" and line["level"] == "INFO"]
    assert (plan["ids"], plan["messages"], plan["run_id"]) == (125, 3, RUN)
    assert 0 < plan["coverage_percent"] <= 100
    (warning,) = [line for line in lines if line.get("step") == "plan" and line["level"] == "WARNING"]
    assert warning["rows"] == sum(row.active and row.lml_identity_id in {0, -7} for row in WORLD.rows)
    book.telemetry.flush()
    (metrics,) = [line for line in logged() if "IdentityCoveragePercent" in line]
    assert metrics["IdentityCoveragePercent"] == [plan["coverage_percent"]]


def test_a_schedule_that_fires_twice_is_one_run(book):
    book.start(SCHEDULED)

    again = book.start(SCHEDULED)

    assert again["outcome"] == "already_running"
    assert len(book.waiting()) == 3
    book.deliver_all()
    book.assert_balanced()
    book.assert_world()
    assert book.lml.asked_for() == sorted([*IDS, *book.asked_twice()])


def test_a_start_for_a_complete_run_says_so(book):
    book.start(SCHEDULED)
    book.deliver_all()

    again = book.start(SCHEDULED)

    assert again == {
        "outcome": "already_complete",
        "run_id": RUN,
        "hint": 'this run is complete; `rotation run --force`, or the input {"force": true}, starts another one',
    }
    assert book.waiting() == []


def test_a_start_for_a_stopped_run_names_what_asks_for_the_rest(book):
    book.start(SCHEDULED)
    book.ledger.runs.stop(RUN, "somebody said so")
    book.deliver_all()

    again = book.start(SCHEDULED)

    assert again["outcome"] == "already_stopped"
    assert f"`rotation replay {RUN}`" in again["hint"]
    assert book.waiting() == []


def test_with_force_a_complete_run_is_run_again_as_a_manual_one(book, closed):
    book.start(SCHEDULED)
    book.deliver_all()
    closed()

    outcome = book.start(SCHEDULED | {"force": True})

    run_id = str(outcome["run_id"])
    assert MANUAL.fullmatch(run_id)
    book.deliver_all()
    assert book.run(run_id).trigger == "manual"
    assert book.run(run_id).check_in_id is None
    book.assert_balanced(run_id)
    book.assert_world(IDS, run_id)
    (metrics,) = closed()
    assert metrics["trigger"] == "manual", "alarms leave it out"


def test_force_ends_a_run_that_is_under_way(book):
    book.start(SCHEDULED)
    book.deliver()

    outcome = book.start(SCHEDULED | {"force": True})

    run_id = str(outcome["run_id"])
    assert outcome["outcome"] == "started"
    assert book.run().status == "stopped"
    assert book.run().reason == f"its lock went to {run_id}"
    assert book.totals()["not_attempted"] == 75
    book.deliver_all()
    book.assert_balanced()
    book.assert_balanced(run_id)
    book.assert_world(IDS, run_id)


def test_a_placeholder_that_nobody_filled_in_is_todays_run_with_a_warning(book, logged):
    outcome = book.start({"scheduled_time": "<aws.scheduler.scheduled-time>"})

    assert outcome["run_id"] == "scheduled-2026-02-03"
    (warning,) = [line for line in logged("init") if line["level"] == "WARNING"]
    assert "today stands in for it" in warning["message"]


def test_a_start_that_cannot_be_read_changes_nothing(book):
    with pytest.raises(StartError, match="dry_run: it must be true or false"):
        book.start({"dry_run": "yes"})

    assert book.sdk.dynamodb.scan(TableName="ledger")["Count"] == 0


def test_no_ids_are_a_complete_run(book, closed):
    book.rows.hold(EMPTY)

    outcome = book.start(SCHEDULED)

    assert outcome == {"outcome": "started", "run_id": RUN, "planned": 0, "messages": 0}
    assert book.run().status == "complete"
    book.assert_balanced()
    (metrics,) = closed()
    assert (metrics["IdentitiesScanned"], metrics["RunCompleted"]) == ([0], [1])


# The lock


def test_a_run_that_finds_the_lock_held_is_refused(book, logged):
    book.start(SCHEDULED)

    outcome = book.start(TOMORROW)

    assert outcome["outcome"] == "refused"
    assert outcome["hint"] == f"run {RUN} holds the lock; `rotation stop {RUN}` ends it"
    assert book.run(NEXT_RUN).status == "refused"
    book.telemetry.flush()
    assert [line["RunRefused"] for line in logged() if "RunRefused" in line] == [[1]]
    assert len(book.waiting()) == 3
    book.deliver_all()
    book.assert_balanced()


def test_a_refused_run_can_be_started_once_the_lock_is_free(book):
    book.start(SCHEDULED)
    book.start(TOMORROW)
    book.deliver_all()

    assert book.start(TOMORROW)["outcome"] == "started"

    book.deliver_all()
    book.assert_balanced(NEXT_RUN)
    assert book.run(NEXT_RUN).closed_at is not None
    assert book.run(NEXT_RUN).reason is None


def test_a_run_whose_lease_ran_out_is_ended_by_the_next(book, closed):
    book.start(SCHEDULED)
    book.deliver()
    book.clock.advance(LEASE.total_seconds())

    assert book.start(TOMORROW)["outcome"] == "started"

    assert book.run().status == "stopped"
    (metrics,) = closed()
    assert (metrics["NotAttempted"], metrics["RunCompleted"]) == ([75], [0])
    book.deliver_all()
    book.assert_balanced()
    book.assert_balanced(NEXT_RUN)


def test_a_start_that_died_planning_does_not_keep_the_lock_for_ever(book):
    with book.sdk.killed("BatchWriteItem", when="before"):
        book.start(SCHEDULED)
    assert book.start(TOMORROW)["outcome"] == "refused"

    book.clock.advance(LEASE.total_seconds())
    assert book.start(TOMORROW)["outcome"] == "started"

    assert book.run().status == "failed"
    assert book.run().reason == "its start died while it was planned"


def test_a_planner_whose_run_was_ended_sends_nothing(book):
    def take_over():
        book.clock.advance(LEASE.total_seconds())
        assert book.start(TOMORROW)["outcome"] == "started"

    with book.sdk.interrupted("UpdateItem", take_over, holding="messages_planned"):
        outcome = book.start(SCHEDULED)

    assert outcome["outcome"] == "already_failed"
    assert {decode(body).run_id for body in book.waiting()} == {NEXT_RUN}


def test_what_a_person_picks_needs_no_lock(book):
    book.start(SCHEDULED)

    run_id = book.start({"identity_ids": [IDS[0]]})["run_id"]

    book.deliver_all()
    book.assert_balanced()
    book.assert_balanced(run_id)


# Gate and database


def test_an_lml_that_the_gate_does_not_trust_is_not_asked(book, logged):
    book.allowed = Gate(allowed=False, reason="LML is behind")

    with pytest.raises(RunRefusedError, match=r"^LML is behind$"):
        book.start(SCHEDULED)

    run = book.run()
    assert (run.status, run.reason) == ("refused", "LML is behind")
    assert book.waiting() == []
    assert book.ledger.lock.holder(book.clock.utc()) is None
    assert book.lml.asked() == []
    book.telemetry.flush()
    lines = logged()
    assert [line["RunRefused"] for line in lines if "RunRefused" in line] == [[1]]
    assert not [line for line in lines if "RunCompleted" in line], "no totals"


def test_lambdas_retry_re_enters_a_refused_run(book):
    book.allowed = Gate(allowed=False, reason="LML is behind")
    with pytest.raises(RunRefusedError):
        book.start(SCHEDULED, request_id="r")
    book.allowed = Gate(allowed=True, reason="deployed")

    assert book.start(SCHEDULED, request_id="r")["outcome"] == "started"

    book.deliver_all()
    book.assert_balanced()
    book.assert_world()


def test_without_the_database_the_run_fails_and_lambdas_retry_re_enters(book, closed):
    there = book.rows.settings
    book.rows.settings = msgspec.structs.replace(there, port=1)
    with pytest.raises(DatabaseError):
        book.start(SCHEDULED, request_id="r")
    book.rows.settings = there

    assert book.run().status == "failed"
    assert "PostgreSQL at 127.0.0.1:1" in book.run().reason
    assert book.ledger.lock.holder(book.clock.utc()) is None
    assert closed() == []

    assert book.start(SCHEDULED, request_id="r")["outcome"] == "started"
    book.deliver_all()
    book.assert_balanced()
    book.assert_world()


def test_a_schema_that_is_not_there_fails_the_run(book):
    there = book.rows.settings
    book.rows.settings = msgspec.structs.replace(there, schema="another")
    with pytest.raises(DatabaseError, match="check WXYC_SCHEMA_NAME"):
        book.start(SCHEDULED)
    book.rows.settings = there

    assert book.run().status == "failed"


# Killed at any point


POINTS = {
    "before the run is opened": ("PutItem", "before", "planner", 1),
    "after the run is opened": ("PutItem", "after", "planner", 1),
    "after the lock is taken": ("PutItem", "after", "holder", 1),
    "in planning": ("BatchWriteItem", "before", "", 1),
    "after planning": ("BatchWriteItem", "after", "", 1),
    "before the commit point": ("UpdateItem", "before", "messages_planned", 1),
    "after the commit point": ("UpdateItem", "after", "messages_planned", 1),
    "between send and mark": ("SendMessageBatch", "after", "", 1),
    "after the mark": ("TransactWriteItems", "after", "sent_part", 1),
    "before the end of sending": ("UpdateItem", "before", "all_sent_at", 1),
    "after the end of sending": ("UpdateItem", "after", "all_sent_at", 1),
}


@pytest.mark.parametrize(
    "between",
    [
        pytest.param(False, id="retried at once", marks=pytest.mark.long),
        pytest.param(True, id="deliveries come first"),
    ],
)
@pytest.mark.parametrize("point", POINTS.values(), ids=POINTS.keys())
def test_a_start_that_is_killed_is_taken_up_by_its_retry(book, point, between):
    operation, when, holding, nth = point
    with book.sdk.killed(operation, when=when, holding=holding, nth=nth):
        book.start(SCHEDULED, request_id="r")
    if between:
        book.deliver_all()

    book.start(SCHEDULED, request_id="r")
    book.deliver_all()

    assert book.run().status == "complete"
    book.assert_balanced()
    book.assert_world()
    assert book.lml.asked_for() == sorted([*IDS, *book.asked_twice()])


def test_leftovers_of_a_larger_plan_are_no_part_of_the_run(book):
    with book.sdk.killed("UpdateItem", when="before", holding="messages_planned"):
        book.start(SCHEDULED, request_id="r", batch_size=10)

    assert book.start(SCHEDULED, request_id="r", batch_size=50)["messages"] == 3

    assert planned(book) == [IDS[:50], IDS[50:100], IDS[100:]]
    book.deliver_all()
    book.assert_balanced()
    book.assert_world()


def test_a_retry_sends_only_what_is_not_in_the_queue(book):
    with book.sdk.killed("SendMessageBatch", when="before", nth=2):
        book.start(SCHEDULED, request_id="r", batch_size=10)
    assert len(book.waiting()) == 10

    book.start(SCHEDULED, request_id="r", batch_size=10)

    assert [decode(body).message for body in book.waiting()] == list(range(13))
    book.deliver_all()
    book.assert_balanced()
    book.assert_world()


def test_when_sqs_refuses_a_message_the_retry_sends_it(book):
    fault = {"Successful": [], "Failed": [{"Id": "1", "SenderFault": True, "Code": "InvalidMessageContents"}]}

    def refuse(parsed, **_):
        parsed |= fault

    events = book.sqs.meta.events
    events.register("after-call.sqs.SendMessageBatch", refuse)
    with pytest.raises(SendError, match="SQS refused messages 1: InvalidMessageContents"):
        book.start(SCHEDULED, request_id="r")
    events.unregister("after-call.sqs.SendMessageBatch", refuse)

    assert book.run().status == "sending"
    book.start(SCHEDULED, request_id="r")
    book.deliver_all()
    book.assert_balanced()
    book.assert_world()


def test_a_run_that_is_stopped_while_it_is_sent_is_sent_and_attempts_no_more(book):
    with book.sdk.interrupted("SendMessageBatch", lambda: book.lifecycle.stop(RUN, "person", "a person said so")):
        book.start(SCHEDULED)

    assert len(book.waiting()) == 3
    assert book.run().status == "stopping"
    book.deliver_all()
    assert book.run().status == "stopped"
    assert book.totals()["not_attempted"] == len(IDS)
    assert book.lml.asked() == []
    book.assert_balanced()


def test_deliveries_that_are_done_before_the_last_mark_leave_the_close_to_fan_out(book):
    with book.sdk.interrupted("UpdateItem", book.deliver_all, holding="all_sent_at"):
        book.start(SCHEDULED)

    assert book.run().status == "complete"
    book.assert_balanced()
    book.assert_world()


def test_totals_that_were_never_reported_are_reported_by_the_next_start(book, closed):
    book.start(SCHEDULED)
    with book.sdk.killed("UpdateItem", when="before", holding="emitting_until"):
        book.deliver_all()
    assert closed() == []

    assert book.start(SCHEDULED)["outcome"] == "already_complete"

    assert len(closed()) == 1
    book.assert_balanced()


def test_when_dynamodb_is_away_nothing_is_sent(book):
    with book.sdk.refused("BatchWriteItem", error("ThrottlingException")), pytest.raises(ClientError):
        book.start(SCHEDULED, request_id="r")
    assert book.waiting() == []

    assert book.start(SCHEDULED, request_id="r")["outcome"] == "started"

    book.deliver_all()
    book.assert_balanced()


# What a person picks


def test_a_dry_run_counts_and_touches_nothing(book, logged):
    outcome = book.start({"dry_run": True})

    assert outcome | {"run_id": ""} == {"outcome": "dry_run", "run_id": "", "planned": 125, "messages": 3}
    assert MANUAL.fullmatch(str(outcome["run_id"]))
    assert book.sdk.dynamodb.scan(TableName="ledger")["Count"] == 0
    assert book.waiting() == []
    assert book.lml.asked() == []
    (metrics,) = [line for line in logged() if "RunCompleted" in line]
    assert metrics["trigger"] == "manual"
    counts = {name: metrics[name] for name in ("IdentitiesScanned", "IdentitiesResolved", "LmlError", "NotAttempted")}
    assert counts == {"IdentitiesScanned": [125], "IdentitiesResolved": [0], "LmlError": [0], "NotAttempted": [0]}


def test_picked_ids_are_a_manual_run_of_their_own(book, closed):
    outcome = book.start({"identity_ids": [IDS[3], IDS[1], IDS[2]]})

    run_id = str(outcome["run_id"])
    assert MANUAL.fullmatch(run_id)
    assert planned(book) == [IDS[1:4]]
    book.deliver_all()
    book.assert_balanced(run_id)
    book.assert_world(IDS[1:4], run_id)
    assert book.run(run_id).trigger == "manual"
    assert closed()[0]["trigger"] == "manual"


def test_the_retry_of_a_manual_invocation_is_the_same_run(book):
    """Lambda repeats an asynchronous invocation under its request id."""
    with book.sdk.killed("SendMessageBatch", when="before"):
        book.start({"identity_ids": IDS[:3]}, request_id="r")

    outcome = book.start({"identity_ids": IDS[:3]}, request_id="r")

    book.deliver_all()
    book.assert_balanced(outcome["run_id"])
    assert book.lml.asked_for() == IDS[:3]
    again = book.start({"identity_ids": IDS[:3]}, request_id="r")
    assert (again["outcome"], again["run_id"]) == ("already_complete", outcome["run_id"])
    assert book.start({"identity_ids": IDS[:3]}, request_id="s")["run_id"] != outcome["run_id"]


def test_a_replay_asks_again_for_what_failed_and_what_was_not_attempted(book):
    book.start(SCHEDULED)
    book.lml.fault(path="refresh", ids=[IDS[7]], result={"status": "error"}, times=3)
    book.deliver()
    book.lifecycle.stop(RUN, "person", "a person said so")
    book.deliver_all()
    book.lml.reset()

    outcome = book.start({"replay_of": RUN})

    run_id, ids = str(outcome["run_id"]), [IDS[7], *IDS[50:]]
    assert book.run(run_id).origin == RUN
    book.deliver_all()
    book.assert_balanced(run_id)
    book.assert_world(ids, run_id)
    asked = book.lml.asked_for()
    assert list(dict.fromkeys(asked)) == ids
    assert len(asked) == len(ids) + book.totals(run_id)["warmed_without_artists"]  # what is in doubt, once more


def test_a_run_that_was_finalised_is_replayed_from_what_its_messages_had_left(book):
    book.start(SCHEDULED)
    book.deliver()
    book.clock.advance(timedelta(hours=21).total_seconds())
    book.lifecycle.finalise(book.run(), "past its deadline")

    outcome = book.start({"replay_of": RUN})

    assert outcome["planned"] == 75
    book.deliver_all()
    book.assert_balanced(outcome["run_id"])
    book.assert_world(IDS[50:], outcome["run_id"])


@pytest.mark.parametrize(
    ("prepare", "problem"),
    [
        pytest.param(lambda _: None, f"run {RUN} is not in the ledger, which keeps runs for 30 days", id="unknown"),
        pytest.param(lambda book: book.start(SCHEDULED), f"run {RUN} is running; it can be replayed when", id="open"),
        pytest.param(
            lambda book: (book.start(SCHEDULED), book.deliver_all()),
            f"run {RUN} (complete) left nothing to replay: nothing is to be done",
            id="nothing left",
        ),
    ],
)
def test_a_replay_never_looks_like_success_without_having_worked(book, prepare, problem):
    prepare(book)

    with pytest.raises(StartError, match=re.escape(f"replay_of: {problem}")):
        book.start({"replay_of": RUN})
