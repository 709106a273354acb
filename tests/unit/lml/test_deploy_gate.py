"""The deploy gate: every row of docs/design/lml.md's table, with an LML and a GitHub that answer over real sockets."""

import json

import pytest

from core.lml.client import RefreshClient
from core.lml.gate import Github, check
from core.settings import Lml as LmlSettings
from core.settings import Secret, SecretUnavailableError
from tests.virtual import VirtualClock
from tests.wire import Wire, reply

GATE = "8a1344c"
NEWER = "0c4ffee0c4ffee0c4ffee0c4ffee0c4ffee0c4ff"


def secret(name, value):
    return Secret(name, value, fetch=lambda _arn, _force: "")


def healthy(**fields):
    return reply(200, json.dumps({"status": "healthy"} | fields).encode())


def compared(status):
    return reply(200, json.dumps({"status": status, "ahead_by": 3}).encode())


def reset(peer, _):
    peer.reset()


NEVER = reply(500, b"must not be asked")


class Asked:
    """The gate's verdict, and what LML and GitHub were asked for it."""

    def __init__(self, *lml_scripts, github=NEVER, token=None, local_dev=False):
        with Wire(*lml_scripts) as lml_wire, Wire(github) as github_wire:
            settings = LmlSettings(url=lml_wire.url, api_key=secret("LML_API_KEY", "key-of-lml"))
            hub = Github(secret("GITHUB_TOKEN", token), url=github_wire.url)
            with RefreshClient(settings, VirtualClock()) as lml:
                gate = check(lml, local_dev=local_dev, github=hub)
        self.allowed = gate.allowed
        self.reason = gate.reason
        self.lml = [f"{request.method} {request.target}" for request in lml_wire.requests]
        self.probes = [json.loads(request.body) for request in lml_wire.requests if request.method == "POST"]
        self.github = github_wire.requests


@pytest.mark.parametrize(
    ("script", "explained"),
    [
        pytest.param(reset, "GET http://127.0.0.1", id="unreachable"),
        pytest.param(reply(503, b'{"status": "unhealthy", "commit_sha": "8a1344c"}'), "503", id="unhealthy"),
        pytest.param(reply(302, headers={"Location": "/elsewhere"}), "302", id="redirect"),
        pytest.param(reply(404, b'{"detail": "Not Found"}'), "404", id="not-found"),
        pytest.param(reply(200, b"<html>"), "no JSON object", id="no-json"),
        pytest.param(reply(200, b'["8a1344c"]'), "no JSON object", id="no-object"),
    ],
)
@pytest.mark.parametrize("local_dev", [True, False])
def test_an_lml_without_good_health_is_refused(script, explained, local_dev):
    asked = Asked(script, local_dev=local_dev)

    assert not asked.allowed
    assert explained in asked.reason
    assert asked.lml == ["GET /health"]
    assert asked.github == []


def test_the_gate_commit_itself_is_allowed_without_asking_github():
    asked = Asked(healthy(commit_sha=f"{GATE}0123456789abcdef"), reply(422))

    assert asked.allowed
    assert GATE in asked.reason
    assert asked.github == []
    assert asked.probes == [{"identity_ids": []}]


@pytest.mark.parametrize(
    ("status", "allowed"), [("identical", True), ("ahead", True), ("behind", False), ("diverged", False)]
)
def test_github_knows_whether_another_commit_is_new_enough(status, allowed):
    asked = Asked(healthy(commit_sha=NEWER), reply(422), github=compared(status))

    assert asked.allowed is allowed
    assert status in asked.reason
    assert NEWER[:12] in asked.reason
    assert asked.github[0].target == f"/repos/WXYC/library-metadata-lookup/compare/{GATE}...{NEWER}"
    assert asked.probes == ([{"identity_ids": []}] if allowed else [])


@pytest.mark.parametrize(("token", "header"), [("token-of-github", "Bearer token-of-github"), (None, None), ("", None)])
def test_a_token_goes_to_github_if_there_is_one(token, header):
    asked = Asked(healthy(commit_sha=NEWER), reply(422), github=compared("ahead"), token=token)

    assert asked.github[0].headers.get("authorization") == header
    assert "token-of-github" not in asked.reason


