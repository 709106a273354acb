"""The accounts, item by item: every change is conditional, and holds once however often it is asked for."""

import json
import re
from datetime import UTC, datetime, timedelta

import msgspec
import pytest
from botocore.exceptions import ClientError
from moto.dynamodb.parsing.reserved_keywords import ReservedKeywords

from core.aws.table import Table, TransactionRefusedError
from core.budget.pacing import Pace
from core.runs.ledger import Commit, CommitOutcome, Run
from core.runs.ledger._lock import LEASE
from core.runs.ledger._runs import REPORT_LEASE
from core.runs.plan import RefreshMessage
from core.runs.totals import Totals
from core.utc import moment_text
from tests.integration.accounts import TABLE, canceled, error, ledger_in

pytest_plugins = ("tests.integration.fixtures",)

NOW = datetime(2026, 2, 3, 4, 30, tzinfo=UTC)
LATER = NOW + timedelta(minutes=15)
IDS = (11, 12, 13)
CONFLICT = error("TransactionConflictException")


@pytest.fixture
def sleeps():
    return []


@pytest.fixture
def table(sdk, sleeps):
    """Check on the way what the emulator does not: DynamoDB refuses reserved words that are written as names."""
    reserved = set(ReservedKeywords.get_reserved_keywords())

    def check(params, **_):
        requests = [params, *(change for action in params.get("TransactItems", ()) for change in action.values())]
        for request in requests:
            for name in ("UpdateExpression", "ConditionExpression"):
                words = re.findall(r"(?<![:#\w])[a-z_]+", request.get(name, ""))
                assert not reserved.intersection(word.upper() for word in words)

    sdk.dynamodb.meta.events.register("before-parameter-build", check)
    yield Table(sdk.dynamodb, TABLE, sleeps.append)
    sdk.dynamodb.meta.events.unregister("before-parameter-build", check)


@pytest.fixture
def ledger(table):
    return ledger_in(table)


def a_run(status="planning", **fields):
    defaults = {"trigger": "scheduled", "started_at": "2026-02-03T04:30:00Z", "deadline": 0, "planner": "planner"}
    return Run(run_id="r", status=status, **defaults | fields)


def message(number=0, ids=IDS, part=0):
    return RefreshMessage(version=1, run_id="r", message=number, part=part, identity_ids=ids)


@pytest.fixture
def running(ledger):
    """A run of one message that has been sent."""
    ledger.runs.open(a_run())
    ledger.messages.plan([message()], NOW)
    ledger.runs.begin_sending(a_run(), planned=3, messages_planned=1, now=NOW)
    ledger.messages.mark_sent("r", {0: 0})
    ledger.runs.finish_sending("r", NOW)
    return ledger


def commit_of(ledger, *, request_id="me", scanned=3, left=(), number=0, **fields):
    item = ledger.messages.read("r", number)
    return Commit(
        message=item,
        request_id=request_id,
        totals=Totals(identities_scanned=scanned, identities_resolved=scanned),
        left=item.left.next_part(dict.fromkeys(left, 1)) if left else None,
        **fields,
    )


def done(ledger, **how):
    assert ledger.messages.commit(commit_of(ledger, **how), ledger.runs) is CommitOutcome.COMMITTED


# Planning and sending


def test_a_plan_is_read_back_as_it_was_written(ledger):
    messages = [message(number, ids=(number * 2 + 1, number * 2 + 2)) for number in range(60)]

    assert ledger.messages.plan(iter(messages), NOW) == (60, 120)

    read = list(ledger.messages.all("r", 60))
    assert [item.left for item in read] == messages
    assert [item.planned for item in read] == [item.identity_ids for item in messages]
    assert {(item.next_part, item.sent_part) for item in read} == {(0, -1)}


def test_no_ids_are_no_messages(ledger):
    assert ledger.messages.plan([], NOW) == (0, 0)


def test_a_second_try_plans_over_the_first_and_its_leftovers_are_passed_over(ledger):
    ledger.messages.plan([message(number) for number in range(5)], NOW)

    assert ledger.messages.plan([message(0, ids=(1,)), message(1, ids=(2,))], NOW) == (2, 2)

    assert [item.planned for item in ledger.messages.all("r", 2)] == [(1,), (2,)]


