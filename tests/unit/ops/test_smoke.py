"""`rotation smoke` against an LML that answers wrongly, over real sockets; the good one is the stand-in's."""

import json
import ssl

import pytest
from click.testing import CliRunner
from rich.console import Console

from local import deploy
from ops.checklist import work_off
from ops.cli import UNKNOWN_ID, main
from ops.session import local_session
from ops.smoke import CHECKS, of_target
from ops.target import Target
from tests.wire import Wire, reply, self_signed

KEY = "key-of-lml"
HEALTHY = reply(200, b'{"status": "healthy", "commit_sha": "8a1344c0"}')
EMPTY_REFUSED = reply(422, b'{"detail": "one at least"}')
MANY_REFUSED = reply(400, b'{"detail": "50 at most"}')


def results(*items):
    return reply(200, json.dumps({"results": items}).encode())


WARMED = results(
    {
        "identity_id": 17,
        "status": "warmed",
        "sources": {
            "discogs_release": {
                "release_outcome": "success",
                "artists": [{"external_id": "9", "outcome": "success", "message": None}, None],
                "message": None,
            },
            "bandcamp": None,
        },
        "message": None,
    }
)
STALE = results({"identity_id": UNKNOWN_ID, "status": "not_found", "sources": None, "message": "no such identity"})
GOOD = {
    "gate": HEALTHY,
    "the gate tries the key": EMPTY_REFUSED,
    "empty-list": EMPTY_REFUSED,
    "too-many-ids": MANY_REFUSED,
    "one-id": WARMED,
    "stale-id": STALE,
}


def smoke(url, *words, key=KEY):
    """Run the command; returns its exit status and its lines by their check."""
    done = CliRunner().invoke(
        main, ["smoke", "--lml-url", url, "--identity-id", "17", *words, "--json"], env={"LML_API_KEY": key}
    )
    assert KEY not in done.output
    printed = json.loads(done.stdout)
    return done.exit_code, {line["check"]: line for line in printed.get("checks", [])} or printed


def with_one_wrong(name, script):
    """Ask an LML that answers one check with this script; returns that check's line."""
    answers = GOOD | {name: script}
    if name == "gate":
        del answers["the gate tries the key"]  # it has refused before
    with Wire(*answers.values()) as lml:
        status, lines = smoke(lml.url)
    assert status == 1
    assert [line["check"] for line in lines.values() if line["status"] == "failed"] == [name]
    return lines[name]


def test_an_lml_that_does_all_of_it_passes_with_the_time_each_took():
    with Wire(*GOOD.values()) as lml:
        status, lines = smoke(f"{lml.url}/api/v1/")

    assert status == 0
    assert tuple(lines) == CHECKS
    assert all(line["status"] == "ok" and line["seconds"] >= 0 for line in lines.values())
    assert lines["one-id"]["reason"] == "identity 17 is warmed"
    sent = [len(json.loads(request.body)["identity_ids"]) for request in lml.requests[2:]]  # after the two of the gate
    assert sent == [0, 51, 1, 1]
    assert {request.headers.get("authorization") for request in lml.requests[1:]} == {f"Bearer {KEY}"}


@pytest.mark.parametrize(
    ("name", "script", "printed"),
    [
        pytest.param("gate", reply(503, b'{"status": "unhealthy"}'), "GET /health answered 503", id="unhealthy"),
        pytest.param("gate", reply(200, b"<html>Sign in</html>"), "no JSON object: <html>", id="a page for health"),
        pytest.param("empty-list", reply(401), "401: an empty body; check LML_API_KEY", id="401"),
        pytest.param("empty-list", reply(404), "check LIBRARY_METADATA_URL", id="404"),
        pytest.param("empty-list", reply(200, b'{"results": []}'), "answered 200", id="an empty list is taken"),
        pytest.param("too-many-ids", reply(200, b'{"results": []}'), "answered with 200, not 400", id="51 are taken"),
        pytest.param("too-many-ids", reply(500), "answered with 500, not 400", id="51 break it"),
        pytest.param("one-id", reply(500, f"what is {KEY}?".encode()), "500: what is ***?", id="500"),
        pytest.param("one-id", reply(403), "check LML_API_KEY", id="403"),
        pytest.param("one-id", reply(200, b"<html>"), "no JSON: <html>", id="a page"),
        pytest.param("one-id", reply(200, b"[]"), "it is a list, and must be an object", id="a list"),
        pytest.param("one-id", results(), "asked for 17, LML answers for nobody", id="no result"),
        pytest.param("one-id", results({"identity_id": 18, "status": "warmed"}), "answers for 18", id="another id"),
        pytest.param("one-id", results({"identity_id": 17}), "missing required field status", id="no status"),
        pytest.param(
            "one-id",
            results({"identity_id": "17", "status": "warmed"}),
            "results[0].identity_id is a text, and must be",
            id="text",
        ),
        pytest.param(
            "one-id",
            results({"identity_id": 17, "status": "warmed", "sources": {"bandcamp": {"artists": []}}}),
            "missing required field release_outcome",
            id="a source without its outcome",
        ),
        pytest.param(
            "one-id",
            results({"identity_id": 17, "status": "error", "message": "DiscogsBreakerOpenError"}),
            "identity 17 is error: DiscogsBreakerOpenError",
            id="error",
        ),
        pytest.param(
            "stale-id", results({"identity_id": UNKNOWN_ID, "status": "warmed"}), "is warmed, not not_found", id="known"
        ),
    ],
)
def test_an_answer_that_is_not_as_it_must_be_fails_alone(name, script, printed):
    assert printed in with_one_wrong(name, script)["reason"]


