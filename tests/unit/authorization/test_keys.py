"""The issuer's keys: when they are asked for, what is done while they cannot be had, and what a key set may hold."""

import asyncio
import json
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from starlette.applications import Starlette
from starlette.responses import RedirectResponse, Response, StreamingResponse
from starlette.routing import Route

from core.authorization import keys
from core.authorization.keys import Keys, KeysUnavailableError, fetch, parsed
from local import serve
from tests.signing import PRIVATE, key_set, public


class Issuer:
    """Publishes keys; `now` is the time that the keeper of keys goes by."""

    def __init__(self):
        self.now = 1_000_000.0
        self.body = key_set(public("EdDSA"))
        self.asked = 0

    def fetch(self, _):
        self.asked += 1
        if self.body is None:
            raise KeysUnavailableError("away")
        return self.body


@pytest.fixture
def issuer():
    return Issuer()


@pytest.fixture
def known(issuer):
    return Keys("the url", issuer.fetch, lambda: issuer.now)


def test_keys_are_fetched_once_and_kept(issuer, known):
    for _ in range(3):
        assert known.key("EdDSA")
    assert issuer.asked == 1


def test_a_new_key_is_found_at_its_first_token(issuer, known):
    known.key("EdDSA")
    issuer.now += 60
    issuer.body = key_set(public("EdDSA"), public("ES256"))

    assert known.key("ES256")


def test_unknown_keys_make_one_fetch_a_minute_at_most(issuer, known):
    known.key("EdDSA")
    for second in range(180):
        issuer.now = 1_000_000.0 + second
        assert known.key(f"unknown {second}") is None
    assert issuer.asked == 3


def test_a_withdrawn_key_is_gone_after_ten_minutes(issuer, known):
    known.key("EdDSA")
    issuer.body = key_set(public("ES256"))
    issuer.now += 599
    assert known.key("EdDSA")
    issuer.now += 1

    assert known.key("EdDSA") is None


def test_while_the_issuer_is_away_its_keys_are_used_for_an_hour_and_then_nobody_can_be_let_in(issuer, known):
    known.key("EdDSA")
    issuer.body = None
    for _ in range(59):
        issuer.now += 60
        assert known.key("EdDSA")
    issuer.now += 60

    with pytest.raises(KeysUnavailableError, match="no token can be checked: away"):
        known.key("EdDSA")
    assert issuer.asked < 62, "not more than once a minute"


def test_without_any_key_the_issuer_is_asked_every_five_seconds_at_most(issuer, known):
    issuer.body = None
    for _ in range(10):
        with pytest.raises(KeysUnavailableError):
            known.key("EdDSA")
        issuer.now += 1
    assert issuer.asked == 2

    issuer.body = key_set(public("EdDSA"))
    assert known.key("EdDSA")


def test_keys_that_were_fetched_early_are_not_asked_for_again(issuer, known):
    known.fetch_early()

    assert known.key("EdDSA")
    assert issuer.asked == 1


def test_the_first_token_asks_anew_at_once_where_an_early_fetch_failed(issuer, known):
    published, issuer.body = issuer.body, None
    known.fetch_early()
    issuer.body = published

    assert known.key("EdDSA")


def test_a_clock_that_is_set_back_does_not_stop_the_fetching(issuer, known):
    known.key("EdDSA")
    issuer.now -= 500_000
    issuer.body = key_set(public("ES256"))
    assert known.key("ES256")


def test_those_who_come_together_share_one_fetch(issuer):
    begun, may_end = threading.Event(), threading.Event()

    def slowly(url):
        begun.set()
        may_end.wait(20)
        return issuer.fetch(url)

    known = Keys("the url", slowly)
    with ThreadPoolExecutor(8) as djs:
        found = [djs.submit(known.key, "EdDSA") for _ in range(8)]
        begun.wait(20)
        may_end.set()
        assert all(each.result() for each in found)
    assert issuer.asked == 1


