"""What preflight asks Sentry: whether people's dashboards are migrated, and whether the old job is off."""

from datetime import UTC, datetime
from functools import partial

import pytest
from rich.console import Console

from core import telemetry
from local.sentry_api import ORGANIZATION, PROJECT, TOKEN, ApiFault, StoredSpan
from ops.checklist import work_off
from ops.preflight.in_sentry import OLD_SPANS, Account, dashboards, old_job
from ops.sentry import migrate
from ops.sentry.api import SentryError
from tests.wire import Wire, reply

OLD = StoredSpan("rotation-artist-backfill.totals", 3, {"backfill.releases_scanned": 310, "backfill.releases_ok": 305})
NEW = StoredSpan("rotation-artist-backfill.run.totals", 1, {f"backfill.{name}": 1 for name in telemetry.ACCOUNTS})


def looked(url, **other):
    """What the two checks say, by name."""
    account = Account(**({"url": url, "organization": ORGANIZATION, "project": PROJECT, "token": TOKEN} | other))
    checks = {"dashboards": partial(dashboards, account), "old-job": partial(old_job, account, datetime.now(UTC))}
    lines = work_off(checks, Console(quiet=True))
    assert TOKEN not in str(lines)
    return {line.name: line.data for line in lines}


def test_an_organization_that_never_had_the_old_job_passes(there):
    found = looked(there.url)

    assert [line["status"] for line in found.values()] == ["ok", "ok"]
    assert "no span of it in project backend in 14d" in found["old-job"]["reason"]


def test_what_can_be_rewritten_fails_and_is_named_until_it_is_rewritten(there):
    there.sentry.add("dashboards", title="Backfill", widgets=[{"queries": [{"fields": ["sum(backfill.releases_ok)"]}]}])
    there.sentry.add("alert-rules", name="Lost", aggregate="sum(backfill.artists_planned)", query="", triggers=[])

    before = looked(there.url)["dashboards"]
    there.rotation("migrate", "--apply")
    after = looked(there.url)["dashboards"]

    assert before["status"] == "failed"
    assert before["details"] == ["dashboards 'Backfill'", "alert-rules 'Lost': by hand"]
    assert "rotation sentry migrate --apply" in before["next"]
    assert after["status"] == "ok"
    assert after["details"] == ["alert-rules 'Lost': by hand"]


@pytest.mark.parametrize(
    ("span", "status"),
    [
        pytest.param(OLD, "failed", id="this night"),
        pytest.param(StoredSpan(OLD.name, 25.9, OLD.attributes), "failed", id="25.9 hours ago"),
        pytest.param(StoredSpan(OLD.name, 26.1, OLD.attributes), "ok", id="26.1 hours ago"),
        pytest.param(StoredSpan("renamed", 1, {"backfill.artists_error": 0}), "failed", id="any of its attributes"),
        pytest.param(StoredSpan("renamed", 1, {"backfill.artists_ok": "9"}), "failed", id="as a text"),
        pytest.param(NEW, "ok", id="the new job"),
        pytest.param(StoredSpan(OLD.name, 1, {"backfill.releases_okay": 1}), "ok", id="another attribute"),
    ],
)
def test_the_old_job_is_off_after_26_hours_without_its_attributes(there, span, status):
    there.sentry.spans += [NEW, span]

    found = looked(there.url)["old-job"]

    assert found["status"] == status
    assert (NEW.name in found["reason"]) is False


def test_when_the_old_job_was_last_seen_and_when_it_counts_as_off_is_reported(there):
    there.sentry.spans.append(OLD)

    found = looked(there.url)["old-job"]

    assert "in the last 26 h: its last span, rotation-artist-backfill.totals, is of 20" in found["reason"]
    assert "cron entry" in found["next"]
    assert "counts as off from 20" in found["next"]


def test_every_attribute_of_the_old_job_is_looked_for_and_none_of_the_new_one():
    asked = set(OLD_SPANS.replace("has:tags[", "").replace("]", "").split(" OR "))

    old = migrate.SUCCESSORS.keys() | migrate.NO_SUCCESSOR.keys()
    assert asked == {f"{name},{kind}" for name in old for kind in ("number", "string")}
    assert not old & NEW.attributes.keys()


@pytest.mark.parametrize(
    ("other", "problem"),
    [
        ({"token": ""}, "set SENTRY_AUTH_TOKEN"),
        ({"token": "", "organization": ""}, "set SENTRY_ORG and SENTRY_AUTH_TOKEN"),
        ({"project": ""}, "set SENTRY_PROJECT"),
        ({"token": "größe"}, "SENTRY_AUTH_TOKEN holds a character"),
        ({"token": "another"}, "401, the token is not valid"),
        ({"organization": "nobody"}, "404, there is no such organization"),
        ({"project": "nobody"}, "404, there is no such organization, project"),
        ({"url": "http://sentry.example"}, "is not https"),
        ({"url": "https://[sentry"}, "is no address"),
        ({"url": "http://127.0.0.1:1"}, "no answer (ConnectError)"),
    ],
    ids=str,
)
def test_a_sentry_that_cannot_be_asked_fails_with_what_to_set(there, other, problem):
    found = looked(**({"url": there.url} | other))["old-job"]

    assert found["status"] == "failed"
    assert problem in f"{found['reason']} {found['next']}"


@pytest.mark.parametrize(
    ("status", "advice"), [(403, "needs the scopes"), (429, "too many requests"), (400, "does not take")]
)
def test_a_sentry_that_refuses_the_search_does_not_count_as_silence(there, status, advice):
    there.sentry.faults.append(ApiFault("GET", "/events/", status, times=9, headers={"Retry-After": "0"}))

    found = looked(there.url)

    assert (found["old-job"]["status"], found["dashboards"]["status"]) == ("failed", "ok")
    assert f"{status}, " in found["old-job"]["reason"]
    assert advice in found["old-job"]["reason"]
    assert "has:tags" not in found["old-job"]["reason"], "a search of a thousand characters"


def test_an_error_of_sentry_s_own_is_waited_out_before_it_is_reported(there):
    there.sentry.faults.append(ApiFault("GET", "/events/", 500, times=9))
    waits = []

    with there.api(waits) as api, pytest.raises(SentryError, match="500, an error on its side"):
        api.newest_span(42, OLD_SPANS, "14d")

    assert waits == [2.0, 4.0, 8.0]


@pytest.mark.parametrize("body", [b"<html>Sign in</html>", b""], ids=["a page", "nothing"])
def test_a_page_in_place_of_an_answer_is_no_silence_either(body):
    with Wire(reply(200, body)) as proxy:
        found = looked(proxy.url)

    assert [line["status"] for line in found.values()] == ["failed", "failed"]
    assert all("without JSON: is SENTRY_URL the address of Sentry itself?" in line["reason"] for line in found.values())


@pytest.mark.parametrize("answer", [b'{"data": [{}]}', b'{"data": [{"timestamp": "soon"}]}', b'{"rows": []}', b"[]"])
def test_an_answer_of_another_form_is_no_silence(answer):
    project = reply(200, b'{"id": "42"}')
    with Wire(project, reply(200, answer)) as odd:
        account = Account(url=odd.url, organization=ORGANIZATION, project=PROJECT, token=TOKEN)
        with pytest.raises(SentryError, match=r"Sentry, GET events: the (answer|span) has no"):
            old_job(account, datetime.now(UTC))
