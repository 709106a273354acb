"""Each of preflight's checks against an LML and an AWS that answer over real sockets."""

import json
import re
from dataclasses import replace
from functools import partial

import pytest
from rich.console import Console

from core.settings import Pacing
from local import deploy
from ops import cli, smoke
from ops.checklist import work_off
from ops.cli import PREFLIGHT_CHECKS
from ops.preflight import checks, issuer
from ops.preflight.planned import PlannedStack
from ops.session import local_session
from ops.target import Target
from tests.signing import SETTINGS, key_set, token
from tests.wire import Wire, reply

HEALTHY = reply(200, b'{"status": "healthy", "commit_sha": "8a1344c0"}')
EMPTY_REFUSED = reply(422, b'{"detail": "one at least"}')
NUMBERS = {"DiscogsBudgetPerMinute": str(Pacing().budget)}
FUNCTIONS = {"FanOutFunction": "station-fan-out", "RefreshFunction": "station-refresh"}


def plan_of(aws_url="http://127.0.0.1:1", *, environment=None, reserved=None, names=FUNCTIONS, **parameters):
    session = local_session()
    return PlannedStack(
        target=Target(title="a test", names=names, session=session, endpoint_url=aws_url),
        parameters=NUMBERS | {"SentryEnvironment": "staging"} | parameters,
        reserved=reserved or {},
        environments={"FanOutFunction": environment or {}},
        functions=frozenset({"FanOutFunction", "RefreshFunction", "WarmTracksFunction"}),
    )


def line_of(check, plan):
    (line,) = work_off({"it": lambda: check(plan)}, Console(quiet=True))
    return line.data


def asked_of(lml_url, key="key-of-lml"):
    return plan_of(environment={"LIBRARY_METADATA_URL": lml_url, "LML_API_KEY": key, "LOCAL_DEV": "1"})


# The picker's tokens


def asked_of_issuer(url, **changes):
    plan = plan_of()
    variables = {**SETTINGS, "PICKER_JWKS_URL": url, "LOCAL_DEV": "1", **changes}
    return replace(plan, environments={**plan.environments, "AuthorizeFunction": variables})


def line_of_token(token, url, **changes):
    return line_of(lambda plan: issuer.tokens(plan, token), asked_of_issuer(url, **changes))


def test_without_the_picker_nobody_needs_a_token():
    assert line_of(lambda plan: issuer.tokens(plan, None), plan_of())["status"] == "ok"


def test_the_issuer_s_keys_are_read_and_counted():
    with Wire(reply(200, key_set())) as there:
        line = line_of_token(None, there.url)

    assert line["status"] == "ok"
    assert "1 of ES256, 1 of ES384, 1 of EdDSA, 1 of RS256/RS384/RS512; no --token to try" in line["reason"]


@pytest.mark.parametrize(
    ("made", "reason"),
    [
        (token, "the token is answered 200: it is valid"),
        (lambda: f"Bearer {token()}", "the token is answered 200"),
        (partial(token, exp=1), "the token is answered 401: Signature has expired"),
        (partial(token, aud="other"), "the token is answered 401: Audience doesn't match"),
        (partial(token, kid="other"), "the token is answered 401: the issuer has no key 'other'"),
        (partial(token, role="listener"), "the token is answered 403: its role 'listener' may not read tracks"),
        (lambda: "x", "the token is answered 401"),
    ],
    ids=range(7),
)
def test_a_token_is_told_what_it_would_be_answered(made, reason):
    with Wire(reply(200, key_set())) as there:
        line = line_of_token(made(), there.url)  # made now, since it runs out

    assert reason in line["reason"]
    assert (line["status"] == "ok") == ("200" in reason)


@pytest.mark.parametrize(
    "answer", [reply(404), reply(200, b"<html>"), reply(200, b'{"keys": []}'), reply(302, headers={"Location": "/x"})]
)
def test_an_issuer_without_keys_is_no(answer):
    with Wire(answer) as there:
        line = line_of_token(None, there.url)

    assert line["status"] == "failed"
    assert "open PickerJwksUrl" in line["next"]


# The gate


def test_the_gate_s_word_counts_once_lml_takes_the_key():
    with Wire(HEALTHY, EMPTY_REFUSED, EMPTY_REFUSED) as lml:
        line = line_of(checks.gate, asked_of(lml.url))

    assert line["status"] == "ok"
    assert line["reason"].startswith("LML runs the gate commit 8a1344c; its refresh endpoint is there")
    assert json.loads(lml.requests[1].body) == {"identity_ids": []}
    assert lml.requests[1].headers["authorization"] == "Bearer key-of-lml"