@pytest.mark.parametrize(
    ("sha", "target"),
    [
        ("feature/x", "feature%2Fx"),
        ("a?b#c d&e", "a%3Fb%23c%20d%26e"),
        ("a%2Fb", "a%252Fb"),
        ("/../../secret", "%2F..%2F..%2Fsecret"),
        ("größe", "gr%C3%B6%C3%9Fe"),
        ("x\r\nHost: y", "x%0D%0AHost%3A%20y"),
        ("\ud800", "%3F"),
    ],
)
def test_a_commit_is_percent_encoded_whatever_it_is(sha, target):
    asked = Asked(healthy(commit_sha=sha), reply(422), github=compared("ahead"))

    assert asked.allowed
    assert asked.github[0].target == f"/repos/WXYC/library-metadata-lookup/compare/{GATE}...{target}"
    assert asked.reason.isprintable()


@pytest.mark.parametrize(
    ("github", "explained"),
    [
        pytest.param(reset, "GitHub gave no answer", id="unreachable"),
        pytest.param(reply(401), "GitHub answered 401", id="token-refused"),
        pytest.param(reply(403, b'{"message": "API rate limit exceeded"}'), "GitHub answered 403", id="rate-limited"),
        pytest.param(reply(429), "GitHub answered 429", id="too-many-requests"),
        pytest.param(reply(404, b'{"message": "Not Found"}'), "GitHub answered 404", id="unknown-commit"),
        pytest.param(reply(301, headers={"Location": "/"}), "GitHub answered 301", id="moved"),
        pytest.param(reply(500), "GitHub answered 500", id="broken"),
        pytest.param(reply(200, b"<html>"), "no status", id="no-json"),
        pytest.param(reply(200, b"[]"), "no status", id="no-object"),
        pytest.param(reply(200, b"{}"), "no status", id="empty-object"),
        pytest.param(reply(200, b"[" * 100_000), "no status", id="nested-too-deeply"),
        pytest.param(compared("sideways"), "unknown status", id="unknown-status"),
        pytest.param(compared(["ahead"]), "unknown status", id="status-of-another-type"),
    ],
)
@pytest.mark.parametrize(("status", "allowed"), [(422, True), (404, False)])
def test_where_github_cannot_say_the_endpoint_is_asked(github, explained, status, allowed):
    asked = Asked(healthy(commit_sha=NEWER), reply(status), github=github)

    assert asked.allowed is allowed
    assert explained in asked.reason
    assert str(status) in asked.reason
    assert asked.probes == [{"identity_ids": []}]


def test_a_commit_longer_than_any_address_falls_back_to_the_probe():
    asked = Asked(healthy(commit_sha="f" * 100_000), reply(422))

    assert asked.allowed
    assert asked.github == []
    assert len(asked.reason) < 300


def test_a_github_that_dawdles_is_given_up(monkeypatch):
    monkeypatch.setattr("core.lml.gate._GITHUB_LIMIT", 0.1)

    asked = Asked(healthy(commit_sha=NEWER), reply(422), github=lambda peer, _: peer.hung_up())

    assert asked.allowed
    assert "GitHub gave no answer" in asked.reason


NO_COMMIT = [
    pytest.param({}, id="missing"),
    pytest.param({"commit_sha": None}, id="null"),
    pytest.param({"commit_sha": ""}, id="empty"),
    pytest.param({"commit_sha": " \n"}, id="blank"),
    pytest.param({"commit_sha": 8}, id="number"),
    pytest.param({"commit_sha": [GATE]}, id="list"),
]


@pytest.mark.parametrize("fields", NO_COMMIT)
def test_without_a_commit_a_developer_may_run(fields):
    asked = Asked(healthy(**fields), reply(422), local_dev=True)

    assert asked.allowed
    assert "LOCAL_DEV" in asked.reason
    assert (asked.probes, asked.github) == ([{"identity_ids": []}], [])


@pytest.mark.parametrize("fields", NO_COMMIT)
def test_without_a_commit_the_endpoint_is_asked(fields):
    asked = Asked(healthy(**fields), reply(422))

    assert asked.allowed
    assert asked.probes == [{"identity_ids": []}]
    assert asked.github == []