def test_items_that_dynamodb_leaves_out_are_written_by_another_request(ledger, sdk, sleeps):
    def leave_out_two(parsed, **_):
        items = requests.pop()
        if len(items) > 2:
            parsed["UnprocessedItems"] = {TABLE: items[:2]}

    def remember(params, **_):
        requests.append(params["RequestItems"][TABLE])
        sizes.append(len(requests[-1]))
        if len(sizes) == 1:
            params["RequestItems"] = {TABLE: requests[-1][2:]}

    requests, sizes = [], []
    events = sdk.dynamodb.meta.events
    events.register("before-parameter-build.dynamodb.BatchWriteItem", remember)
    events.register("after-call.dynamodb.BatchWriteItem", leave_out_two)

    ledger.messages.plan([message(number) for number in range(5)], NOW)

    events.unregister("before-parameter-build.dynamodb.BatchWriteItem", remember)
    events.unregister("after-call.dynamodb.BatchWriteItem", leave_out_two)
    assert sizes == [5, 2]
    assert len(sleeps) == 1
    assert [item.number for item in ledger.messages.all("r", 5)] == [0, 1, 2, 3, 4]


@pytest.mark.parametrize("status", ["planning", "refused", "failed"])
def test_a_run_that_sent_nothing_begins_anew(ledger, status):
    ledger.runs.open(a_run(status, planner="first", planned=7, closed_at="2026-02-03T04:31:00Z", reason="gate"))

    assert ledger.runs.open(a_run(planner="second"))

    assert ledger.runs.read("r") == a_run(planner="second"), "nothing of the first try is left"


@pytest.mark.parametrize("status", ["sending", "running", "stopping", "complete", "stopped"])
def test_a_run_that_sent_something_is_not_planned_again(ledger, table, status):
    ledger.runs.open(a_run())
    table.update("RUN#r", "RUN", "SET #status = :status", "attribute_exists(pk)", status=status)

    assert not ledger.runs.open(a_run(planner="second"))

    assert ledger.runs.read("r") == a_run(status)


def test_the_commit_point_fixes_what_the_run_holds(ledger):
    ledger.runs.open(a_run())

    assert ledger.runs.begin_sending(a_run(), planned=120, messages_planned=3, now=NOW)

    assert ledger.runs.read("r") == a_run("sending", planned=120, messages_planned=3, planned_at=moment_text(NOW))


def test_only_the_planner_passes_the_commit_point(ledger):
    ledger.runs.open(a_run(planner="second"))

    assert not ledger.runs.begin_sending(a_run(planner="first"), planned=120, messages_planned=3, now=NOW)

    assert ledger.runs.read("r") == a_run(planner="second")


def test_a_run_that_was_ended_meanwhile_is_not_sent(ledger):
    ledger.runs.open(a_run())
    assert ledger.runs.end_unplanned(a_run(), "failed", "its lock went to another", ledger.lock, NOW)

    assert not ledger.runs.begin_sending(a_run(), planned=120, messages_planned=3, now=NOW)


def test_a_run_that_is_sending_cannot_fail_any_more(ledger):
    ledger.runs.open(a_run())
    ledger.runs.begin_sending(a_run(), planned=3, messages_planned=1, now=NOW)

    assert not ledger.runs.end_unplanned(a_run(), "failed", "too late", ledger.lock, NOW)


def test_a_run_that_was_stopped_while_it_was_sent_stays_stopping(ledger):
    ledger.runs.open(a_run())
    ledger.runs.begin_sending(a_run(), planned=3, messages_planned=1, now=NOW)
    assert ledger.runs.stop("r", "a person")
    assert not ledger.runs.stop("r", "again")

    ledger.runs.finish_sending("r", NOW)

    run = ledger.runs.read("r")
    assert (run.status, run.reason, run.all_sent_at) == ("stopping", "a person", "2026-02-03T04:30:00.000Z")


def test_a_mark_never_goes_back_and_does_not_keep_others_from_theirs(ledger):
    ledger.messages.plan([message(number) for number in range(10)], NOW)
    ledger.messages.mark_sent("r", {3: 2})

    ledger.messages.mark_sent("r", dict.fromkeys(range(10), 1))

    assert [item.sent_part for item in ledger.messages.all("r", 10)] == [1, 1, 1, 2, 1, 1, 1, 1, 1, 1]


def test_marks_that_are_all_there_change_nothing(ledger):
    ledger.messages.plan([message()], NOW)
    ledger.messages.mark_sent("r", {0: 0})

    ledger.messages.mark_sent("r", {0: 0})

    assert ledger.messages.read("r", 0).sent_part == 0


