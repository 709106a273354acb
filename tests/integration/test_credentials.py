"""A credential that is named and not there: fan-out says which and why, before anything is planned."""

import json
import uuid

import boto3
import pytest

from core.settings import SettingsError
from handlers import fan_out, refresh
from tests.integration.accounts import TABLE, event_of
from tests.integration.build import KEY, Context

pytest_plugins = ("tests.integration.fixtures",)


@pytest.fixture
def vault(book, lml, monkeypatch):  # noqa: ARG001 - AWS and LML
    """Fan-out's environment with secrets in Secrets Manager; returns how to keep one."""
    client = boto3.client("secretsmanager", region_name="us-east-1")
    for name, value in book.environment().items():
        monkeypatch.setenv(name, value)

    def keep(name, **content):
        arn = client.create_secret(Name=f"{name}-{uuid.uuid4()}", **content)["ARN"]
        monkeypatch.setenv(name, "")
        monkeypatch.setenv(f"{name}_SECRET_ARN", arn)
        return arn

    keep("LML_API_KEY", SecretString=KEY)
    for built in (fan_out.build, refresh.build):
        built.cache_clear()
    keep.client = client
    yield keep
    if fan_out.build.cache_info().currsize:
        fan_out.build().gate.args[0].close()
    if refresh.build.cache_info().currsize:
        refresh.build().worker.lml.close()
    for built in (fan_out.build, refresh.build):
        built.cache_clear()


BROKEN = {
    "never filled": ({}, "was never filled"),
    "binary": ({"SecretBinary": b"planted-secret"}, "is binary"),
    "blank": ({"SecretString": " \n"}, "is empty"),
    "JSON of another kind": ({"SecretString": '{"value": "planted-secret"}'}, "is JSON"),
}


@pytest.mark.parametrize("variable", ["LML_API_KEY", "DB_PASSWORD"])
@pytest.mark.parametrize("kind", BROKEN)
def test_fan_out_refuses_a_secret_that_cannot_be_used_before_it_does_anything(book, vault, logged, variable, kind):
    content, why = BROKEN[kind]
    vault(variable, **content)

    with pytest.raises(SettingsError) as refused:
        fan_out.handler({}, Context())

    assert str(refused.value).startswith(f"{variable}_SECRET_ARN")
    assert why in str(refused.value)
    assert "planted" not in str(refused.value)
    assert str(refused.value) in logged("init")[0]["message"]
    assert book.sdk.dynamodb.scan(TableName=TABLE)["Count"] == 0
    assert book.lml.asked() == []


def test_a_deleted_secret_is_refused_with_what_to_do(vault):
    arn = vault("DB_PASSWORD", SecretString="password")
    vault.client.delete_secret(SecretId=arn)

    with pytest.raises(SettingsError, match=r"^DB_PASSWORD_SECRET_ARN's secret .* scheduled for deletion"):
        fan_out.handler({}, Context())


def test_all_that_is_wrong_is_reported_at_once(vault):
    vault("LML_API_KEY")
    vault("DB_PASSWORD", SecretBinary=b"x")

    with pytest.raises(SettingsError) as refused:
        fan_out.handler({}, Context())

    assert [line.split("'")[0] for line in str(refused.value).splitlines()] == [
        "LML_API_KEY_SECRET_ARN",
        "DB_PASSWORD_SECRET_ARN",
    ]


def gone_by(how, vault, arn):
    if how == "deleted":
        vault.client.delete_secret(SecretId=arn)
    else:
        vault.client.put_secret_value(SecretId=arn, SecretString=how)


@pytest.mark.parametrize("how", ["deleted", " ", '{"key": "planted"}'], ids=["deleted", "emptied", "JSON"])
def test_a_key_that_goes_in_the_middle_of_a_run_stops_it_with_the_reason(book, vault, logged, how):
    """Every delivery to a new environment would fail until all ids were dead letters, more than an hour later."""
    arn = vault("LML_API_KEY", SecretString=KEY)
    run_id = fan_out.handler({"force": True}, Context())["run_id"]
    first, *others = book.waiting()
    refresh.handler(event_of(first), Context())
    scanned = book.ledger.runs.read(run_id).totals.identities_scanned
    gone_by(how, vault, arn)
    refresh.build().worker.lml.close()
    refresh.build.cache_clear()
    logged()

    for body in others:
        assert refresh.handler(event_of(body), Context()) == {"batchItemFailures": []}
    for body in book.waiting():
        refresh.handler(event_of(body), Context())

    run = book.ledger.runs.read(run_id)
    assert run.status == "stopped"
    assert run.reason.startswith("LML_API_KEY_SECRET_ARN's secret ")
    assert "planted" not in run.reason
    assert (run.totals.identities_scanned, run.totals.lml_error) == (scanned, 0)
    assert run.totals.not_attempted == run.planned - scanned
    assert [line["RunCompleted"] for line in logged() if "RunCompleted" in line] == [[0]]


def test_a_key_that_lml_refuses_and_that_cannot_be_fetched_anew_stops_the_run(book, vault):
    """A warm environment: its key was revoked, and its secret deleted."""
    arn = vault("LML_API_KEY", SecretString=KEY)
    run_id = fan_out.handler({"force": True}, Context())["run_id"]
    refresh.build()
    book.lml.fault(path="refresh", times=None, status=401)
    vault.client.delete_secret(SecretId=arn)

    for body in book.waiting():
        refresh.handler(event_of(body), Context())

    run = book.ledger.runs.read(run_id)
    assert (run.status, "scheduled for deletion" in run.reason) == ("stopped", True)
    assert run.totals.not_attempted == run.planned


@pytest.mark.parametrize("variable", ["GITHUB_TOKEN", "SENTRY_DSN"])
@pytest.mark.parametrize("kind", BROKEN)
def test_an_optional_secret_that_cannot_be_used_stops_no_run(vault, variable, kind):
    vault(variable, **BROKEN[kind][0])

    assert fan_out.handler({"identity_ids": [1]}, Context())["outcome"] == "started"


@pytest.mark.parametrize("around", ["{}", "\ufeff{}", "{}\r\n"], ids=["as it is", "byte order mark", "line break"])
def test_the_database_s_secret_may_be_json_as_rds_makes_it(book, vault, around):
    given = book.rows.environment
    fields = {"username": given["DB_USERNAME"], "password": given["DB_PASSWORD"], "engine": "postgres", "port": 5432}
    vault("DB_PASSWORD", SecretString=around.format(json.dumps(fields)))

    assert fan_out.handler({"dry_run": True}, Context())["outcome"] == "dry_run"
