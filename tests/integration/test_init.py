"""What Lambda runs before the first event: everything is made then, and what is wrong is said then."""

import json
import os
import subprocess
import sys
from contextlib import contextmanager

import pytest

from bench import stand_in
from local import deploy, runtime_api
from local.process import ProcessError

HANDLERS = ("refresh", "fan_out", "dead_letter", "rotation_tracks", "warm_tracks")
SECRETS = {
    "refresh": {"LML_API_KEY", "SENTRY_DSN"},
    "fan_out": {"LML_API_KEY", "SENTRY_DSN", "DB_PASSWORD"},
    "dead_letter": {"SENTRY_DSN"},
    "rotation_tracks": {"DB_PASSWORD"},
    "warm_tracks": {"LML_API_KEY", "DB_PASSWORD"},
}
"""What a first invocation needs in any case: a warm row asks neither LML nor Sentry, and few starts ask GitHub."""


@pytest.fixture(scope="module")
def cloud():
    with stand_in.cloud() as server:
        yield server


@pytest.fixture
def environment(cloud):
    cloud.taken()
    values = {
        "LML_API_KEY": "key-of-lml",
        "SENTRY_DSN": cloud.url.replace("://", "://key@") + "/1",
        "DB_PASSWORD": "of-the-database",
        "GITHUB_TOKEN": "of-github",
    }
    return {
        **cloud.environment(),
        **cloud.keep(values),
        "PYTHONPATH": str(deploy.ROOT / "src"),
        "REFRESH_QUEUE_URL": f"{cloud.url}/1/refresh",
        "PARKED_QUEUE_URL": f"{cloud.url}/1/parked",
        "LIBRARY_METADATA_URL": "https://lml.invalid",
        "DB_HOST": "database.invalid",
        "DB_NAME": "station",
        "DB_USERNAME": "reader",
    }


@contextmanager
def started(function, environment, tmp_path):
    log = tmp_path / "log"
    with runtime_api.running(f"handlers.{function}.handler", environment, log) as runtime:
        yield runtime, log


@pytest.mark.parametrize("function", HANDLERS)
def test_the_secrets_that_a_function_needs_are_there_before_its_first_event(function, environment, cloud, tmp_path):
    with started(function, environment, tmp_path) as (runtime, _):
        runtime.wait_until_ready()

        assert cloud.taken() == {"GetSecretValue": len(SECRETS[function])}


@pytest.mark.parametrize("function", HANDLERS)
def test_wrong_settings_are_a_line_of_the_log_and_an_init_error_with_every_problem(function, environment, tmp_path):
    wrong = {**environment, "CLOCK_SPEED": "never", "LOCAL_DEV": "perhaps"}

    with started(function, wrong, tmp_path) as (runtime, log), pytest.raises(ProcessError) as refused:
        runtime.invoke("{}")

    error = json.loads(str(refused.value).removeprefix("the function failed: "))
    assert error["errorType"] == "SettingsError"
    lines = [json.loads(line) for line in log.read_text().splitlines() if line.startswith("{")]
    (line,) = [line for line in lines if line["step"] == "init" and line["level"] == "ERROR"]
    for text in (error["errorMessage"], line["message"]):
        assert "CLOCK_SPEED is 'never'" in text
        assert "LOCAL_DEV is 'perhaps'" in text


@pytest.mark.parametrize("function", HANDLERS)
def test_a_handler_is_imported_without_settings_where_no_lambda_is(function):
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "DB_", "LML_"))}
    command = [sys.executable, "-c", f"import handlers.{function}"]

    result = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)  # noqa: S603 - ours

    assert (result.returncode, result.stderr) == (0, "")


def test_a_first_call_of_a_client_asks_for_nothing_at_init(environment, cloud, tmp_path):
    """A client is rehearsed without the network, so that no call is made that nobody wanted."""
    with started("dead_letter", environment, tmp_path) as (runtime, _):
        runtime.wait_until_ready()
        cloud.taken()

        runtime.invoke(json.dumps({"Records": [{"body": "no message"}]}))

    assert cloud.taken()["SendMessage"] == 1


UNUSED = {
    "refresh": {"pg8000", "boto3"},
    "fan_out": {"boto3"},
    "dead_letter": {"httpx", "pg8000", "boto3"},
    "rotation_tracks": {"httpx", "asyncio", "sentry_sdk", "boto3"},
    "warm_tracks": {"sentry_sdk", "boto3"},
}


@pytest.mark.parametrize("function", UNUSED)
def test_a_start_loads_nothing_that_a_first_invocation_does_without(function, environment):
    script = f"import sys, handlers.{function}; print(*{UNUSED[function]} & sys.modules.keys())"
    there = {**environment, "AWS_LAMBDA_RUNTIME_API": "127.0.0.1:1"}

    result = subprocess.run([sys.executable, "-c", script], env=there, capture_output=True, text=True, check=False)  # noqa: S603 - ours

    *_, loaded = result.stdout.splitlines()  # a log line may come before: there is no Extensions API here
    assert (result.returncode, loaded.strip()) == (0, ""), result.stderr


def test_the_authorizer_has_the_issuer_s_keys_before_its_first_event(environment, cloud, tmp_path):
    with started("authorize", {**environment, **cloud.authorization(), "LOCAL_DEV": "1"}, tmp_path) as (runtime, _):
        runtime.wait_until_ready()
        assert cloud.taken() == {"GET": 1}

        answer = runtime.invoke(json.dumps({"headers": {"authorization": f"Bearer {cloud.token()}"}}))

    assert answer["isAuthorized"] is True
    assert cloud.taken() == {}