# Claim and commit


def test_a_live_claim_keeps_others_away_until_it_runs_out(running):
    item = running.messages.read("r", 0)

    assert running.messages.claim(item, "me", NOW, LATER)

    assert running.messages.claim(item, "me", NOW, LATER), "one's own is no obstacle"
    assert not running.messages.claim(item, "other", NOW, LATER)
    assert not running.messages.claim(item, "other", LATER - timedelta(seconds=1), LATER)
    claimed = running.messages.read("r", 0)
    assert claimed.is_claimed(NOW, by_other_than="other")
    assert not claimed.is_claimed(NOW, by_other_than="me")
    assert not claimed.is_claimed(LATER, by_other_than="other")
    assert running.messages.claim(item, "other", LATER, LATER + timedelta(minutes=15))


def test_a_part_that_is_done_cannot_be_claimed(running):
    item = running.messages.read("r", 0)
    done(running, left=[12])

    assert not running.messages.claim(item, "other", LATER, LATER)


def test_a_commit_adds_to_the_accounts_and_says_what_is_left(running):
    item = running.messages.read("r", 0)
    running.messages.claim(item, "me", NOW, LATER)
    commit = Commit(
        message=item,
        request_id="me",
        totals=Totals(identities_scanned=2, identities_resolved=1, not_found=1, lml_error=1, retries=4),
        left=item.left.next_part({12: 2}),
        not_found=(11,),
        failed={13: "error: é"},
    )

    assert running.messages.commit(commit, running.runs) is CommitOutcome.COMMITTED

    after, run = running.messages.read("r", 0), running.runs.read("r")
    assert (after.next_part, after.sent_part, after.claimed_by) == (1, 0, None)
    assert after.left == RefreshMessage(version=1, run_id="r", message=0, part=1, identity_ids=(12,), failed={12: 2})
    assert (after.not_found, after.failed) == ((11,), {13: "error: é"})
    assert run.totals == commit.totals
    assert run.messages_done == 0
    assert not run.is_done


def test_the_last_part_finishes_its_message_and_keeps_what_came_before(running):
    done(running, scanned=1, left=[12, 13], not_found=(11,), failed={11: "x"})
    item = running.messages.read("r", 0)
    rest = Commit(message=item, request_id="me", totals=Totals(not_attempted=2), not_attempted=(12, 13))

    assert running.messages.commit(rest, running.runs) is CommitOutcome.COMMITTED

    after, run = running.messages.read("r", 0), running.runs.read("r")
    assert (after.left, after.next_part) == (None, 2)
    assert (after.not_found, after.failed, after.not_attempted) == ((11,), {11: "x"}, (12, 13))
    assert run.totals == Totals(identities_scanned=1, identities_resolved=1, not_attempted=2)
    assert run.messages_done == 1
    assert run.is_done


@pytest.mark.parametrize("left", [(), (12,)], ids=["last part", "with a rest"])
def test_a_part_counts_once_however_many_commit_it(running, left):
    mine, others = (commit_of(running, request_id=who, left=left) for who in ("me", "other"))

    outcomes = [running.messages.commit(commit, running.runs) for commit in (mine, others, mine)]

    assert outcomes == [CommitOutcome.COMMITTED, CommitOutcome.ALREADY_DONE, CommitOutcome.COMMITTED]
    assert running.runs.read("r").totals == mine.totals
    assert running.messages.read("r", 0).next_part == 1


def test_a_later_part_of_mine_does_not_pass_for_this_one(running):
    first = commit_of(running, left=[12])
    running.messages.commit(first, running.runs)
    done(running, request_id="me", scanned=0)

    assert running.messages.commit(first, running.runs) is CommitOutcome.ALREADY_DONE


@pytest.mark.parametrize("status", ["complete", "stopped"])
def test_what_comes_after_the_end_is_not_counted(running, table, status):
    commit = commit_of(running)
    table.update("RUN#r", "RUN", "SET #status = :status", "attribute_exists(pk)", status=status)

    assert running.messages.commit(commit, running.runs) is CommitOutcome.RUN_ENDED

    assert running.runs.read("r").totals == Totals()
    assert running.messages.read("r", 0).next_part == 0