def test_a_status_that_is_new_is_no_fault_of_form():
    new = results({"identity_id": 17, "status": "postponed"})
    with Wire(*(GOOD | {"one-id": new}).values()) as lml:
        status, lines = smoke(lml.url)

    assert (status, lines["one-id"]["reason"]) == (0, "identity 17 is postponed")


def test_a_connection_that_breaks_is_reported_and_the_next_check_is_made():
    line = with_one_wrong("too-many-ids", lambda peer, _: peer.reset())

    assert "/api/v1/cache/refresh-for-identities" in line["reason"]
    assert "whether LML is up" in line["next"]


def test_a_certificate_that_nobody_vouches_for_is_refused_before_the_key_is_sent(tmp_path):
    pem = self_signed(tmp_path)
    with Wire(*GOOD.values(), tls=server_tls(pem)) as lml:
        status, lines = smoke(lml.url)

    assert status == 1
    assert {line["status"] for line in lines.values()} == {"failed"}
    assert all("CERTIFICATE_VERIFY_FAILED" in line["reason"] for line in lines.values())
    assert lml.requests == []


@pytest.mark.parametrize("url", ["https://lml.invalid", "http://127.0.0.1:1"])
def test_a_host_that_is_not_there_fails_every_check_with_its_address(url):
    status, lines = smoke(url)

    assert status == 1
    assert all(line["status"] == "failed" and url in line["reason"] for line in lines.values())


@pytest.mark.parametrize(
    ("url", "key", "printed"),
    [
        ("http://lml.example", KEY, "--lml-url must begin with https://"),
        ("http://127.0.0.1.example", KEY, "must begin with https://"),
        ("https://[lml", KEY, "is no address"),
        ("https://lml.example", "", "LML_API_KEY is not set in this shell"),
        ("lml.example", KEY, "must begin with https://"),
    ],
)
def test_an_address_that_cannot_be_asked_is_refused_in_a_sentence(url, key, printed):
    status, answer = smoke(url, key=key)

    assert status == 1
    assert printed in answer["error"]


def test_an_address_alone_names_no_id():
    with Wire(HEALTHY, EMPTY_REFUSED, EMPTY_REFUSED, MANY_REFUSED, STALE) as lml:
        done = CliRunner().invoke(main, ["smoke", "--lml-url", lml.url], env={"LML_API_KEY": KEY})

    assert done.exit_code == 1
    assert "no id is known at this address. Next: name one by --identity-id." in done.stdout
    assert done.stdout.splitlines()[-1] == "not as the job needs it: one-id"


def test_an_address_and_a_stack_are_one_too_many():
    done = CliRunner().invoke(main, ["smoke", "--lml-url", "https://lml.example", "--stack-name", "station"])

    assert done.exit_code == 2
    assert "not both" in done.output


@pytest.mark.parametrize(("identity_id", "fails"), [(17, []), (None, ["one-id"])], ids=["named", "looked for"])
def test_a_stack_s_database_is_needed_only_for_an_id_that_nobody_named(identity_id, fails):
    variables = {"LML_API_KEY": KEY, "LOCAL_DEV": "1", "DB_HOST": "db", "DB_NAME": "station", "DB_USERNAME": "reader"}
    answers = {name: script for name, script in GOOD.items() if name not in fails}
    with Wire(*answers.values()) as lml:
        variables |= {"LIBRARY_METADATA_URL": lml.url, "DB_TLS": "/var/task/certs/bundle.pem"}
        body = json.dumps({"Environment": {"Variables": variables}}).encode()
        with Wire(reply(200, body)) as aws:
            session = local_session()
            names = {"FanOutFunction": "station-fan-out"}
            target = Target(title="a test", names=names, session=session, endpoint_url=aws.url)
            contract = of_target(target, identity_id, UNKNOWN_ID)
            lines = {line.name: line for line in work_off(contract.checks(), Console(quiet=True))}

    assert [name for name, line in lines.items() if line.status == "failed"] == fails
    if fails:
        assert f"{deploy.ROOT}/certs/bundle.pem"[:30] in lines["one-id"].finding.reason
        assert lines["one-id"].finding.advice == "name an id by --identity-id"


def server_tls(pem):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pem)
    return context