@pytest.mark.parametrize(
    ("scripts", "reason"),
    [
        pytest.param([HEALTHY, reply(401)], "does not accept this key: check LML_API_KEY (answered 401", id="401"),
        pytest.param([HEALTHY, reply(403, b"key-of-lml is not good")], "check LML_API_KEY (answered 403", id="403"),
        pytest.param([HEALTHY, reply(500), reply(500)], "answered 500", id="500"),
        pytest.param([reply(500)], "no JSON object", id="health-500"),
        pytest.param([reply(200, b"<html>Sign in</html>")], "no JSON object: <html>Sign in", id="a-page"),
        pytest.param([reply(302, headers={"Location": "/"})], "answered 302", id="redirect"),
    ],
)
def test_an_lml_that_would_not_serve_a_run_fails_with_its_answer(scripts, reason):
    with Wire(*scripts) as lml:
        line = line_of(checks.gate, asked_of(lml.url))

    assert line["status"] == "failed"
    assert reason in line["reason"]
    assert "key-of-lml" not in str(line)


def test_an_address_and_a_key_that_are_missing_are_both_named():
    line = line_of(checks.gate, plan_of())

    assert line["status"] == "failed"
    assert "LIBRARY_METADATA_URL is required" in line["reason"]
    assert "LML_API_KEY or LML_API_KEY_SECRET_ARN is required" in line["reason"]


# Concurrency


def lambdas(limit, unreserved, *held):
    """AWS Lambda of an account: its limit, what is free, and what each function asked about has now."""
    account = {"AccountLimit": {"ConcurrentExecutions": limit, "UnreservedConcurrentExecutions": unreserved}}
    reserves = [{"ReservedConcurrentExecutions": number} if number else {} for number in held]
    return Wire(*(reply(200, json.dumps(body).encode()) for body in (account, *reserves)))


@pytest.mark.parametrize(
    ("limit", "unreserved", "held", "reserved", "left"),
    [
        pytest.param(1000, 1000, (0, 0), 3, 997, id="a first deployment"),
        pytest.param(1000, 997, (1, 2), 3, 997, id="the same again: what it holds is its own"),
        pytest.param(103, 103, (0, 0), 3, 100, id="just enough"),
        pytest.param(103, 100, (1, 2), 3, 100, id="just enough, again"),
        pytest.param(103, 100, (1, 2), 4, 99, id="one too many"),
        pytest.param(1000, 102, (0, 0), 3, 99, id="others hold the rest"),
        pytest.param(10, 10, (0, 0), 3, 7, id="a new account"),
    ],
)
def test_a_hundred_executions_must_be_left_to_all_else(limit, unreserved, held, reserved, left):
    with lambdas(limit, unreserved, *held) as aws:
        line = line_of(
            checks.concurrency, plan_of(aws.url, reserved={"FanOutFunction": "1", "RefreshFunction": str(reserved - 1)})
        )

    assert line["status"] == ("ok" if left >= 100 else "failed")
    assert f"{reserved} of the account's {limit} executions" in line["reason"]
    assert f"leaves {left} to all else" in line["reason"]
    if left < 100:
        assert f"raise Lambda's quota Concurrent executions by {100 - left}" in line["next"]


def test_a_permission_that_is_missing_is_named():
    body = b'{"Message": "not authorized to perform: lambda:GetAccountSettings"}'
    with Wire(reply(403, body, {"x-amzn-ErrorType": "AccessDeniedException"})) as aws:
        line = line_of(checks.concurrency, plan_of(aws.url))

    assert line["status"] == "failed"
    assert "lambda:GetAccountSettings" in line["reason"]
    assert "permission" in line["next"]


# Secrets

KEYS = {"LML_API_KEY_SECRET_ARN": "arn:key", "SENTRY_DSN_SECRET_ARN": "arn:dsn", "DB_HOST": "db"}


def held(text):
    return reply(200, json.dumps({"ARN": "arn", "SecretString": text}).encode())


def test_secrets_that_hold_a_value_are_named_and_never_shown():
    with Wire(held("value-of-a-secret")) as aws:
        line = line_of(checks.secrets, plan_of(aws.url, environment=KEYS))

    assert (line["status"], line["reason"]) == ("ok", "LML_API_KEY, SENTRY_DSN can be read and used")
    assert "value-of-a-secret" not in str(line)


def refused(code):
    body = json.dumps({"__type": code, "Message": "whatever AWS says"}).encode()
    return reply(400, body, {"x-amzn-ErrorType": code})


@pytest.mark.parametrize(
    ("script", "reason"),
    [
        pytest.param(refused("ResourceNotFoundException"), "never filled or does not exist", id="never filled"),
        pytest.param(refused("InvalidRequestException"), "scheduled for deletion", id="deleted"),
        pytest.param(refused("AccessDeniedException"), "kms:Decrypt", id="denied, by KMS perhaps"),
        pytest.param(refused("DecryptionFailure"), "KMS key", id="key that is off"),
        pytest.param(held(""), "is empty", id="empty"),
        pytest.param(held(" \n"), "is empty", id="white space"),
        pytest.param(held('{"dsn": "x"}'), "is JSON", id="JSON"),
        pytest.param(reply(200, b'{"ARN": "arn", "SecretBinary": "YQ=="}'), "is binary", id="bytes"),
    ],
)
def test_a_secret_that_cannot_be_used_fails_by_its_name(script, reason):
    with Wire(held("a"), script) as aws:
        line = line_of(checks.secrets, plan_of(aws.url, environment=KEYS))

    assert line["status"] == "failed"
    assert line["reason"].startswith("SENTRY_DSN_SECRET_ARN's secret ")
    assert reason in line["reason"]
    assert "arn:dsn" in line["reason"]
    assert "LML_API_KEY" not in line["reason"]