def test_a_key_set_of_nonsense_does_not_replace_one_that_works(issuer, known):
    known.key("EdDSA")
    issuer.body = b"<html>we are moving</html>"
    issuer.now += 700
    assert known.key("EdDSA")


SMALL = rsa.generate_private_key(65537, 1024)  # noqa: S505 - to be refused
LEFT_OUT = {
    "for encrypting": public("RS256", use="enc"),
    "of another algorithm": public("RS256", alg="PS256"),
    "of a symmetric one": {"kty": "oct", "k": "c2VjcmV0", "kid": "x", "alg": "HS256"},
    "without an id": {name: value for name, value in public("EdDSA").items() if name != "kid"},
    "with an id that is no text": public("EdDSA", kid=7),
    "too small": public("RS256", SMALL),
    "of a curve for something else": public("ES256", crv="secp256k1"),
    "a point that is on no curve": public("ES256", x="AAAA"),
    "without what makes it a key": {"kty": "EC", "kid": "x"},
    "of an unknown type": {"kty": "new", "kid": "x"},
}


@pytest.mark.parametrize("key", LEFT_OUT.values(), ids=LEFT_OUT)
def test_a_key_that_is_of_no_use_costs_only_itself(key):
    assert parsed(key_set(key, public("EdDSA"))).keys() == {"EdDSA"}


NO_SETS = {
    "nothing": b"",
    "no JSON": b"<html>",
    "not UTF-8": b"\xff\xfe{}",
    "a list": b"[]",
    "null": b"null",
    "keys that are no list": b'{"keys": 7}',
    "keys that are an object": b'{"keys": {"a": 1}}',
    "keys that are no objects": b'{"keys": [1, null]}',
    "no keys": b'{"keys": []}',
    "lists in lists": b"[" * 100_000,
    "one that is of no use": json.dumps({"keys": [LEFT_OUT["of a symmetric one"]]}).encode(),
}


@pytest.mark.parametrize("body", NO_SETS.values(), ids=NO_SETS)
def test_what_is_no_key_set_is_refused(body):
    with pytest.raises(KeysUnavailableError):
        parsed(body)


def test_only_so_many_keys_are_read():
    many = [public("EdDSA", kid=str(number)) for number in range(101)]
    assert "100" not in parsed(key_set(*many))


# Over HTTP


def respond(body, status=200):
    async def answer(_):
        return Response(body, status, media_type="application/json")

    return answer


async def slow(_):
    async def body():
        yield b'{"keys": '
        await asyncio.Event().wait()

    return StreamingResponse(body())


async def elsewhere(_):
    return RedirectResponse("/jwks")


@pytest.fixture(scope="module")
def url():
    pages = {
        "/jwks": respond(key_set()),
        "/large": respond(b" " * 10_000_000 + key_set()),
        "/gone": respond(b"{}", 404),
        "/broken": respond(b"", 500),
        "/slow": slow,
        "/elsewhere": elsewhere,
    }
    with serve.in_thread(Starlette(routes=[Route(path, answer) for path, answer in pages.items()])) as url:
        yield url


def test_a_key_set_is_read_over_http(url):
    assert parsed(fetch(f"{url}/jwks")).keys() == PRIVATE.keys()


@pytest.mark.parametrize("path", ["large", "gone", "broken", "elsewhere"])
def test_an_answer_that_is_no_key_set_s_is_refused(url, path):
    with pytest.raises(KeysUnavailableError):
        fetch(f"{url}/{path}")


def test_an_answer_that_does_not_end_is_given_up(url, monkeypatch):
    monkeypatch.setattr(keys, "FETCH_SECONDS", 0.3)
    with pytest.raises(KeysUnavailableError, match="no complete answer within"):
        fetch(f"{url}/slow")


def test_a_host_that_is_not_there_is_reported():
    with pytest.raises(KeysUnavailableError, match=r"127\.0\.0\.1:1"):
        fetch("http://127.0.0.1:1/jwks")
