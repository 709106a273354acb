"""`rotation preflight` and `smoke` against a whole cloud: the demo's, with a stand-in for Sentry's API."""

import json
import os
import subprocess
import sys
from contextlib import contextmanager

import msgspec
import pytest
from click.testing import CliRunner

from local import deploy, postgres, serve
from local.sentry_api import ORGANIZATION, PROJECT, TOKEN, SentryApi
from local.world import World
from ops.cli import PREFLIGHT_CHECKS as CHECKS
from ops.cli import main
from ops.smoke import CHECKS as SMOKE_CHECKS
from ops.target import DESCRIPTION, HOME, Running
from tests.integration.conftest import IDENTITIES

WORLD = World.seeded(identities=IDENTITIES)
SENTRY_CHECKS = ("--skip", "dashboards", "--skip", "old-job")


@pytest.fixture
def rotation(running_cloud, tmp_path, monkeypatch):
    """Call `rotation` where `rotation up` was called; returns exit status and JSON. Sentry holds nothing."""
    monkeypatch.chdir(tmp_path)
    HOME.mkdir()
    (HOME / DESCRIPTION).write_bytes(msgspec.json.encode(Running(cloud=running_cloud, health_url="", picker_url="")))
    secrets = [running_cloud.database.password, TOKEN]

    def call(*words, **environment):
        done = CliRunner().invoke(main, [*words, "--json"], env=environment)
        assert not [secret for secret in secrets if secret in done.output]
        return done.exit_code, json.loads(done.stdout)

    return call


@pytest.fixture
def preflight(rotation):
    """Call `rotation preflight` without Sentry; returns its lines by their check."""

    def call(*words, **environment):
        status, printed = rotation("preflight", *SENTRY_CHECKS, *words, **environment)
        lines = {line["check"]: line for line in printed["checks"]}
        assert status == any(line["status"] == "failed" for line in lines.values())
        return lines

    return call


@contextmanager
def other_rows(cloud, change):
    """Change the rows of the rotation for a while."""
    rows = tuple(change(row) for row in WORLD.rows)
    postgres.load(cloud.database, msgspec.structs.replace(WORLD, rows=rows))
    try:
        yield [row for row in rows if row.active and row.discogs_release_id and row.lml_identity_id is None]
    finally:
        postgres.load(cloud.database, WORLD)


def failed(lines):
    return [name for name, line in lines.items() if line["status"] == "failed"]


# Preflight


def test_a_cloud_that_is_ready_may_be_deployed(rotation):
    with serve.in_thread(SentryApi().app()) as url:
        sentry = {"SENTRY_URL": url, "SENTRY_ORG": ORGANIZATION, "SENTRY_PROJECT": PROJECT, "SENTRY_AUTH_TOKEN": TOKEN}
        status, printed = rotation("preflight", **sentry)

    assert [(line["check"], line["status"]) for line in printed["checks"]] == [(name, "ok") for name in CHECKS]
    assert (status, printed["ok"], printed["target"]) == (0, True, "the local cloud")


def test_without_a_token_only_what_sentry_knows_fails(rotation):
    status, printed = rotation("preflight", SENTRY_AUTH_TOKEN="", SENTRY_ORG="")

    lines = {line["check"]: line for line in printed["checks"]}
    assert (status, failed(lines)) == (1, ["dashboards", "old-job"])
    assert lines["old-job"]["next"] == "set SENTRY_ORG and SENTRY_AUTH_TOKEN"


def test_rows_without_an_identity_fail_and_are_listed(preflight, running_cloud):
    def taken_away(row):
        changes = {"artist_name": None, "album_title": "\x1b[31m[red]\u202eright to left"}
        return msgspec.structs.replace(row, lml_identity_id=None, **changes) if row.id % 3 == 0 else row

    with other_rows(running_cloud, taken_away) as missing:
        line = preflight()["coverage"]

    assert line["status"] == "failed"
    assert "; 99 % are needed" in line["reason"]
    assert f"these {len(missing)} rows" in line["next"]
    assert [detail.split(" ")[1] for detail in line["details"]] == [str(row.id) for row in missing]
    assert "(no artist)" in line["details"][0]