def test_a_key_that_is_not_the_same_for_all_functions_fails():
    """Fan-out tries its own; whether the refresh function has that one, only this can see."""
    plan = replace(
        plan_of(),
        environments={
            "FanOutFunction": {"LML_API_KEY_SECRET_ARN": "arn:one"},
            "RefreshFunction": {"LML_API_KEY_SECRET_ARN": "arn:other"},
        },
    )
    with Wire(held("a"), held("b")) as aws:
        line = line_of(checks.secrets, replace(plan, target=plan_of(aws.url).target))

    assert line["status"] == "failed"
    assert (
        "LML_API_KEY_SECRET_ARN differs between functions (FanOutFunction: arn:one; RefreshFunction: arn:other)"
        in line["reason"]
    )


def test_a_secret_that_the_first_deployment_makes_is_reported_with_the_order_of_things():
    line = line_of(checks.secrets, plan_of(environment={"LML_API_KEY_SECRET_ARN": ""}, names={}))

    assert (line["status"], line["reason"]) == ("failed", "LML_API_KEY_SECRET_ARN's secret is not made yet")
    assert "deploy with ScheduleState DISABLED, fill" in line["next"]


# The budget

PAGE = """
## What was chosen

| `DISCOGS_BUDGET_PER_MINUTE` | 8 | |

## Which pace fits

| others a minute, at most | pace |
| --- | --- |
| 10 | 8 |
| 20 | 4 |

## Measured at LML

| date | LML commit | minutes | others a minute |
| --- | --- | --- | --- |
"""


def budget_of(tmp_path, row="", where="production", **parameters):
    (tmp_path / "load-test.md").write_text(PAGE + row)
    plan = plan_of(SentryEnvironment=where, **parameters)
    return line_of(lambda it: checks.budget(it, tmp_path / "load-test.md"), plan)


def test_staging_goes_by_the_number_alone_and_hears_that_it_shares_the_token():
    line = line_of(checks.budget, plan_of())

    assert line["status"] == "ok"
    assert "Staging's LML uses production's Discogs token" in line["reason"]


def test_a_number_that_the_load_test_has_not_chosen_fails_with_both():
    line = line_of(checks.budget, plan_of(DiscogsBudgetPerMinute="7"))

    assert (line["status"], line["reason"]) == ("failed", "DiscogsBudgetPerMinute is 7, the load test chose 8")


def test_production_waits_for_an_hour_of_lmls_counter_and_not_for_a_run_in_staging(tmp_path):
    line = budget_of(tmp_path)

    assert line["status"] == "failed"
    assert "no figure of an hour of LML's counter" in line["reason"]
    assert "--measure-runtime 60m" in line["next"]
    assert "nothing has to be run in staging" in line["next"]


@pytest.mark.parametrize(
    ("row", "status", "reason"),
    [
        ("| 2026-02-01 | 8a1344c | 60 | 9.5 |", "ok", "fits: others make 9.5 calls a minute (measured on 2026-02-01"),
        ("| 2026-02-01 | 8a1344c | 60 | 12 |", "failed", "at most 4 a minute fits beside so many"),
        ("| 2026-02-01 | 8a1344c | 60 | 21 |", "failed", "no pace fits beside so many"),
        ("| 2026-02-01 | 8a1344c | 30 | 9.5 |", "failed", "no figure of an hour"),
    ],
    ids=["fits", "too fast", "nothing fits", "half an hour"],
)
def test_production_asks_whether_the_pace_fits_what_was_measured(tmp_path, row, status, reason):
    line = budget_of(tmp_path, row)

    assert line["status"] == status
    assert reason in line["reason"]


def test_a_page_that_cannot_be_read_is_no_verdict_of_the_pace(tmp_path):
    line = line_of(lambda plan: checks.budget(plan, tmp_path / "load-test.md"), plan_of())

    assert "cannot be read" in line["reason"]
    assert line["next"] == "run this in a checkout of the project"


# The runbook


def test_the_runbook_has_a_row_for_each_check():
    text = (deploy.ROOT / "docs" / "runbook.md").read_text()
    section = text.partition("## Before and after a deployment")[2].partition("\n## ")[0]

    assert re.findall(r"^\| `([a-z-]+)` \|", section, re.MULTILINE) == [*PREFLIGHT_CHECKS, *smoke.CHECKS]
    options = {name for command in (cli.preflight, cli.smoke) for it in command.params for name in it.opts}
    assert set(re.findall(r"`(?:rotation \w+ )?(--[a-z-]+)", section)) <= options
