"""A run's edges: starts that die, retries, stops while planning, replays, and what the cron monitor hears."""

import re
from contextlib import contextmanager
from datetime import timedelta

import httpx
import pytest
from botocore.exceptions import ClientError

from core.aws.queues import LARGEST_MESSAGE
from core.environment import SettingsError
from core.lml.gate import Gate
from core.runs import lifecycle as lives
from core.runs.fan_out import RunRefusedError
from core.runs.messages import DeliveryBatch
from core.runs.plan import decode
from core.runs.request import StartError
from local import sentry, serve
from local.world import World
from tests.integration.accounts import IDS, RUN, SCHEDULED, Book, event_of

pytest_plugins = ("tests.integration.fixtures",)

TODAY = "scheduled-2026-02-03"
PICKED = {"identity_ids": IDS[:3]}


@pytest.fixture
def monitor():
    """Sentry's cron monitor: the statuses that it keeps, check-in by check-in; what is closed stays closed."""
    with serve.in_thread(sentry.build()) as url:

        def kept():
            statuses = {}
            for check_in in sentry.check_ins(sentry.decode(httpx.get(f"{url}/_envelopes").content)):
                if statuses.get(check_in["check_in_id"]) in {None, "in_progress"}:
                    statuses[check_in["check_in_id"]] = check_in["status"]
            return list(statuses.values())

        kept.dsn = sentry.dsn(url)
        yield kept


@pytest.fixture
def monitored(sdk, lml, rows, monitor):
    """A job that Sentry watches."""
    book = Book(sdk, lml, rows, monitor.dsn)

    def undelayed(params, **_):
        params.pop("DelaySeconds", None)

    sdk.sqs.meta.events.register("before-parameter-build.sqs.SendMessage", undelayed)
    yield book
    sdk.sqs.meta.events.unregister("before-parameter-build.sqs.SendMessage", undelayed)
    book.close()


@contextmanager
def unsent(book, event, *, when="after"):
    """A start that dies once it has passed the commit point; yields the run that it leaves."""
    with book.sdk.killed("SendMessageBatch", when=when):
        book.start(event)
    (run_id,) = book.ledger.runs.unsent()
    yield book.run(run_id)


# A start that dies once, and that nobody tries again


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("delivered", [False, True], ids=["at once", "after its deliveries"])
def test_the_next_start_sends_what_a_dead_one_has_left(book, when, delivered):
    with unsent(book, PICKED, when=when) as run:
        if delivered:
            book.deliver_all()

        another = book.start({"identity_ids": IDS[3:5]})["run_id"]
        book.deliver_all()

        assert book.run(run.run_id).status == "complete"
        book.assert_balanced(run.run_id)
        book.assert_balanced(another)
        assert book.lml.asked_for() == IDS[:5]
        assert list(book.ledger.runs.unsent()) == []


def test_a_start_that_is_stopped_by_hand_ends_though_nobody_has_sent_its_messages(book):
    with unsent(book, PICKED, when="before") as run:
        book.ledger.runs.stop(run.run_id, "a person said so")

        lives.send_unsent(book.ledger, book.queue, book.clock, book.run(run.run_id))
        book.deliver_all()

        assert book.run(run.run_id).status == "stopped"
        assert book.totals(run.run_id)["not_attempted"] == 3
        book.assert_balanced(run.run_id)


def test_a_run_without_ids_whose_start_died_is_closed_by_any_message_of_it(book, closed):
    with book.sdk.killed("UpdateItem", when="after", holding="all_sent_at"):
        book.start({"identity_ids": IDS[:2]})
    (run_id,) = book.ledger.runs.unsent()
    book.deliver_all()

    book.work_on(f'{{"version":1,"run_id":"{run_id}","identity_ids":[1]}}')

    assert book.run(run_id).status == "complete"
    assert len(closed()) == 1


def test_a_manual_start_that_died_planning_is_ended_by_the_next_one_when_nobody_can_plan_it(book):
    with book.sdk.killed("BatchWriteItem", when="before"):
        book.start(PICKED)
    (run_id,) = book.ledger.runs.unsent()
    book.start(SCHEDULED)
    assert book.run(run_id).status == "planning", "its retry may still come"

    book.clock.advance(timedelta(hours=2).total_seconds())
    book.start(PICKED)

    run = book.run(run_id)
    assert (run.status, run.reason) == ("failed", "its start died while it was planned")