def test_a_rotation_without_a_release_is_unknown_which_is_no_pass(preflight, running_cloud):
    with other_rows(running_cloud, lambda row: msgspec.structs.replace(row, discogs_release_id=None)):
        line = preflight()["coverage"]

    assert line["status"] == "failed"
    assert line["reason"].startswith("unknown: no active row has a Discogs release; ")
    assert "active rows have an identity" in line["reason"]


def test_a_database_that_is_out_of_reach_fails_with_the_ways_to_it(preflight, running_cloud):
    lines = preflight("--database-env", DB_PORT="1", LOCAL_DEV="1")

    assert failed(lines) == ["coverage"]
    assert "127.0.0.1:1" in lines["coverage"]["reason"]
    assert "--skip coverage" in lines["coverage"]["next"]
    assert failed(preflight("--database-env", **running_cloud.database.environment() | {"DB_PASSWORD": "wrong"})) == [
        "coverage"
    ]


def test_the_shell_s_database_is_taken_only_where_that_is_asked_for(preflight):
    assert preflight(DB_PORT="1")["coverage"]["status"] == "ok"
    line = preflight("--database-env", **dict.fromkeys([name for name in os.environ if name.startswith("DB_")], ""))
    assert "no variable of the database is set here" in line["coverage"]["reason"]


def test_a_secret_that_was_emptied_fails_wherever_it_is_needed(preflight, running_cloud):
    secrets, arn = running_cloud.client("secretsmanager"), running_cloud.names["LmlApiKeySecret"]
    key = secrets.get_secret_value(SecretId=arn)["SecretString"]
    secrets.put_secret_value(SecretId=arn, SecretString=" ")
    try:
        lines = preflight()
    finally:
        secrets.put_secret_value(SecretId=arn, SecretString=key)

    assert failed(lines) == ["gate", "secrets"]
    assert (
        f"LML_API_KEY_SECRET_ARN's secret is empty: fill it, as the output of the stack says [{arn}]"
        in lines["secrets"]["reason"]
    )


def test_what_is_looked_at_is_what_would_be_deployed(preflight):
    parameters = (
        *("LibraryMetadataUrl=http://127.0.0.1:1", "RefreshConcurrency=100000", "GithubTokenSecretArn=create"),
        *("DiscogsBudgetPerMinute=30", "PickerState=ENABLED"),
    )

    lines = preflight(*(word for parameter in parameters for word in ("--parameter", parameter)))

    assert failed(lines) == ["gate", "concurrency", "secrets", "tokens", "budget"]
    assert "http://127.0.0.1:1/health" in lines["gate"]["reason"]
    assert lines["concurrency"]["reason"].startswith("100006 of the account's")
    assert lines["secrets"]["reason"] == "GITHUB_TOKEN_SECRET_ARN's secret is not made yet"
    assert lines["tokens"]["reason"].startswith("PICKER_JWKS_URL is required")
    assert "DiscogsBudgetPerMinute is 30" in lines["budget"]["reason"]


def test_production_waits_for_an_hour_of_lmls_counter(preflight):
    lines = preflight("--parameter", "SentryEnvironment=production")

    assert failed(lines) == ["budget"]
    assert "no figure of an hour of LML's counter" in lines["budget"]["reason"]


def test_a_number_that_is_none_keeps_only_its_own_check_from_being_made(preflight):
    lines = preflight("--parameter", "RefreshConcurrency=two")

    assert failed(lines) == ["concurrency"]
    assert lines["concurrency"]["reason"] == "'two' is no number of executions to reserve"


def test_a_stack_and_its_parameters_come_from_samconfig(rotation, running_cloud, tmp_path):
    file = tmp_path / "samconfig.toml"
    file.write_text(
        f'[staging.deploy.parameters]\nstack_name = "{deploy.STACK}"\nregion = "{deploy.REGION}"\n'
        'parameter_overrides = ["DiscogsBudgetPerMinute=30", "RefreshConcurrency=4"]\n'
    )
    aws = {
        "AWS_ENDPOINT_URL": running_cloud.aws_url,
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
    }

    config = ("--config-env", "staging", "--config-file", str(file))
    _, printed = rotation("preflight", *config, "--parameter", "RefreshConcurrency=5", **aws)

    lines = {line["check"]: line for line in printed["checks"]}
    assert printed["target"] == f"stack {deploy.STACK} in {deploy.REGION}"
    assert lines["gate"]["status"] == "ok"
    assert "DiscogsBudgetPerMinute is 30" in lines["budget"]["reason"]
    assert lines["concurrency"]["reason"].startswith("6 of the account's")


