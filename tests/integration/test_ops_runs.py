"""`rotation up` and what a person does against it; every command in one process, each as the shell would call it."""

import json

import httpx
import psutil
import pytest

from tests.eventually import eventually
from tests.integration.operating import IDENTITIES, Desk

pytestmark = pytest.mark.xdist_group("operator")


def test_up_leaves_a_healthy_cloud_running(desk):
    parts = ("aws", "lml", "sentry", "postgresql", "picker")
    answer = httpx.get(f"{desk.running.health_url}/health")
    assert answer.status_code == 200
    assert answer.json() == {"status": "healthy", "parts": dict.fromkeys(parts, "ok")}


def test_a_second_up_is_refused_and_changes_nothing(desk):
    before = desk.running
    assert "running already" in desk.data("up", code=1)["error"]
    assert desk.running == before
    assert all(process.alive for process in before.cloud.processes)


def test_what_sam_local_needs_names_every_variable_of_every_function(desk):
    """SAM passes on a variable only if its template names it, and only the value of its file (LOCAL.md)."""
    environments = json.loads((desk.directory / ".local/sam-env.json").read_text())
    template = json.loads((desk.directory / ".local/template.json").read_text())
    everywhere = template["Globals"]["Function"]

    assert (desk.directory / ".local" / everywhere["CodeUri"] / "handlers/fan_out.py").is_file()
    functions = {name for name, it in template["Resources"].items() if it["Type"] == "AWS::Serverless::Function"}
    assert environments.keys() == functions
    for name, environment in environments.items():
        own = template["Resources"][name]["Properties"]["Environment"]["Variables"]
        declared = own.keys() | everywhere["Environment"]["Variables"].keys()
        from_sam = {"AWS_DEFAULT_REGION", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"}
        assert environment.keys() - from_sam <= declared
        assert environment["AWS_ENDPOINT_URL"] == desk.running.cloud.aws_url
        assert environment["LOCAL_DEV"] == "1"


def test_a_dry_run_counts_and_asks_nobody(desk):
    answer = desk.data("run", "--dry-run")
    assert (answer["outcome"], answer["planned"], answer["messages"]) == ("dry_run", IDENTITIES, 1)


def test_a_run_of_some_ids_is_watched_to_its_end(desk):
    answer = desk.data("run", "--ids", "5,6", "--wait")
    assert (answer["status"], answer["trigger"], answer["planned"], answer["not_found"]) == ("complete", "manual", 2, 2)
    assert desk.data("status", answer["run_id"])["status"] == "complete"


def test_the_day_has_one_full_run_until_it_is_forced(desk):
    first = desk.data("run", "--wait")
    assert (first["status"], first["trigger"], first["identities_scanned"]) == ("complete", "scheduled", IDENTITIES)

    again = desk.data("run", code=1)
    assert (again["outcome"], again["run_id"]) == ("already_complete", first["run_id"])
    assert "force" in again["hint"]

    forced = desk.data("run", "--force", "--wait")
    assert forced["run_id"] != first["run_id"]
    assert (forced["status"], forced["planned"]) == ("complete", IDENTITIES)


def test_a_stopped_run_is_replayed_as_a_run_that_names_it(desk):
    with desk.held() as held:
        run_id = desk.data("run", "--ids", ",".join(map(str, range(5, 11))))["run_id"]
        eventually(held)
        live = desk.data("status")
        assert (live["run_id"], live["status"]) == (run_id, "running")
        assert desk.data("stop", run_id)["status"] == "stopping"
    stopped = desk.data("status", "--follow", run_id)
    assert (stopped["status"], stopped["reason"]) == ("stopped", "stopped by `rotation stop`")
    assert stopped["planned"] == stopped["identities_scanned"] + stopped["not_attempted"]
    assert stopped["not_attempted"] > 0

    replayed = desk.data("replay", run_id, "--wait")

    assert (replayed["status"], replayed["origin"]) == ("complete", run_id)
    assert replayed["planned"] == stopped["not_attempted"]


def test_a_run_past_its_deadline_is_ended_at_once_and_told(desk):
    with desk.held() as held:
        run_id = desk.data("run", "--ids", "5,6,7")["run_id"]
        eventually(held)
        desk.target.client("dynamodb").update_item(
            TableName=desk.target.names["LedgerTable"],
            Key={"pk": {"S": f"RUN#{run_id}"}, "sk": {"S": "RUN"}},
            UpdateExpression="SET deadline = :past",
            ExpressionAttributeValues={":past": {"N": "1"}},
        )
        ended = desk.data("stop", run_id)
        assert (ended["status"], ended["not_attempted"]) == ("stopped", 3)

        (totals,) = eventually(lambda: desk.told(run_id))  # the second slot told them; the first still waits for LML
    assert totals["backfill.not_attempted"] == 3


def test_nothing_to_replay_is_no_success(desk):
    run_id = desk.data("run", "--ids", "5", "--wait")["run_id"]
    assert "left nothing to replay" in desk.data("replay", run_id, code=1)["error"]
    assert "not in the ledger" in desk.data("replay", "no-such-run", code=1)["error"]


def test_a_run_that_has_ended_is_not_stopped_again(desk):
    run_id = desk.data("run", "--ids", "5", "--wait")["run_id"]
    assert "is complete since" in desk.data("stop", run_id, code=1)["error"]


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (("run", "--ids", "5,5"), "repeats an id"),
        (("run", "--ids", "0"), "identity_ids"),
        (("status", "no-such-run"), "no-such-run is not in the ledger"),
    ],
)
def test_what_cannot_be_is_refused_in_a_sentence(desk, arguments, problem):
    assert problem in desk.data(*arguments, code=1)["error"]