def test_what_keeps_a_dead_start_from_being_taken_up_does_not_keep_this_one(book):
    with unsent(book, PICKED) as run, book.sdk.killed("SendMessageBatch", when="before"):
        book.start(SCHEDULED)  # dies while it takes the other one up

    assert book.start(SCHEDULED)["outcome"] == "started"
    book.deliver_all()

    book.assert_balanced(run.run_id)
    book.assert_balanced()


# A retry is the run of its first try


@pytest.mark.parametrize("event", [SCHEDULED | {"force": True}, {"force": True}], ids=["with its time", "of today"])
@pytest.mark.parametrize("delivered", [False, True], ids=["at once", "after its deliveries"])
def test_a_retry_of_a_forced_start_is_its_first_run(book, event, delivered):
    with book.sdk.killed("UpdateItem", when="after", holding="all_sent_at"):
        book.start(event, request_id="r")
    if delivered:
        book.deliver_all()
    book.clock.advance(60)

    answer = book.start(event, request_id="r")
    book.deliver_all()

    assert answer["run_id"] in {RUN, TODAY}
    assert book.run(answer["run_id"]).status == "complete"
    book.assert_balanced(answer["run_id"])
    assert book.lml.asked_for() == sorted([*IDS, *book.asked_twice(answer["run_id"])])


def test_a_retry_after_midnight_is_still_the_run_of_the_day_before(book):
    book.clock.advance(timedelta(hours=19, minutes=29, seconds=50).total_seconds())
    with book.sdk.killed("SendMessageBatch", when="before"):
        book.start({}, request_id="r")
    book.clock.advance(60)

    assert book.start({}, request_id="r")["run_id"] == TODAY


# A day's run is one


def test_the_schedule_finds_the_run_that_a_person_has_started(monitored, monitor):
    monitored.start({})
    monitored.deliver_all()

    answer = monitored.start(SCHEDULED)
    monitored.telemetry.flush()

    assert (answer["outcome"], answer["run_id"]) == ("already_complete", TODAY)
    assert f"a person has started the day's run as {TODAY}" in str(answer["hint"])
    assert monitored.ledger.runs.read(RUN) is None
    assert monitor() == ["ok", "ok"], "the schedule has fired, so that nobody misses it"


def test_a_person_finds_the_run_that_the_schedule_has_started(book):
    book.start(SCHEDULED)

    answer = book.start({})
    assert (answer["outcome"], answer["run_id"]) == ("already_running", RUN)

    book.deliver_all()
    assert book.start({})["outcome"] == "already_complete"
    assert book.start({"identity_ids": IDS[:1]})["outcome"] == "started"
    assert book.start({"force": True})["outcome"] == "started"
    book.clock.advance(timedelta(days=1).total_seconds())
    book.deliver_all()
    assert book.start({})["outcome"] == "started", "tomorrow has a run of its own"


def test_a_day_whose_run_failed_is_started_by_whoever_comes_next(book):
    book.allowed = Gate(allowed=False, reason="LML is behind")
    with pytest.raises(RunRefusedError):
        book.start({})
    book.allowed = Gate(allowed=True, reason="deployed")

    assert book.start(SCHEDULED)["run_id"] == RUN
    book.deliver_all()

    assert book.start({})["run_id"] == RUN


# Whatever ends planning early ends it


ENDINGS = {
    "a secret that cannot be read": SettingsError("DB_PASSWORD is named, and nobody has filled it"),
    "an error of the code": RuntimeError("something that nobody thought of"),
}


@pytest.mark.parametrize("error", ENDINGS.values(), ids=ENDINGS.keys())
def test_whatever_keeps_a_run_from_being_planned_ends_it(monitored, monitor, error):
    def gate():
        raise error

    works, monitored.gate = monitored.gate, gate
    with pytest.raises(type(error)):
        monitored.start(SCHEDULED, request_id="r")
    monitored.telemetry.flush()

    run = monitored.run()
    assert (run.status, run.reason) == ("failed", str(error))
    assert monitored.ledger.lock.holder(monitored.clock.utc()) is None
    assert monitor() == ["error"]

    monitored.gate = works
    assert monitored.start(SCHEDULED, request_id="r")["outcome"] == "started"
    monitored.deliver_all()
    monitored.telemetry.flush()
    monitored.assert_balanced()
    assert monitor() == ["error", "ok"], "a retry has a check-in of its own, and its success is told"


def test_a_start_that_fails_after_the_commit_point_is_not_ended(book):
    """An answer that is lost leaves a run that may be at work already."""
    with book.sdk.killed("UpdateItem", when="after", holding="messages_planned"):
        book.start(SCHEDULED, request_id="r")
    run = book.run()

    book.lifecycle.end_unplanned(run, "failed", "too late")

    assert book.run().status == "sending"
    assert book.ledger.lock.holder(book.clock.utc()).run_id == RUN


