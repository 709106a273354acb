"""`rotation up` and what a person does against it; every command in one process, each as the shell would call it."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import httpx
import pytest

from core.clock import SystemClock
from core.runs import lifecycle as lives
from core.runs import request
from core.runs.ledger import Run, Status
from core.runs.plan import RefreshMessage
from core.utc import moment_text
from local.world import World
from ops.target import Target
from tests.eventually import eventually
from tests.integration.build import kill_server
from tests.integration.operating import IDENTITIES, INTERRUPTIBLE, Operator


@dataclass(frozen=True)
class Book:
    """The ledger of the operator's cloud, for runs that only stand in it."""

    target: Target

    def enter(self, status: Status, run_id: str | None = None) -> Run:
        ledger, now = self.target.ledger, SystemClock().utc()
        run = Run(
            run_id=run_id or request.manual_id(now),
            status=status,
            trigger="manual",
            started_at=moment_text(now),
            deadline=int((now + timedelta(hours=1)).timestamp()),
            planner="nobody",
            planned=0 if status == "planning" else 3,
            messages_planned=0 if status == "planning" else 1,
            closed_at=None if status in {"planning", "running"} else moment_text(now),
        )
        assert ledger.runs.open(run)
        return run

    def forget_today(self) -> None:
        """Nobody has run the day yet, whatever tests before this one did."""
        runs, today = self.target.ledger.runs, SystemClock().utc().date()
        for key in (
            (f"DAY#{today}", "DAY"),
            *((f"RUN#{name}", "RUN") for name in (f"scheduled-{today}", f"scheduled-{today}T04:30:00Z")),
        ):
            runs.table.delete(*key, "attribute_exists(pk)")

    def plan(self, ids: Sequence[int]) -> Run:
        """A run past the commit point of which no message is in the queue."""
        ledger, now = self.target.ledger, SystemClock().utc()
        run = self.enter("planning")
        message = RefreshMessage(version=1, run_id=run.run_id, identity_ids=tuple(ids))
        ledger.messages.plan([message], now)
        assert ledger.runs.begin_sending(run, planned=len(ids), messages_planned=1, now=now)
        return run


@pytest.fixture
def book(operator):
    return Book(operator.target)


@pytest.fixture
def another(book):
    """A full run of another day that goes on and holds the lock."""
    run, ledger, clock = book.enter("running"), book.target.ledger, SystemClock()
    assert ledger.lock.acquire(run.run_id, clock.utc())
    yield run
    lives.finalise(ledger, clock, run, "the test is over")


def test_up_leaves_a_healthy_cloud_running(operator):
    parts = ("aws", "lml", "sentry", "postgresql", "picker")
    answer = httpx.get(f"{operator.running.health_url}/health")
    assert answer.status_code == 200
    assert answer.json() == {"status": "healthy", "parts": dict.fromkeys(parts, "ok")}


def test_a_second_up_is_refused_and_changes_nothing(operator):
    before = operator.running
    assert "running already" in operator.data("up", code=1)["error"]
    assert operator.running == before
    assert all(process.alive for process in before.cloud.processes)


def test_what_sam_local_needs_names_every_variable_of_every_function(operator):
    """SAM passes on a variable only if its template names it, and only the value of its file (docs/design/local.md)."""
    environments = json.loads((operator.directory / ".local/sam-env.json").read_text())
    template = json.loads((operator.directory / ".local/template.json").read_text())
    code = operator.directory / ".local" / template["Globals"]["Function"]["CodeUri"]

    assert (code / "Makefile").is_file()
    functions = {name for name, it in template["Resources"].items() if it["Type"] == "AWS::Serverless::Function"}
    assert environments.keys() == functions
    for name, environment in environments.items():
        assert template["Resources"][name]["Properties"]["Environment"]["Variables"].keys() == environment.keys()
        assert environment["AWS_ENDPOINT_URL"] == operator.running.cloud.aws_url
        assert environment["LOCAL_DEV"] == "1"