def test_a_parked_message_is_listed_and_replayed_by_hand(desk):
    sqs, names = desk.target.client("sqs"), desk.target.names
    lost = '{"version":1,"run_id":"of-another-ledger","message":3,"part":2,"identity_ids":[5],"failed":{"5":2}}'
    for body in (lost, "no json"):
        sqs.send_message(QueueUrl=names["RefreshQueue"], MessageBody=body)
    found = eventually(lambda: _if_two(desk.data("letters")["letters"]))
    reasons = {letter["body"]: letter["reason"] for letter in found}
    assert "of-another-ledger is not in the ledger" in reasons[lost]
    assert "not a refresh message" in reasons["no json"]
    asked_before = httpx.get(f"{desk.running.cloud.lml_url}/_stats").json()["requests"]

    done = desk.data("letters", "--replay", code=1)

    (unreadable,) = done["not_done"]
    assert len(done["done"]) == 1
    eventually(lambda: httpx.get(f"{desk.running.cloud.lml_url}/_stats").json()["requests"] > asked_before)
    assert desk.data("letters", "--discard", unreadable["id"])["done"] == [unreadable["id"]]
    assert "no such message" in desk.data("letters", "--discard", unreadable["id"], code=1)["error"]


def test_a_start_that_was_given_up_is_replayed(desk):
    sqs, names = desk.target.client("sqs"), desk.target.names
    record = {"requestPayload": {"identity_ids": [5]}, "responsePayload": {"errorMessage": "the database was away"}}
    sqs.send_message(QueueUrl=names["FanOutFailureQueue"], MessageBody=json.dumps(record))
    (letter,) = desk.data("letters")["letters"]
    assert (letter["kind"], letter["reason"]) == ("start", "the database was away")

    desk.data("letters", "--replay")

    run = eventually(lambda: next((run for run in [desk.data("status")] if run["closed_at"]), None))
    assert (run["planned"], run["status"]) == (1, "complete")


def test_down_leaves_nothing(tmp_path):
    other = Desk(tmp_path)
    assert "rotation up" in other.data("down", code=1)["error"]
    other.data("up", "--identities", "1")
    started = other.running
    assert all(psutil.pid_exists(process.pid) for process in started.cloud.processes)

    other.data("down")

    assert not any(process.alive for process in started.cloud.processes)
    assert list((tmp_path / ".local").iterdir()) == []


def _if_two(found: list[dict[str, str]]) -> list[dict[str, str]] | None:
    return found if len(found) == 2 else None