# Check-ins


def test_a_refused_start_that_a_retry_mends_is_reported_as_mended(monitored, monitor):
    monitored.allowed = Gate(allowed=False, reason="LML answered 502")
    with pytest.raises(RunRefusedError):
        monitored.start(SCHEDULED, request_id="r")
    monitored.allowed = Gate(allowed=True, reason="deployed")

    monitored.start(SCHEDULED, request_id="r")
    monitored.deliver_all()
    monitored.telemetry.flush()

    assert monitor() == ["error", "ok"]


def test_a_check_in_that_a_killed_start_has_left_open_is_closed_by_its_retry(monitored, monitor):
    with monitored.sdk.killed("BatchWriteItem", when="before"):
        monitored.start(SCHEDULED, request_id="r")

    monitored.start(SCHEDULED, request_id="r")
    monitored.deliver_all()
    monitored.telemetry.flush()

    assert monitor() == ["error", "ok"]


def test_a_stop_while_fan_out_plans_frees_the_lock_closes_the_check_in_and_stays(monitored, monitor):
    """`rotation stop` ends the run in the ledger; fan-out is at work on it, and learns of it at the commit point."""

    def stop():
        lives.finalise(monitored.ledger, monitored.clock, monitored.run(), "ended by `rotation stop`")

    with monitored.sdk.interrupted("UpdateItem", stop, holding="messages_planned"):
        answer = monitored.start(SCHEDULED, request_id="r")
    monitored.telemetry.flush()

    assert answer["outcome"] == "already_stopped"
    assert monitored.ledger.lock.holder(monitored.clock.utc()) is None
    assert monitor() == ["error"]
    assert monitored.start(SCHEDULED, request_id="r")["outcome"] == "already_stopped"
    assert monitored.waiting() == []


def test_a_stop_after_fan_out_has_died_planning_is_reported_by_whoever_receives_a_message_of_the_run(
    monitored, monitor, closed
):
    with monitored.sdk.killed("BatchWriteItem", when="before"):
        monitored.start(SCHEDULED)
    lives.finalise(monitored.ledger, monitored.clock, monitored.run(), "ended by `rotation stop`")

    monitored.work_on(f'{{"version":1,"run_id":"{RUN}","identity_ids":[1]}}')

    assert monitor() == ["error"]
    assert monitored.run().emitted_at is not None
    assert closed() == [], "nothing was planned, so that there are no totals"


# Errors


def test_dead_letters_count_for_the_share_of_errors_that_stops_a_run(book):
    book.start(SCHEDULED)
    letters = book.waiting()[:2]

    for letter in letters:
        book.handle(letter)

    assert book.run().status == "stopping"
    assert book.run().reason == "100 of 100 identities failed, more than 50 %"
    book.deliver_all()
    book.assert_balanced()


def test_a_run_whose_every_verdict_failed_is_stopped_and_reported_as_failed(monitored, monitor, closed):
    monitored.rows.hold(World.seeded(identities=4))
    monitored.lml.fault(path="refresh", status=500, times=None)

    monitored.start(SCHEDULED)
    monitored.deliver_all()
    monitored.telemetry.flush()

    run = monitored.run()
    assert run.status == "stopped"
    assert run.totals.lml_error == run.totals.identities_scanned > 0
    assert [line["RunCompleted"] for line in closed()] == [[0]]
    assert monitor() == ["error"]


@pytest.mark.parametrize("ids", [1, 3])
def test_a_small_run_whose_every_verdict_failed_does_not_read_as_a_success_either(book, closed, ids):
    book.lml.fault(path="refresh", status=500, times=None)

    run_id = str(book.start({"identity_ids": IDS[:ids]})["run_id"])
    book.deliver_all()

    run = book.run(run_id)
    assert (run.status, run.reason) == ("stopped", f"every verdict failed: {ids} of {ids} identities")
    assert [line["RunCompleted"] for line in closed()] == [[0]]
    book.assert_balanced(run_id)


# Replays


def failing(book, ids):
    book.lml.fault(path="refresh", ids=list(ids), result={"status": "error"}, times=3)