def test_a_commit_in_the_way_of_others_is_sent_again_unchanged(running, sdk, sleeps):
    """Also its token: DynamoDB may have done it, and must be able to tell."""
    conflicts = canceled("None", "TransactionConflict"), canceled("ThrottlingError", "None")

    with sdk.refused("TransactWriteItems", *conflicts) as sent:
        done(running)

    assert len(sent) == 3
    assert len(set(sent)) == 1
    assert len(sleeps) == 2
    assert running.runs.read("r").totals.identities_scanned == 3


@pytest.mark.parametrize("times", [1, 6])
def test_a_commit_that_is_still_in_progress_is_sent_again_unchanged(running, sdk, sleeps, times):
    """The SDK has given up the request before it too early, and repeats this refusal only a few times."""
    with sdk.refused("TransactWriteItems", *[error("TransactionInProgressException")] * times) as sent:
        done(running)

    assert len(set(sent)) == 1
    assert len(sleeps) == times
    assert running.runs.read("r").totals.identities_scanned == 3


def test_a_commit_that_others_are_always_in_the_way_of_gives_up_and_has_written_nothing(running, sdk, sleeps):
    conflicts = [canceled("None", "TransactionConflict")] * 20

    with (
        sdk.refused("TransactWriteItems", *conflicts),
        pytest.raises(TransactionRefusedError, match=r"^transaction refused: None, TransactionConflict$"),
    ):
        running.messages.commit(commit_of(running), running.runs)

    assert sum(sleeps) < 15, "seconds: less than a part keeps for its end"
    assert running.messages.read("r", 0).next_part == 0


def test_an_update_waits_for_the_transaction_that_it_meets(running, sdk, sleeps):
    """DynamoDB refuses it, and the SDK does not repeat it: claims meet the marks of the same message."""
    with sdk.refused("UpdateItem", CONFLICT, CONFLICT):
        assert running.messages.claim(running.messages.read("r", 0), "me", NOW, LATER)

    assert len(sleeps) == 2


def test_an_update_that_meets_transactions_for_ever_fails(running, sdk):
    with sdk.refused("UpdateItem", *[CONFLICT] * 20), pytest.raises(ClientError, match="TransactionConflict"):
        running.runs.stop("r", "a person")


@pytest.mark.parametrize("code", ["ThrottlingException", "InternalServerError", "ResourceNotFoundException"])
def test_when_dynamodb_is_away_the_error_goes_up_and_nothing_has_changed(running, sdk, code):
    commit = commit_of(running)

    with sdk.refused("TransactWriteItems", error(code)), pytest.raises(ClientError, match=code):
        running.messages.commit(commit, running.runs)

    assert running.messages.commit(commit, running.runs) is CommitOutcome.COMMITTED


def test_a_step_whose_answer_was_lost_is_not_taken_for_somebody_elses(ledger, sdk):
    """The SDK sends a request again whose answer it did not get; its condition then meets its own work."""
    with sdk.unanswered("PutItem"):
        assert ledger.runs.open(a_run())
    with sdk.unanswered("PutItem"):
        assert ledger.lock.acquire("r", NOW)
    with sdk.unanswered("PutItem"):
        assert ledger.runs.name_for("request", "manual-1", NOW) == "manual-1"
    ledger.messages.plan([message()], NOW)
    with sdk.unanswered("UpdateItem"):
        assert ledger.runs.begin_sending(a_run(), planned=3, messages_planned=1, now=NOW)
    with sdk.unanswered("TransactWriteItems"):
        ledger.messages.mark_sent("r", {0: 0})
    with sdk.unanswered("UpdateItem"):
        assert ledger.messages.claim(ledger.messages.read("r", 0), "me", NOW, LATER)
    with sdk.unanswered("TransactWriteItems"):
        done(ledger)
    with sdk.unanswered("UpdateItem"):
        assert ledger.runs.claim_report("r", NOW)
    assert ledger.runs.read("r").totals.identities_scanned == 3


# The end