def test_a_stack_that_is_not_there_leaves_the_checks_to_what_is_given(rotation, running_cloud):
    aws = {"AWS_ENDPOINT_URL": running_cloud.aws_url, "AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test"}

    status, printed = rotation("preflight", *SENTRY_CHECKS, "--stack-name", "another", "--region", deploy.REGION, **aws)

    lines = {line["check"]: line for line in printed["checks"]}
    assert (status, printed["target"]) == (1, f"stack another in {deploy.REGION}, which does not exist yet")
    assert failed(lines) == ["gate", "coverage", "secrets", "budget"]
    assert "LIBRARY_METADATA_URL is required" in lines["gate"]["reason"]
    assert "deploy with ScheduleState DISABLED" in lines["secrets"]["next"]


def test_without_a_cloud_every_check_of_it_says_so_and_the_others_are_made(rotation):
    (HOME / DESCRIPTION).unlink()

    status, printed = rotation("preflight", "--skip", "dashboards", SENTRY_AUTH_TOKEN="")

    assert status == 1
    reasons = {line["check"]: line["reason"] for line in printed["checks"]}
    assert reasons.pop("dashboards") == "nobody looked: --skip dashboards"
    assert reasons.pop("old-job") == "Sentry cannot be asked"
    assert all("start one with `rotation up`" in reason for reason in reasons.values())


@pytest.mark.parametrize(
    ("words", "problem"),
    [
        (("--parameter", "Typo=1"), "no parameter Typo"),
        (("--parameter", "DatabaseName"), "not NAME=VALUE"),
        (("--config-env", "nobody"), "has no section nobody"),
    ],
)
def test_what_nobody_could_deploy_is_refused_as_a_whole(rotation, words, problem):
    status, printed = rotation("preflight", *words)

    assert status == 1
    assert problem in printed["error"]


@pytest.mark.usefixtures("rotation")
def test_people_see_a_line_a_check_and_a_verdict():
    shown = CliRunner().invoke(main, ["preflight", *SENTRY_CHECKS, "--parameter", "DiscogsBudgetPerMinute=30"])

    lines = shown.stdout.splitlines()
    assert [line.split()[:2] for line in lines if not line.startswith(" ")][:-1] == [
        ["skipped" if name in {"dashboards", "old-job"} else "failed" if name == "budget" else "ok", name]
        for name in CHECKS
    ]
    assert lines[-1] == "not to be deployed to the local cloud: budget; not looked at: dashboards, old-job"
    assert "coverage ..." in shown.stderr


# Smoke


def test_the_cloud_s_own_lml_does_what_the_job_needs(rotation, running_cloud):
    status, printed = rotation("smoke")

    assert [(line["check"], line["status"]) for line in printed["checks"]] == [(name, "ok") for name in SMOKE_CHECKS]
    assert (status, printed["lml"]) == (0, running_cloud.lml_url)
    assert f"identity {WORLD.identity_ids()[0]} is " in printed["checks"][3]["reason"]


def test_an_id_that_is_not_stale_is_no_stale_id(rotation):
    known = next(identity for identity in WORLD.identity_ids() if identity in WORLD.identities)

    status, printed = rotation("smoke", "--stale-id", str(known))

    assert status == 1
    assert "not not_found" in printed["checks"][4]["reason"]


def test_an_empty_rotation_names_no_id(rotation, running_cloud):
    with other_rows(running_cloud, lambda row: msgspec.structs.replace(row, killed=-1)):
        status, printed = rotation("smoke")

    assert status == 1
    assert printed["checks"][3]["reason"] == "no active row has an identity"
    assert printed["checks"][3]["next"] == "name an id by --identity-id"


def test_the_tests_of_staging_are_the_smoke_test(running_cloud):
    arn = running_cloud.names["LmlApiKeySecret"]
    key = running_cloud.client("secretsmanager").get_secret_value(SecretId=arn)["SecretString"]
    here = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
    there = {"STAGING_LML_URL": running_cloud.lml_url, "STAGING_LML_API_KEY": key}

    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-m", "staging", "tests/staging"],
        cwd=deploy.ROOT,
        env=here | there,
        capture_output=True,
        text=True,
        check=False,
    )

    assert f"{len(SMOKE_CHECKS)} passed" in done.stdout.splitlines()[-1]
