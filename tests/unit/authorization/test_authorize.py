"""The authorizer and the function behind it, as API Gateway calls one after the other."""

import json
from pathlib import Path
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.authorization import keys
from core.aws import http_api
from core.picker import api
from handlers import authorize
from tests.odd_events import ODD_EVENTS
from tests.signing import SETTINGS, bearer, key_set
from tests.wire import Wire, reply

EVENT = json.loads((Path(__file__).parents[3] / "events/authorize.json").read_text())
REQUEST = json.loads((Path(__file__).parents[3] / "events/rotation-tracks.json").read_text())
CONTEXT = SimpleNamespace()
IN, OUT = {"isAuthorized": True, "context": {"decision": "allowed"}}, {"isAuthorized": False}


@pytest.fixture
def issued(monkeypatch):
    """Set what the template sets; gives a function that begins a new environment beside an issuer."""

    def begin(url):
        for name, value in {**SETTINGS, "PICKER_JWKS_URL": url, "LOCAL_DEV": "1"}.items():
            monkeypatch.setenv(name, value)
        authorize.authorizer.cache_clear()

    yield begin
    authorize.authorizer.cache_clear()


def asked(token):
    return authorize.handler(EVENT | {"headers": {"authorization": token}}, CONTEXT)


def behind(answer):
    """What the tracks function says once API Gateway has let a request through with an answer."""
    assert answer["isAuthorized"]
    context = {"authorizer": {"lambda": answer["context"]}}
    return api.turned_away(REQUEST | {"requestContext": context}, needs_decision=True)


def test_a_dj_is_let_in_and_served(issued):
    with Wire(reply(200, key_set())) as issuer:
        issued(issuer.url)

        assert asked(bearer()) == IN
        assert behind(asked(bearer())) is None
        assert len(issuer.requests) == 1


def test_a_role_that_may_not_read_is_refused(issued):
    with Wire(reply(200, key_set())) as issuer:
        issued(issuer.url)
        assert asked(bearer(role="listener")) == OUT


@pytest.mark.parametrize("token", ["Bearer x", "", "Basic eDp5"], ids=["no token", "empty", "another scheme"])
def test_no_valid_token_is_what_the_api_answers_401_to(issued, token):
    issued("http://127.0.0.1:9")
    with pytest.raises(authorize.UnauthorizedError, match=r"^Unauthorized$"):
        asked(token)


@pytest.mark.parametrize("answer", [reply(500), reply(200, b"no keys"), reply(200, b"{}")])
def test_while_no_token_can_be_checked_the_function_says_503_and_nobody_is_served(issued, answer, caplog):
    with Wire(answer) as issuer:
        issued(issuer.url)
        decision = asked(bearer())

    refusal = behind(decision)
    assert refusal.status == 503
    assert int(refusal.headers["retry-after"]) >= http_api.CACHED_SECONDS, "the API gives this answer as long as that"
    assert "no token can be checked" in caplog.text, "the words that the alarm waits for"


def test_keys_that_fail_once_are_asked_for_again_since_the_api_remembers_a_failure(issued):
    with Wire(reply(500), reply(200, key_set())) as issuer:
        issued(issuer.url)
        assert asked(bearer()) == IN


def test_the_slowest_failure_fits_into_what_the_api_waits():
    assert 2 * keys.FETCH_SECONDS < 10


@pytest.mark.parametrize("odd", ODD_EVENTS.values(), ids=ODD_EVENTS)
def test_a_test_of_the_console_or_a_ping_is_answered_and_lets_nobody_in(issued, odd):
    issued("http://127.0.0.1:9")
    assert authorize.handler(odd, CONTEXT) == OUT


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text() | st.just("keys_unavailable"),
        lambda inner: st.lists(inner) | st.dictionaries(st.sampled_from(["lambda", "jwt", "decision", "role"]), inner),
        max_leaves=6,
    )
)
def test_without_the_authorizer_s_yes_nobody_is_served(context):
    """Whatever else stands there: another authorizer's word, an old one's, none."""
    yes = isinstance(context, dict) and context.get("lambda") == {"decision": "allowed"}
    for event in ({"requestContext": {"authorizer": context}}, {"requestContext": context}, {"authorizer": context}):
        refusal = api.turned_away(REQUEST | {"requestContext": None} | event, needs_decision=True)
        assert yes or (refusal is not None and refusal.status in {401, 503})


def test_a_developer_s_machine_needs_no_authorizer():
    assert api.turned_away({"requestContext": {}}, needs_decision=False) is None