@pytest.mark.parametrize(
    ("script", "allowed", "explained"),
    [
        pytest.param(reply(404), False, "LIBRARY_METADATA_URL", id="absent"),
        pytest.param(reply(405), False, "LIBRARY_METADATA_URL", id="another-method"),
        pytest.param(reply(401), False, "LML_API_KEY", id="key-unknown"),
        pytest.param(reply(403), False, "LML_API_KEY", id="key-not-allowed"),
        pytest.param(reply(422), True, "422", id="refused-as-empty"),
        pytest.param(reply(400), True, "400", id="refused-as-malformed"),
        pytest.param(reply(200, b"{}"), True, "200", id="taken"),
        pytest.param(reply(429), True, "429", id="busy"),
        pytest.param(reply(503), True, "503", id="without-its-services"),
        pytest.param(reset, False, "no answer", id="no-answer"),
    ],
)
def test_the_endpoint_shows_whether_it_is_there(script, allowed, explained):
    asked = Asked(healthy(), script)

    assert asked.allowed is allowed
    assert explained in asked.reason
    assert "key-of-lml" not in asked.reason


ALLOWING = [
    pytest.param({"fields": {"commit_sha": f"{GATE}01"}}, id="gate commit"),
    pytest.param({"fields": {"commit_sha": NEWER}, "github": compared("identical")}, id="identical"),
    pytest.param({"fields": {"commit_sha": NEWER}, "github": compared("ahead")}, id="ahead"),
    pytest.param({"fields": {"commit_sha": NEWER}, "github": reply(500)}, id="GitHub does not tell"),
    pytest.param({"fields": {}, "local_dev": True}, id="a developer"),
    pytest.param({"fields": {}}, id="no commit"),
]


@pytest.mark.parametrize("row", ALLOWING)
@pytest.mark.parametrize("status", [401, 403])
def test_a_key_that_lml_does_not_take_is_refused_on_every_row_that_would_allow(row, status):
    """Else a day of refused requests would begin."""
    row = dict(row)

    asked = Asked(healthy(**row.pop("fields")), reply(status), **row)

    assert not asked.allowed
    assert "check LML_API_KEY" in asked.reason


def test_the_probe_carries_the_key():
    key = secret("LML_API_KEY", "key-of-lml")
    with (
        Wire(healthy(), reply(422)) as wire,
        RefreshClient(LmlSettings(url=wire.url, api_key=key), VirtualClock()) as lml,
    ):
        check(lml, local_dev=False, github=Github(secret("GITHUB_TOKEN", None), url=wire.url))

    assert wire.requests[-1].target == "/api/v1/cache/refresh-for-identities"
    assert wire.requests[-1].headers["authorization"] == "Bearer key-of-lml"


def unreadable(name):
    def never_filled(_arn, _force):
        raise SecretUnavailableError("it was never filled")

    return Secret(name, arn="arn:it", fetch=never_filled)


def test_a_key_that_cannot_be_read_is_refused_by_its_name():
    with Wire(healthy(commit_sha=GATE)) as wire:
        settings = LmlSettings(url=wire.url, api_key=unreadable("LML_API_KEY"))
        with RefreshClient(settings, VirtualClock()) as lml:
            gate = check(lml, local_dev=False, github=Github(secret("GITHUB_TOKEN", None), url=wire.url))

    assert not gate.allowed
    assert gate.reason.startswith("LML_API_KEY_SECRET_ARN")


@pytest.mark.parametrize(
    "token", [unreadable("GITHUB_TOKEN"), secret("GITHUB_TOKEN", "gh\np"), secret("GITHUB_TOKEN", "{}")]
)
def test_a_github_token_that_cannot_be_used_is_reported_and_done_without(token):
    with Wire(healthy(commit_sha=NEWER), reply(422)) as wire, Wire(NEVER) as github:
        settings = LmlSettings(url=wire.url, api_key=secret("LML_API_KEY", "key-of-lml"))
        with RefreshClient(settings, VirtualClock()) as lml:
            gate = check(lml, local_dev=False, github=Github(token, url=github.url))

    assert gate.allowed
    assert "GitHub was not asked (GITHUB_TOKEN" in gate.reason
    assert github.requests == []