def test_a_second_replay_asks_only_for_what_the_first_has_not_resolved(book):
    failing(book, IDS[:2])
    book.start(SCHEDULED)
    book.deliver_all()
    book.lml.reset()
    failing(book, IDS[:1])
    first = str(book.start({"replay_of": RUN})["run_id"])
    book.deliver_all()
    assert book.totals(first)["identities_resolved"] == 1
    book.lml.reset()

    second = book.start({"replay_of": RUN})
    book.deliver_all()

    assert book.lml.asked_for() == IDS[:1]
    book.assert_balanced(str(second["run_id"]))
    with pytest.raises(StartError, match=rf"run {RUN} left nothing to replay: all was asked for again by .*{first}"):
        book.start({"replay_of": RUN})
    with pytest.raises(StartError, match="left nothing to replay"):
        book.start({"dry_run": True, "replay_of": RUN})


def test_a_replay_of_a_replay_counts_for_the_run_that_began_it(book):
    failing(book, IDS[:1])
    book.start(SCHEDULED)
    book.deliver_all()
    first = book.start({"replay_of": RUN})["run_id"]
    failing(book, IDS[:1])
    book.deliver_all()
    book.lml.reset()
    if book.totals(str(first))["lml_error"]:
        book.start({"replay_of": first})
        book.deliver_all()

    with pytest.raises(StartError, match="left nothing to replay"):
        book.start({"replay_of": RUN})


def test_what_a_replay_is_at_work_on_is_not_asked_for_again(book):
    failing(book, IDS[:2])
    book.start(SCHEDULED)
    book.deliver_all()
    replay = book.start({"replay_of": RUN})["run_id"]

    with pytest.raises(StartError, match=re.escape(f"{replay} (running)")):
        book.start({"replay_of": RUN})

    book.lifecycle.finalise(book.run(str(replay)), "a person said so")
    assert book.start({"replay_of": RUN})["planned"] == 2


def test_the_retry_of_a_replay_is_not_in_its_own_way(book):
    failing(book, IDS[:2])
    book.start(SCHEDULED)
    book.deliver_all()
    with book.sdk.killed("BatchWriteItem", when="before"):
        book.start({"replay_of": RUN}, request_id="r")

    assert book.start({"replay_of": RUN}, request_id="r")["planned"] == 2


# Bodies that nobody can read


@pytest.mark.parametrize("limit", LARGEST_MESSAGE)
@pytest.mark.parametrize("letter", ["x", "é"])
def test_a_body_of_the_largest_size_is_parked_with_its_reason(book, letter, limit):
    """SQS counts body and attributes, and refuses what is larger than its queue takes."""
    largest = letter * (LARGEST_MESSAGE[0] // len(letter.encode()))

    def as_sqs_counts(params, **_):
        reason = params["MessageAttributes"]["reason"]["StringValue"]
        if len(params["MessageBody"].encode()) + len("reason" + "String" + reason) > limit:
            raise ClientError({"Error": {"Code": "InvalidParameterValue", "Message": "too long"}}, "SendMessage")

    book.sqs.meta.events.register("before-parameter-build.sqs.SendMessage", as_sqs_counts)
    book.work_on(largest)
    book.sqs.meta.events.unregister("before-parameter-build.sqs.SendMessage", as_sqs_counts)

    (parked,) = book.waiting("parked")
    (reason,) = book.reasons()
    assert largest.startswith(parked)
    assert limit - 500 < len(parked.encode()) < limit
    assert "not a refresh message" in reason
    assert re.search(rf"\(cut: the first \d+ of {LARGEST_MESSAGE[0]} bytes\)", reason)


def test_a_body_that_leaves_its_reason_room_is_kept_whole(book):
    book.work_on("x" * 200_000)

    assert book.waiting("parked") == ["x" * 200_000]
    assert "(cut" not in book.reasons()[0]


def test_a_letter_is_given_back_to_sqs_while_another_is_at_it(book):
    """An ordinary duplicate is no error of the function, so that no alarm rings for it."""
    book.start(SCHEDULED)
    body = book.waiting()[0]
    item = book.message(decode(body).message)
    now = book.clock.utc()
    assert book.ledger.messages.claim(item, "somebody", now, now + timedelta(minutes=15))

    def answer():
        batch = DeliveryBatch(event_of(body, {"MessageId": "the-duplicate"}), "me", book.telemetry)
        for delivery in batch.deliveries:
            with batch.giving_back(delivery):
                book.consumer.handle(delivery, lambda: 900.0)
        return batch.answer

    assert answer() == {"batchItemFailures": [{"itemIdentifier": "the-duplicate"}]}
    book.clock.advance(timedelta(minutes=15).total_seconds())
    book.deliver_all()
    assert answer() == {"batchItemFailures": []}