def test_a_dry_run_counts_and_asks_nobody(operator):
    answer = operator.data("run", "--dry-run")
    assert (answer["outcome"], answer["planned"], answer["messages"]) == ("dry_run", IDENTITIES, 1)


def test_a_run_of_some_ids_is_watched_to_its_end(operator):
    answer = operator.data("run", "--ids", "5,6", "--wait")
    assert (answer["status"], answer["trigger"], answer["planned"], answer["not_found"]) == ("complete", "manual", 2, 2)
    assert operator.data("status", answer["run_id"])["status"] == "complete"


def test_a_full_run_is_not_started_while_another_holds_the_lock(operator, book, another):
    book.forget_today()
    before = operator.target.runs_begun()

    assert f"{another.run_id} is running and holds the lock" in operator.data("run", code=1)["error"]

    assert operator.target.runs_begun() == before  # no run that fan-out refused, and no alarm of its errors


@pytest.mark.parametrize("nothing", ["refused", "failed"])
def test_the_run_that_goes_on_is_shown_and_not_a_later_start_that_came_to_nothing(operator, book, another, nothing):
    later = book.enter(nothing)

    assert operator.data("status")["run_id"] == another.run_id
    assert operator.data("status", later.run_id)["status"] == nothing


def test_the_last_start_is_shown_where_nothing_goes_on(operator, book):
    later = book.enter("failed")
    assert operator.data("status")["run_id"] == later.run_id


def test_the_day_has_one_full_run_whoever_starts_it_until_it_is_forced(operator, book):
    nightly = f"scheduled-{SystemClock().utc().date()}T04:30:00Z"
    book.forget_today()
    book.enter("failed", nightly)
    first = operator.data("run", "--wait")
    assert (first["run_id"], first["status"], first["trigger"]) == (nightly, "complete", "scheduled")
    assert first["identities_scanned"] == IDENTITIES

    again = operator.data("run", code=1)
    assert (again["outcome"], again["run_id"]) == ("already_complete", first["run_id"])
    assert "`rotation run --force`" in again["hint"]

    forced = operator.data("run", "--force", "--wait", "--yes")
    assert forced["run_id"] != first["run_id"]
    assert (forced["status"], forced["trigger"], forced["planned"]) == ("complete", "manual", IDENTITIES)


def test_a_stopped_run_is_replayed_as_a_run_that_names_it(operator):
    with operator.held() as held:
        run_id = operator.data("run", "--ids", ",".join(map(str, range(5, 11))))["run_id"]
        eventually(held)
        live = operator.data("status")
        assert (live["run_id"], live["status"]) == (run_id, "running")
        assert operator.data("stop", run_id)["status"] == "stopping"
    stopped = operator.data("status", "--follow", run_id, code=1)
    assert (stopped["status"], stopped["reason"]) == ("stopped", "stopped by `rotation stop`")
    assert stopped["planned"] == stopped["identities_scanned"] + stopped["not_attempted"]
    assert stopped["not_attempted"] > 0

    replayed = operator.data("replay", run_id, "--wait")

    assert (replayed["status"], replayed["origin"]) == ("complete", run_id)
    assert replayed["planned"] == stopped["not_attempted"]


def test_ids_that_were_not_attempted_are_not_done(operator):
    with operator.held() as held:
        run_id = operator.data("run", "--ids", "5,6,7")["run_id"]
        eventually(held)
        operator.data("stop", run_id, "--now")
    assert "0 of 3 ids done, 0 of 1 messages; 0 failed, 0 not found, 3 not attempted" in operator.text("status", run_id)


def test_who_stops_watching_is_told_how_to_end_the_run(operator):
    command = [sys.executable, "-c", INTERRUPTIBLE, "run", "--ids", "5", "--wait"]
    with operator.held():
        watching = subprocess.Popen(  # noqa: S603 - our own command
            command, cwd=operator.directory, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True
        )
        started = watching.stderr.readline()
        run_id = started.split()[2].rstrip(",")
        watching.send_signal(signal.SIGINT)
        printed = watching.communicate()[1]

    assert started.startswith(f"started: run_id {run_id}, planned 1")
    assert f"run {run_id} goes on; `rotation stop {run_id}` ends it" in printed
    assert (watching.returncode, "Aborted!" in printed) == (1, True)
    assert operator.data("status", "--follow", run_id)["status"] == "complete"


