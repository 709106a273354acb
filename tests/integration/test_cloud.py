"""The local cloud: the template as it really is once deployed, and nothing left behind."""

import json
from collections.abc import Iterator
from datetime import UTC, datetime

import msgspec
import psutil
import pytest

from local import cloud, deploy
from local.cloud import Cloud, Options
from local.world import World
from tests.eventually import eventually


def _queue(running: Cloud, name: str) -> dict[str, str]:
    sqs = running.client("sqs")
    return sqs.get_queue_attributes(QueueUrl=running.names[name], AttributeNames=["All"])["Attributes"]


def _environment(running: Cloud, name: str) -> dict[str, str]:
    configuration = running.client("lambda").get_function_configuration(FunctionName=running.names[name])
    return configuration["Environment"]["Variables"]


def _listening(pid: int) -> Iterator[str]:
    leader = psutil.Process(pid)
    for member in (leader, *leader.children(recursive=True)):
        for connection in member.net_connections(kind="inet"):
            if connection.status == psutil.CONN_LISTEN:
                yield connection.laddr.ip


def test_two_numbers_bound_the_refresh_and_are_equal(running_cloud):
    """Were MaximumConcurrency above the reserve, deliveries would be throttled and die; below, slots would idle."""
    functions = running_cloud.client("lambda")
    refresh = running_cloud.names["RefreshFunction"]

    reserved = functions.get_function_concurrency(FunctionName=refresh)["ReservedConcurrentExecutions"]
    (mapping,) = functions.list_event_source_mappings(FunctionName=refresh)["EventSourceMappings"]

    assert reserved == mapping["ScalingConfig"]["MaximumConcurrency"] == 2
    assert mapping["BatchSize"] == 1


def test_fan_out_runs_one_at_a_time_and_reports_what_it_gives_up(running_cloud):
    functions = running_cloud.client("lambda")
    fan_out = running_cloud.names["FanOutFunction"]

    assert functions.get_function_concurrency(FunctionName=fan_out)["ReservedConcurrentExecutions"] == 1
    asynchronous = functions.get_function_event_invoke_config(FunctionName=fan_out, Qualifier="$LATEST")
    assert (asynchronous["MaximumRetryAttempts"], asynchronous["MaximumEventAgeInSeconds"]) == (2, 3600)
    assert (
        asynchronous["DestinationConfig"]["OnFailure"]["Destination"]
        == _queue(running_cloud, "FanOutFailureQueue")["QueueArn"]
    )


def test_an_unfinished_message_comes_back_and_dies_after_five(running_cloud):
    refresh = _queue(running_cloud, "RefreshQueue")

    template = deploy.read()
    assert refresh["VisibilityTimeout"] == str(template["Parameters"]["RefreshVisibilitySeconds"]["Default"])
    assert int(refresh["MessageRetentionPeriod"]) == 4 * 86_400, "four days"
    assert json.loads(refresh["RedrivePolicy"]) == {
        "deadLetterTargetArn": _queue(running_cloud, "DeadLetterQueue")["QueueArn"],
        "maxReceiveCount": 5,
    }


def test_the_ledger_forgets_by_itself(running_cloud):
    ttl = running_cloud.client("dynamodb").describe_time_to_live(TableName=running_cloud.names["LedgerTable"])
    assert ttl["TimeToLiveDescription"] == {"TimeToLiveStatus": "ENABLED", "AttributeName": "expires_at"}


def test_secrets_come_by_arn_and_never_through_the_environment(running_cloud):
    secret = running_cloud.client("secretsmanager").get_secret_value
    key = secret(SecretId=running_cloud.names["LmlApiKeySecret"])["SecretString"]

    for function in ("FanOutFunction", "RefreshFunction", "DeadLetterFunction"):
        environment = _environment(running_cloud, function)
        assert environment["LOCAL_DEV"] == "1"
        assert environment["CLOCK_SPEED"] == "200"
        assert not {key, running_cloud.database.password} & set(environment.values())


def test_everything_listens_on_loopback_only(running_cloud):
    addresses = {address for started in running_cloud.processes for address in _listening(started.pid)}
    assert addresses == {"127.0.0.1"}


def test_the_schedule_starts_a_run_that_completes(running_cloud):
    moment = datetime(2026, 2, 3, 4, 30, tzinfo=UTC)
    key = {"pk": {"S": "RUN#scheduled-2026-02-03T04:30:00Z"}, "sk": {"S": "RUN"}}

    def completed() -> dict[str, dict[str, str]] | None:
        assert not running_cloud.problems()
        answer = running_cloud.client("dynamodb").get_item(TableName=running_cloud.names["LedgerTable"], Key=key)
        run = answer.get("Item", {})
        return run if run.get("status") == {"S": "complete"} else None

    running_cloud.fire(moment)
    run = eventually(completed)

    assert run["trigger"] == {"S": "scheduled"}
    assert run["planned"] == run["identities_scanned"] == {"N": "24"}

    def found() -> dict[str, object] | None:
        lines = [line for line in running_cloud.logs("RefreshFunction") if line.get("step") == "done"]
        return next((line for line in lines if key["pk"]["S"] == f"RUN#{line['run_id']}"), None)

    assert eventually(found)["identities_scanned"] == 24


def test_a_start_that_is_interrupted_leaves_nothing_behind(tmp_path):
    directory = tmp_path / "cloud"
    before = set(psutil.Process().children(recursive=True))

    def interrupt(stage: str) -> None:
        if "emulator" in stage:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        cloud.start(Options(world=World.seeded(identities=5)), directory, interrupt)

    assert set(psutil.Process().children(recursive=True)) <= before
    assert not directory.exists()


def test_another_command_can_stop_it_by_its_description(tmp_path):
    """`parameters` and `settings` are in force: a fault test needs both, outside the template's bounds."""
    directory = tmp_path / "cloud"
    options = Options(
        world=World.seeded(identities=5),
        settings={"MAX_ERROR_PERCENT": "7"},
        parameters={"RefreshTimeoutSeconds": "2", "RefreshVisibilitySeconds": "3", "RefreshConcurrency": "3"},
    )
    running = cloud.start(options, directory, print)
    try:
        functions = running.client("lambda")
        refresh = running.names["RefreshFunction"]
        assert functions.get_function_configuration(FunctionName=refresh)["Timeout"] == 2
        assert functions.get_function_concurrency(FunctionName=refresh)["ReservedConcurrentExecutions"] == 3
        assert _queue(running, "RefreshQueue")["VisibilityTimeout"] == "3"
        assert _environment(running, "FanOutFunction")["MAX_ERROR_PERCENT"] == "7"
    finally:
        cloud.stop(msgspec.json.decode(msgspec.json.encode(running), type=Cloud))

    assert not any(started.alive for started in running.processes)
    assert not directory.exists()
