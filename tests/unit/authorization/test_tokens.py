"""Which tokens are let in, by what they hold and who signed them."""

import hashlib
import hmac
import json
import time
from base64 import urlsafe_b64encode

import pytest

from core.authorization import Authorizer, Keys, KeysUnavailableError, read
from tests.signing import PRIVATE, SETTINGS, STRANGER, bearer, key_set, pem, token


@pytest.fixture
def fetched():
    return []


@pytest.fixture
def authorizer(fetched):
    def fetch(url):
        fetched.append(url)
        return key_set()

    return Authorizer(read({"PICKER_JWKS_URL": "https://auth.example/jwks", **SETTINGS}), Keys("the url", fetch))


def encoded(part):
    return urlsafe_b64encode(part if isinstance(part, bytes) else json.dumps(part).encode()).rstrip(b"=").decode()


def by_hand(header, payload, signature=b""):
    return f"Bearer {encoded(header)}.{encoded(payload)}.{encoded(signature)}"


@pytest.mark.parametrize("algorithm", PRIVATE)
def test_a_dj_s_token_is_let_in_whatever_kind_of_key_signed_it(authorizer, algorithm):
    assert authorizer.decide(bearer(algorithm)) == "allowed"


@pytest.mark.parametrize("algorithm", ["RS384", "RS512"])
def test_a_key_that_names_no_algorithm_may_sign_with_every_one_of_its_kind(authorizer, algorithm):
    assert authorizer.decide(bearer(algorithm, key=PRIVATE["RS256"], kid="RS256")) == "allowed"


@pytest.mark.parametrize("scheme", ["bearer", "BEARER", "Bearer "])
def test_the_scheme_is_read_as_http_reads_it(authorizer, scheme):
    assert authorizer.decide(f"{scheme} {token()}") == "allowed"


def signed_with_the_public_key():
    header, payload = {"alg": "HS256", "kid": "RS256"}, json.loads('{"role": "dj"}')
    text = f"{encoded(header)}.{encoded(payload)}"
    return f"Bearer {text}.{encoded(hmac.new(pem('RS256'), text.encode(), hashlib.sha256).digest())}"


NO_TOKEN = {
    "no header": None,
    "an empty header": "",
    "another scheme": f"Basic {token()}",
    "no scheme": token(),
    "a scheme alone": "Bearer ",
    "two tokens": f"Bearer {token()} {token()}",
    "no token's shape": "Bearer x",
    "no JSON in it": "Bearer a.b.c",
    "not ASCII": "Bearer \u00e9.\u00e9.\u00e9",
    "alg none": by_hand({"alg": "none", "kid": "EdDSA"}, {"role": "dj"}),
    "alg None": by_hand({"alg": "None", "kid": "EdDSA"}, {"role": "dj"}),
    "HMAC with the public key": signed_with_the_public_key(),
    "a signature that was cut off": bearer().rpartition(".")[0] + ".",
    "another key's signature": bearer(key=STRANGER),
    "a key id that nobody has": bearer(kid="other"),
    "a key id of another key": bearer(kid="ES256"),
    "a key id that is no text": by_hand({"alg": "EdDSA", "kid": 7}, {}),
    "no key id": by_hand({"alg": "EdDSA"}, {}),
    "a curve that does not fit its algorithm": bearer("ES384", kid="ES256"),
    "an extension that must be understood": bearer(header={"crit": ["exp"]}),
    "a header of lists in lists": by_hand(b"[" * 5000, {}),
    "expired": bearer(exp=int(time.time()) - 1),
    "expired before there was time": bearer(exp=-1),
    "an end that is no number": bearer(exp="tomorrow"),
    "an end beyond all numbers": bearer(exp=float("inf")),
    "without an end": bearer(exp=None),
    "not yet valid": bearer(nbf=int(time.time()) + 86_400, exp=int(time.time()) + 172_800),
    "another audience": bearer(aud="https://other.example"),
    "without an audience": bearer(aud=None),
    "another issuer": bearer(iss="https://other.example"),
    "almost the issuer": bearer(iss="https://auth.station.example/"),
    "without an issuer": bearer(iss=None),
    "oversized": bearer(padding="x" * 10_000),
    "megabytes": "Bearer " + "x" * 5_000_000,
}


@pytest.mark.parametrize("header", NO_TOKEN.values(), ids=NO_TOKEN)
def test_what_is_no_valid_token_is_unauthenticated(authorizer, header):
    assert authorizer.decide(header) == "unauthenticated"
    assert header is None or not authorizer.remembers(header)


@pytest.mark.parametrize("role", ["dj", "musicDirector", "admin,dj", "admin, dj", ["admin", "dj"]])
def test_one_role_of_several_is_enough(authorizer, role):
    assert authorizer.decide(bearer(role=role)) == "allowed"


@pytest.mark.parametrize("role", [None, "", "member", "DJ", "djs", ["member"], [["dj"]], {"dj": True}, 7])
def test_who_has_no_role_that_may_read_is_forbidden(authorizer, role):
    assert authorizer.decide(bearer(role=role)) == "forbidden"


def test_who_is_banned_is_forbidden(authorizer):
    assert authorizer.decide(bearer(banned=True)) == "forbidden"
    assert authorizer.decide(bearer(banned=False)) == "allowed"


def test_a_clock_of_the_issuer_that_is_ahead_does_not_make_its_token_wrong(authorizer):
    assert authorizer.decide(bearer(iat=int(time.time()) + 30)) == "allowed"


def test_one_of_several_audiences_is_enough(authorizer):
    assert authorizer.decide(bearer(aud=["https://other.example", SETTINGS["PICKER_JWT_AUDIENCE"]])) == "allowed"


@pytest.mark.parametrize("header", [None, "Bearer x", NO_TOKEN["alg none"], NO_TOKEN["megabytes"]], ids=range(4))
def test_nonsense_costs_the_issuer_no_request(authorizer, fetched, header):
    authorizer.decide(header)
    assert fetched == []


def test_a_token_that_was_let_in_is_remembered_until_it_expires(authorizer, monkeypatch):
    header, lasting = bearer(exp=int(time.time()) + 20), bearer(exp=int(time.time()) + 9999)
    assert not authorizer.remembers(header)
    authorizer.decide(header)
    authorizer.decide(lasting)
    now = time.time()

    assert authorizer.remembers(header)
    monkeypatch.setattr(time, "time", lambda: now + 21)
    assert not authorizer.remembers(header)
    assert authorizer.remembers(lasting)
    monkeypatch.setattr(time, "time", lambda: now + 301)
    assert not authorizer.remembers(lasting)


def test_no_more_than_a_thousand_tokens_are_remembered_and_the_oldest_go(authorizer):
    first = bearer()
    authorizer.decide(first)
    for number in range(1000):
        authorizer._remember(f"Bearer {number}", time.time() + 300)

    assert not authorizer.remembers(first)
    assert len(authorizer._allowed) == 1000


def test_without_keys_nobody_is_let_in():
    def away(url):
        raise KeysUnavailableError(f"{url} is away")

    settings = read({"PICKER_JWKS_URL": "https://auth.example/jwks", **SETTINGS})
    with pytest.raises(KeysUnavailableError, match="no token can be checked: here is away"):
        Authorizer(settings, Keys("here", away)).decide(bearer())