def test_a_run_past_its_deadline_is_ended_at_once_and_reported(operator):
    with operator.held() as held:
        run_id = operator.data("run", "--ids", "5,6,7")["run_id"]
        eventually(held)
        operator.set_deadline(run_id, 1)
        ended = operator.data("stop", run_id)
        assert (ended["status"], ended["not_attempted"]) == ("stopped", 3)

        (totals,) = eventually(lambda: operator.reported_totals(run_id))  # by the second slot; the first waits for LML
    assert totals["backfill.not_attempted"] == 3


def test_nothing_to_replay_is_no_success(operator):
    run_id = operator.data("run", "--ids", "5", "--wait")["run_id"]
    assert "left nothing to replay" in operator.data("replay", run_id, code=1)["error"]
    assert "not in the ledger" in operator.data("replay", "no-such-run", code=1)["error"]


def test_a_release_that_came_without_artists_is_replayed_when_that_is_asked_for(operator):
    world = World.seeded(IDENTITIES)
    bare = next(
        i for i in world.identity_ids() if (it := world.identities.get(i)) and it.release and it.release.tombstone
    )
    run_id = operator.data("run", "--ids", str(bare), "--wait")["run_id"]
    assert f"`rotation replay {run_id} --without-artists` asks again" in operator.text("status", run_id)

    assert "left nothing to replay" in operator.data("replay", run_id, code=1)["error"]
    replayed = operator.data("replay", run_id, "--without-artists", "--wait")

    assert (replayed["status"], replayed["planned"], replayed["warmed_without_artists"]) == ("complete", 1, 1)


def test_a_run_that_has_ended_is_not_stopped_again(operator):
    run_id = operator.data("run", "--ids", "5", "--wait")["run_id"]
    assert "is complete since" in operator.data("stop", run_id, code=1)["error"]


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (("run", "--ids", "5,5"), "repeats an id"),
        (("run", "--ids", "0"), "identity_ids"),
        (("status", "no-such-run"), "no-such-run is not in the ledger"),
    ],
)
def test_what_cannot_be_is_refused_in_a_sentence(operator, arguments, problem):
    assert problem in operator.data(*arguments, code=1)["error"]


def test_a_parked_message_is_listed_and_replayed_by_hand(operator):
    sqs, names = operator.target.client("sqs"), operator.target.names
    lost = '{"version":1,"run_id":"of-another-ledger","message":3,"part":2,"identity_ids":[5],"failed":{"5":2}}'
    for body in (lost, "no json"):
        sqs.send_message(QueueUrl=names["RefreshQueue"], MessageBody=body)
    found = eventually(lambda: _if_two(operator.data("letters")["letters"]))
    reasons = {letter["body"]: letter["reason"] for letter in found}
    assert "of-another-ledger is not in the ledger" in reasons[lost]
    assert "not a refresh message" in reasons["no json"]
    asked_before = httpx.get(f"{operator.running.cloud.lml_url}/_stats").json()["requests"]

    done = operator.data("letters", "--replay", code=1)

    (unreadable,) = done["not_done"]
    assert len(done["done"]) == 1
    eventually(lambda: httpx.get(f"{operator.running.cloud.lml_url}/_stats").json()["requests"] > asked_before)
    assert operator.data("letters", "--discard", "--yes", unreadable["id"])["done"] == [unreadable["id"]]
    assert "no such message" in operator.data("letters", "--discard", "--yes", unreadable["id"], code=1)["error"]


def test_letters_are_replayed_or_thrown_away_but_not_both(operator):
    result = operator.rotation("letters", "--replay", "--discard")
    assert (result.exit_code, "cannot be sent" in result.stderr) == (2, True)


