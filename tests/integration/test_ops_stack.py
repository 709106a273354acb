"""`--stack-name`: the operator's commands against a deployed stack, as they find it: through CloudFormation alone."""

import json

import boto3
import pytest

from local import deploy
from tests.eventually import eventually
from tests.integration.operating import Operator

FEW = "5,6,7,8,9,10"


@pytest.fixture
def account(operator, monkeypatch, tmp_path):
    """A shell that is logged in to the account in which the stack is, and knows nothing of `rotation up`."""
    account = {
        "AWS_ENDPOINT_URL": operator.running.cloud.aws_url,
        "AWS_DEFAULT_REGION": deploy.REGION,
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_CONFIG_FILE": str(tmp_path / "none"),
        "AWS_SHARED_CREDENTIALS_FILE": str(tmp_path / "none"),
        "AWS_EC2_METADATA_DISABLED": "true",
    }
    for name in ("AWS_PROFILE", "AWS_SESSION_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    for name, value in account.items():
        monkeypatch.setenv(name, value)
    return Operator(tmp_path, ("--stack-name", deploy.STACK))


def test_a_stack_s_run_is_started_seen_stopped_and_replayed(operator, account):
    with operator.held() as held:
        run_id = account.data("run", "--ids", FEW)["run_id"]
        eventually(held)
        last, this = account.data("status"), account.data("status", run_id)
        assert last["started_at"] == this["started_at"]  # in seconds: another one may have begun in the same
        assert account.data("stop", run_id)["status"] == "stopping"
    stopped = account.data("status", run_id, "--follow", code=1)
    assert (stopped["status"], stopped["planned"]) == ("stopped", 6)

    replayed = account.data("replay", run_id, "--wait")

    assert (replayed["status"], replayed["origin"]) == ("complete", run_id)
    assert replayed["planned"] == stopped["not_attempted"]


def test_a_stack_s_letters_are_listed_and_thrown_away(operator, account):
    cloud = operator.running.cloud
    cloud.client("sqs").send_message(QueueUrl=cloud.names["RefreshQueue"], MessageBody="no json")
    (letter,) = eventually(lambda: account.data("letters")["letters"])
    assert (letter["kind"], letter["body"]) == ("parked", "no json")

    assert account.data("letters", "--discard", "--yes")["done"] == [letter["id"]]
    assert account.data("letters")["letters"] == []


def test_a_refusal_names_the_stack(account):
    error = account.data("status", "no-such-run", code=1)["error"]
    assert f"the ledger of stack {deploy.STACK} in {deploy.REGION}" in error


COMMANDS = (("status",), ("run", "--dry-run"), ("stop", "a-run"), ("replay", "a-run"), ("letters",))


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command[0])
def test_a_stack_that_is_not_there_is_said_so(account, command):
    nowhere = Operator(account.directory, ("--stack-name", "no-such-stack"))
    error = nowhere.data(*command, code=1)["error"]
    assert error.startswith(f"there is no stack no-such-stack in {deploy.REGION}: ")
    assert "--region" in error


def test_somebody_else_s_stack_is_left_alone(account):
    template = {"Resources": {"Queue": {"Type": "AWS::SQS::Queue"}}}
    formation = boto3.Session().client("cloudformation")
    formation.create_stack(StackName="other", TemplateBody=json.dumps(template))
    formation.get_waiter("stack_create_complete").wait(StackName="other", WaiterConfig={"Delay": 0.1})

    other = Operator(account.directory, ("--stack-name", "other"))
    assert "was not made from this project's template" in other.data("run", code=1)["error"]


def test_no_region_asks_for_one(account, monkeypatch):
    monkeypatch.delenv("AWS_DEFAULT_REGION")
    assert "--region or AWS_DEFAULT_REGION" in account.data("status", code=1)["error"]
    run = account.data("run", "--ids", "5", "--wait", "--region", deploy.REGION)
    assert run["status"] == "complete"


@pytest.mark.parametrize(
    ("gone", "instead"),
    [
        pytest.param(("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"), {}, id="none"),
        pytest.param(("AWS_SECRET_ACCESS_KEY",), {}, id="half"),
        pytest.param((), {"AWS_PROFILE": "nobody"}, id="unknown profile"),
    ],
)
def test_no_credentials_say_what_must_work(account, monkeypatch, gone, instead):
    for name in gone:
        monkeypatch.delenv(name)
    for name, value in instead.items():
        monkeypatch.setenv(name, value)

    error = account.data("status", code=1)["error"]

    assert "no AWS credentials" in error
    assert "aws sts get-caller-identity" in error


def test_an_account_that_cannot_be_reached_is_reported_in_a_sentence(account, monkeypatch):
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    assert "Could not connect to the endpoint URL" in account.data("status", code=1)["error"]