@pytest.mark.parametrize(
    ("totals", "stop", "status"),
    [
        (Totals(identities_scanned=3, identities_resolved=3), False, "complete"),
        (Totals(identities_scanned=3, identities_resolved=1, lml_error=2), False, "complete"),
        (Totals(identities_scanned=3, lml_error=3), False, "stopped"),
        (Totals(identities_scanned=1, not_attempted=2), False, "stopped"),
        (Totals(identities_scanned=3), True, "stopped"),
    ],
    ids=["all resolved", "some failed", "all failed", "a part too many", "stopped"],
)
def test_a_run_closes_once_as_what_it_was(running, totals, stop, status):
    running.lock.acquire("r", NOW)
    running.messages.commit(Commit(message=running.messages.read("r", 0), request_id="me", totals=totals), running.runs)
    if stop:
        running.runs.stop("r", "a person")
    run = running.runs.read("r")

    assert running.runs.close(run, running.lock, LATER)
    assert not running.runs.close(run, running.lock, LATER)

    closed = running.runs.read("r")
    assert (closed.status, closed.closed_at, closed.totals) == (status, "2026-02-03T04:45:00.000Z", totals)
    assert closed.seconds == 15 * 60
    assert closed.is_unreported
    assert running.lock.holder(LATER) is None


def test_a_run_with_a_message_to_come_does_not_close(running):
    done(running, left=[12])

    assert not running.runs.read("r").is_done
    assert not running.runs.close(running.runs.read("r"), running.lock, NOW)


def test_a_run_without_the_lock_closes_and_leaves_it_where_it_is(running):
    running.lock.acquire("other", NOW)
    done(running)

    assert running.runs.close(running.runs.read("r"), running.lock, NOW)

    assert running.lock.holder(NOW).run_id == "other"


def test_a_lock_that_changes_hands_at_the_last_moment_does_not_keep_a_run_open(running, sdk):
    running.lock.acquire("r", NOW)
    done(running)
    run = running.runs.read("r")

    with sdk.interrupted("TransactWriteItems", lambda: running.lock.acquire("other", NOW, instead_of="r")):
        assert running.runs.close(run, running.lock, NOW)

    assert running.runs.read("r").status == "complete"
    assert running.lock.holder(NOW).run_id == "other"


def test_a_finalised_run_counts_what_was_not_scanned_as_not_attempted(running):
    running.lock.acquire("r", NOW)
    done(running, scanned=1, left=[12, 13])

    assert running.runs.finalise(running.runs.read("r"), "its lock ran out", running.lock, LATER)

    run = running.runs.read("r")
    assert (run.status, run.reason, run.totals.not_attempted) == ("stopped", "its lock ran out", 2)
    assert running.lock.holder(LATER) is None


def test_a_run_that_moved_meanwhile_is_not_finalised_with_old_figures(running):
    before = running.runs.read("r")
    done(running, scanned=1, left=[12, 13])

    assert not running.runs.finalise(before, "its lock ran out", running.lock, NOW)

    assert running.runs.read("r").status == "running"


def test_one_reader_at_a_time_reports_the_totals(running):
    done(running)
    running.runs.close(running.runs.read("r"), running.lock, NOW)

    assert running.runs.claim_report("r", NOW)

    assert not running.runs.claim_report("r", NOW)
    assert not running.runs.claim_report("r", NOW + REPORT_LEASE)
    assert running.runs.claim_report("r", NOW + REPORT_LEASE + timedelta(seconds=1)), "the first one was killed"


def test_totals_that_were_reported_are_not_reported_again(running):
    done(running)
    running.runs.close(running.runs.read("r"), running.lock, NOW)
    running.runs.mark_reported("r", NOW)

    assert not running.runs.claim_report("r", LATER)
    assert not running.runs.read("r").is_unreported


def test_one_event_for_a_run_and_cause(running):
    assert running.runs.mark_cause_reported("r", "lml_401")
    assert not running.runs.mark_cause_reported("r", "lml_401")
    assert running.runs.mark_cause_reported("r", "errors")
    assert not running.runs.mark_cause_reported("another", "errors"), "no item appears for a run that is not there"
    assert running.runs.read("another") is None


def test_a_retried_invocation_gets_the_name_of_its_first_try(ledger):
    assert ledger.runs.name_for("request", "manual-1", NOW) == "manual-1"
    assert ledger.runs.name_for("request", "manual-2", NOW) == "manual-1"
    assert ledger.runs.name_for("another", "manual-3", NOW) == "manual-3"


# Lock and pace


def test_the_lock_has_one_holder(ledger):
    assert ledger.lock.acquire("r", NOW)

    assert not ledger.lock.acquire("other", NOW)
    assert not ledger.lock.renew("other", NOW)
    assert not ledger.lock.release("other")
    assert ledger.lock.acquire("r", NOW), "one's own is renewed"
    assert ledger.lock.release("r")
    assert ledger.lock.acquire("other", NOW)