def test_a_start_that_was_given_up_is_replayed(operator):
    sqs, names = operator.target.client("sqs"), operator.target.names
    record = {"requestPayload": {"identity_ids": [5]}, "responsePayload": {"errorMessage": "the database was away"}}
    sqs.send_message(QueueUrl=names["FanOutFailureQueue"], MessageBody=json.dumps(record))
    (letter,) = operator.data("letters")["letters"]
    assert (letter["kind"], letter["reason"]) == ("start", "the database was away")

    operator.data("letters", "--replay")

    run = eventually(lambda: next((run for run in [operator.data("status")] if run["closed_at"]), None))
    assert (run["planned"], run["status"]) == (1, "complete")


@pytest.mark.parametrize(
    ("commands", "status", "counted"),
    [
        ([("status",)], "complete", "identities_scanned"),
        ([("status", "--follow")], "complete", "identities_scanned"),
        ([("stop",)], "stopped", "not_attempted"),
        ([("stop", "--wait")], "stopped", "not_attempted"),
    ],
    ids=["status", "status --follow", "stop", "stop --wait"],
)
def test_what_a_dead_start_has_not_sent_is_sent_by_whoever_looks(operator, book, commands, status, counted):
    """Its fan-out died between the commit point and the queue; nobody tries a manual start again."""
    run, ledger = book.plan([1, 2, 3]), operator.target.ledger

    for command, *options in commands:
        operator.data(command, run.run_id, *options, code=1 if "--follow" in options and status != "complete" else 0)

    ended = eventually(lambda: _if_reported(ledger.runs.read(run.run_id)))
    assert (ended.status, getattr(ended.totals, counted)) == (status, 3)


def test_a_run_that_is_stopped_while_it_is_planned_ends_at_once_and_is_not_started_again(operator, book):
    run = book.enter("planning")

    stopped = operator.data("stop", run.run_id)

    assert (stopped["status"], stopped["reason"]) == ("stopped", "ended by `rotation stop`")
    eventually(lambda: _if_reported(operator.target.ledger.runs.read(run.run_id)))
    assert not operator.target.ledger.runs.open(run)


def test_letters_lists_whatever_lies_there(operator):
    sqs, names = operator.target.client("sqs"), operator.target.names
    bodies = ["[" * 3000, '{"requestPayload":' + "[" * 3000 + "]" * 3000 + "}", "x", "null", '{"responsePayload": 1}']
    for body in bodies:
        sqs.send_message(QueueUrl=names["FanOutFailureQueue"], MessageBody=body)

    letters = eventually(lambda: _if_all(operator.data("letters")["letters"], len(bodies)))

    assert {letter["body"] for letter in letters} == set(bodies)
    assert {letter["reason"] for letter in letters} == {"given up"}
    done = operator.data("letters", "--replay", code=1)
    assert len(done["not_done"]) == len(bodies)
    assert len(operator.data("letters", "--discard", "--yes")["done"]) == len(bodies)


def test_down_without_a_cloud_names_what_starts_one_here(tmp_path):
    error = Operator(tmp_path).data("down", code=1)["error"]

    assert "rotation up" in error
    assert "--stack-name" not in error


def test_a_cloud_that_was_killed_is_said_to_be_and_down_leaves_nothing_of_it(tmp_path):
    """As after a crash or a new start of the machine."""
    other = Operator(tmp_path)
    other.data("up", "--identities", "1")
    cloud = other.running.cloud
    for process in cloud.processes:
        os.killpg(process.pid, signal.SIGKILL)
    kill_server(cloud.database)

    for command in ("status", "run"):
        assert "`rotation down`, then `rotation up`" in other.data(command, code=1)["error"]
    other.data("down")

    assert not any(process.alive for process in cloud.processes)
    assert not Path(str(cloud.database.home)).exists()
    assert list((tmp_path / ".local").iterdir()) == []


def _if_reported(run: Run | None) -> Run | None:
    return run if run is not None and run.emitted_at is not None else None


def _if_all(found: list[dict[str, str]], count: int) -> list[dict[str, str]] | None:
    return found if len(found) == count else None


def _if_two(found: list[dict[str, str]]) -> list[dict[str, str]] | None:
    return found if len(found) == 2 else None