def test_a_lease_runs_out_unless_it_is_renewed(ledger):
    ledger.lock.acquire("r", NOW)
    assert ledger.lock.holder(NOW + LEASE - timedelta(seconds=1)).is_live
    assert not ledger.lock.holder(NOW + LEASE).is_live

    assert ledger.lock.renew("r", LATER)

    assert ledger.lock.holder(NOW + LEASE).is_live
    assert not ledger.lock.holder(LATER + LEASE).is_live


def test_a_lock_is_taken_over_only_from_the_run_that_was_seen(ledger):
    ledger.lock.acquire("first", NOW)

    assert not ledger.lock.acquire("r", NOW, instead_of="second")
    assert ledger.lock.acquire("r", NOW, instead_of="first")

    assert ledger.lock.holder(NOW).run_id == "r"


def test_a_renewal_that_fails_harms_nobody(ledger, sdk):
    ledger.lock.acquire("r", NOW)

    with sdk.refused("UpdateItem", error("ThrottlingException")):
        assert not ledger.lock.renew("r", NOW)


def test_the_budget_starts_fresh_and_is_read_back(ledger):
    assert ledger.pace.read_pace() == (Pace(), 0)

    assert ledger.pace.write_pace(Pace(next_start=17.5), 0)

    assert ledger.pace.read_pace() == (Pace(next_start=17.5), 1)


def test_every_field_of_the_pace_is_an_attribute_that_a_person_can_read(ledger, table):
    pace = Pace(next_start=1_770_000_000.25, rest="trial", rest_since=1_770_000_000.0, trial=17)

    assert ledger.pace.write_pace(pace, 0)

    assert ledger.pace.read_pace() == (pace, 1)
    assert table.read("PACE", "discogs") == {
        "pk": "PACE",
        "sk": "discogs",
        "next_start": 1_770_000_000.25,
        "revision": 1,
        "rest": "trial",
        "rest_since": 1_770_000_000.0,
        "trial": 17,
    }


def test_a_pace_of_an_older_shape_leaves_nothing_to_wait_for(ledger, table):
    state = '{"paid_until":9e9,"charges":[{"id":"a","at":1.0,"cost":4.0,"ids":1}],"samples":[],"others_mean":20.0}'
    table.put({"pk": "PACE", "sk": "discogs", "state": state, "revision": 7}, "attribute_not_exists(pk)")

    assert ledger.pace.read_pace() == (Pace(), 7)
    assert ledger.pace.write_pace(Pace(next_start=5.0), 7)
    assert ledger.pace.read_pace() == (Pace(next_start=5.0), 8)


@pytest.mark.parametrize("field", [{"next_start": "soon"}, {"rest": "for ever"}, {"trial": "x"}])
def test_a_pace_that_cannot_be_read_is_an_error_so_that_nothing_is_sent_unpaced(ledger, table, field):
    table.put({"pk": "PACE", "sk": "discogs", "revision": 1, **field}, "attribute_not_exists(pk)")

    with pytest.raises(msgspec.ValidationError):
        ledger.pace.read_pace()


@pytest.mark.parametrize("revision", [0, 1], ids=["first write", "later write"])
def test_of_two_slots_that_read_the_same_budget_one_writes(ledger, revision):
    for earlier in range(revision):
        ledger.pace.write_pace(Pace(), earlier)

    assert ledger.pace.write_pace(Pace(next_start=1.0), revision)
    assert not ledger.pace.write_pace(Pace(next_start=2.0), revision)

    assert ledger.pace.read_pace() == (Pace(next_start=1.0), revision + 1)


def test_what_the_ledger_holds_can_be_read_by_a_person(running, table):
    """Lists are JSON texts, totals are numbers, and everything about a run expires together, 30 days on."""
    done(running, scanned=1, left=[12], not_found=(11,))

    run, item = table.read("RUN#r", "RUN"), table.read("RUN#r", "MESSAGE#00000")

    assert json.loads(item["planned"]) == [11, 12, 13]
    assert json.loads(item["not_found"]) == [11]
    assert json.loads(item["body"])["identity_ids"] == [12]
    assert {name for name, count in msgspec.structs.asdict(Totals()).items() if run[name] == count} >= {"not_found"}
    assert run["identities_scanned"] == 1
    assert run["expires_at"] == item["expires_at"] == int((NOW + timedelta(days=30)).timestamp())
