"""The LML client against real sockets that misbehave in every way that a network knows."""

import json
import logging
import re
import ssl
import threading
import traceback
from datetime import UTC, datetime

import pytest

from core.clock import SystemClock
from core.lml.client import LML_REFRESH_BATCH_CAP, RefreshClient, RefreshError
from core.settings import Lml as LmlSettings
from core.settings import Secret, SettingsError
from tests.virtual import VirtualClock
from tests.wire import Wire, reply, self_signed

KEY = "key-that-nobody-may-see"
OK = b'{"results": []}'


def secret(value=KEY):
    return Secret("LML_API_KEY", value, fetch=lambda _arn, _force: "")


@pytest.fixture
def lml():
    """Make a client of an address, and close it afterwards."""
    clients = []

    def make(url, *, key=None, clock=None):
        clients.append(RefreshClient(LmlSettings(url=url, api_key=key or secret()), clock or VirtualClock()))
        return clients[-1]

    yield make
    for client in clients:
        client.close()


def failure(client, *, limit=5.0):
    with pytest.raises(RefreshError) as caught:
        client.refresh([1], limit=limit)
    return caught.value


def silence(peer, _):
    peer.hung_up()


def test_a_request_is_what_lml_documents(lml):
    with Wire(reply(200, b'{"results": [{"identity_id": 7}]}')) as wire:
        answer = lml(wire.url).refresh([7, 7, 9], limit=5)

    (request,) = wire.requests
    assert (request.method, request.target) == ("POST", "/api/v1/cache/refresh-for-identities")
    assert json.loads(request.body) == {"identity_ids": [7, 7, 9]}
    assert request.headers["authorization"] == f"Bearer {KEY}"
    assert request.headers["content-type"] == "application/json"
    assert answer.body == {"results": [{"identity_id": 7}]}


@pytest.mark.parametrize("body", [b"null", b"[]", b"3", b'"warmed"', b'{"results": null}'])
def test_a_body_of_any_shape_is_handed_on(lml, body):
    """What it means is the tally's question."""
    with Wire(reply(200, body)) as wire:
        assert lml(wire.url).refresh([1], limit=5).body == json.loads(body)


@pytest.mark.parametrize("count", [0, LML_REFRESH_BATCH_CAP + 1])
def test_what_lml_would_refuse_is_not_sent(lml, count):
    with Wire(reply(200, OK)) as wire:
        with pytest.raises(ValueError, match="1 to 50"):
            lml(wire.url).refresh(range(1, count + 1), limit=5)

        assert wire.requests == []


def test_a_full_batch_is_sent(lml):
    with Wire(reply(200, OK)) as wire:
        lml(wire.url).refresh(range(1, 51), limit=5)

    assert len(json.loads(wire.requests[0].body)["identity_ids"]) == 50


@pytest.mark.parametrize(
    ("status", "kind"),
    [(status, "permanent_error") for status in (400, 401, 403, 404, 405, 413, 422)]
    + [(status, "retryable_error") for status in (201, 204, 302, 408, 409, 418, 429, 499, 500, 502, 503, 504, 599)],
)
def test_a_status_tells_whether_to_try_again(lml, status, kind):
    body = b"" if status == 204 else b'{"detail":\n "why"}'
    with Wire(reply(status, body)) as wire:
        error = failure(lml(wire.url))

    assert (error.kind, error.cause, error.status) == (kind, "status", status)
    assert f"answered {status}" in str(error)
    assert error.detail == ("" if status == 204 else '{"detail": "why"}')


@pytest.mark.parametrize(
    ("status", "headers", "counts"),
    [
        pytest.param(429, {}, False, id="429"),
        pytest.param(429, {"Retry-After": "5"}, False, id="429-with-a-pause"),
        pytest.param(503, {"Retry-After": "5"}, False, id="503-with-a-pause"),
        pytest.param(503, {}, True, id="503"),
        pytest.param(503, {"Retry-After": "soon"}, True, id="503-with-gibberish"),
        pytest.param(502, {"Retry-After": "5"}, True, id="502-with-a-pause"),
        pytest.param(408, {}, True, id="408"),
    ],
)
def test_a_request_for_a_pause_is_no_attempt(lml, status, headers, counts):
    with Wire(reply(status, headers=headers)) as wire:
        assert failure(lml(wire.url)).counts_as_attempt is counts


NOW = datetime(2026, 2, 3, 4, 30, tzinfo=UTC)


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        pytest.param("0", 0, id="none"),
        pytest.param("17", 17, id="seconds"),
        pytest.param("1.5", 1.5, id="fraction"),
        pytest.param("86400", 3600, id="a-day"),
        pytest.param("9" * 400, 3600, id="huge"),
        pytest.param("-5", None, id="negative"),
        pytest.param("soon", None, id="gibberish"),
        pytest.param("", None, id="empty"),
        pytest.param("nan", None, id="nan"),
        pytest.param("Tue, 03 Feb 2026 04:31:30 GMT", 90, id="date"),
        pytest.param("Tue, 03 Feb 2026 04:31:30 -0000", 90, id="date-without-zone"),
        pytest.param("Tue, 03 Feb 2026 04:00:00 GMT", 0, id="past-date"),
        pytest.param("Tue, 03 Feb 2099 04:00:00 GMT", 3600, id="far-date"),
        pytest.param("120, 120", 120, id="repeated"),
        pytest.param("7, soon, 60", 60, id="repeated: the longest that can be read"),
        pytest.param("Tue, 03 Feb 2026 04:31:30 GMT, 30", 90, id="a date and seconds"),
        pytest.param("Tue, 03 Feb 2026 04:31:30 GMT, Tue, 03 Feb 2026 04:31:30 GMT", 90, id="a date, repeated"),
        pytest.param("Tue, 31 Feb 2026 04:00:00 GMT", None, id="no-such-date"),
        pytest.param("Tue, 03 Feb 999999999999999999999 04:00:00 GMT", None, id="no-such-year"),
    ],
)
def test_the_pause_that_lml_asks_for_is_between_nothing_and_an_hour(lml, header, seconds):
    with Wire(reply(429, headers={"Retry-After": header})) as wire:
        assert failure(lml(wire.url, clock=VirtualClock(start=NOW))).retry_after == seconds


@pytest.mark.parametrize("status", [401, 403])
def test_a_rotated_key_is_fetched_and_the_request_repeated(lml, status):
    keys = {False: "old", True: "new"}
    key = Secret("LML_API_KEY", arn="arn:key", fetch=lambda _arn, force: keys[force])
    with Wire(reply(status, b"who?"), reply(200, OK)) as wire:
        answer = lml(wire.url, key=key).refresh([1], limit=5)

    assert answer.body == {"results": []}
    assert [request.headers["authorization"] for request in wire.requests] == ["Bearer old", "Bearer new"]
    assert len({request.body for request in wire.requests}) == 1


@pytest.mark.parametrize(("arn", "requests"), [(None, 1), ("arn:key", 2)])
def test_a_key_that_stays_wrong_is_permanent(lml, arn, requests):
    key = Secret("LML_API_KEY", None if arn else "wrong", arn=arn, fetch=lambda _arn, _force: "wrong")
    with Wire(reply(401, b"who?")) as wire:
        error = failure(lml(wire.url, key=key))

        assert len(wire.requests) == requests
    assert (error.kind, error.status) == ("permanent_error", 401)
    assert "LML_API_KEY" in str(error)


def test_without_a_key_there_is_no_header(lml):
    with Wire(reply(200, OK)) as wire:
        lml(wire.url, key=secret("")).refresh([1], limit=5)

    assert "authorization" not in wire.requests[0].headers


@pytest.mark.parametrize("key", [f"{KEY}\nX: y", f"{KEY}\x7f", f"{KEY}é"])
def test_a_key_that_no_header_can_carry_is_refused_without_being_shown(lml, key):
    with Wire(reply(200, OK)) as wire:
        with pytest.raises(SettingsError) as caught:
            lml(wire.url, key=secret(key)).refresh([1], limit=5)

        assert wire.requests == []
    assert str(caught.value).startswith("LML_API_KEY ")
    assert KEY not in str(caught.value)


def dribbled_head(peer, _):
    peer.send(b"HTTP/1.1 200 OK\r\nX-Slow: ")
    while not peer.hung_up(within=0.02):
        peer.send(b"x")


def dribbled_body(peer, _):
    peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n")
    while not peer.hung_up(within=0.02):
        peer.send(b" ")


def half_a_body_then_silence(peer, _):
    peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n" + OK)
    peer.hung_up()


@pytest.mark.parametrize("script", [silence, dribbled_head, dribbled_body, half_a_body_then_silence])
def test_an_answer_is_cut_at_the_limit_however_it_dawdles(lml, script):
    """The limit is of the whole request; time-outs per read would never end a dribble."""
    with Wire(script, reply(200, OK)) as wire:
        client = lml(wire.url, clock=SystemClock())

        error = failure(client, limit=1)

        assert (error.kind, error.cause, error.status) == ("retryable_error", "timeout", None)
        assert "within 1 s" in str(error)
        assert 1 <= error.elapsed < 3
        assert client.refresh([1], limit=5).body == {"results": []}


def test_the_limit_is_paced_and_rounded_up_to_wall_seconds(lml):
    with Wire(silence) as wire:
        error = failure(lml(wire.url, clock=SystemClock(speed=100)), limit=60)

    assert "within 1 s" in str(error)
    assert 100 <= error.elapsed < 300


def closed(peer, _):
    peer.close()


def half_a_body_then_closed(peer, _):
    peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n" + OK)
    peer.close()


def reset(peer, _):
    peer.reset()


def half_a_body_then_reset(peer, _):
    peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n" + OK)
    peer.reset()


def another_protocol(peer, _):
    peer.send(b"220 mail.example.org ESMTP\r\n")
    peer.close()


@pytest.mark.parametrize("script", [closed, half_a_body_then_closed, reset, half_a_body_then_reset, another_protocol])
def test_a_broken_connection_can_be_tried_again(lml, script):
    with Wire(script, reply(200, OK)) as wire:
        client = lml(wire.url)

        error = failure(client)

        assert (error.kind, error.cause, error.status) == ("retryable_error", "connection", None)
        assert error.counts_as_attempt
        assert wire.url in str(error)
        assert client.refresh([1], limit=5).body == {"results": []}


def test_nobody_there_is_a_broken_connection(lml):
    with Wire() as wire:
        url = wire.url

    assert failure(lml(url)).cause == "connection"


def test_a_name_that_does_not_exist_is_a_broken_connection(lml):
    assert failure(lml("http://lml.invalid")).cause == "connection"


@pytest.mark.parametrize(
    ("body", "headers"),
    [
        pytest.param(b"<html>oops</html>", {}, id="html"),
        pytest.param(b"", {}, id="empty"),
        pytest.param(b'{"results": [', {}, id="half"),
        pytest.param(b"\xff\xfe\xfd", {}, id="bytes"),
        pytest.param(b"[" * 100_000, {}, id="nested-too-deeply"),
        pytest.param(b"9" * 100_000, {}, id="number-without-end"),
        pytest.param(OK, {"Content-Encoding": "gzip"}, id="not-the-encoding-it-says"),
    ],
)
def test_a_200_that_is_no_json_is_malformed(lml, body, headers):
    with Wire(reply(200, body, headers)) as wire:
        error = failure(lml(wire.url))

    assert (error.kind, error.cause) == ("retryable_error", "malformed")
    assert error.counts_as_attempt


def test_ten_megabytes_are_read(lml):
    body = json.dumps({"results": [], "padding": "x" * 10_000_000}).encode()
    with Wire(reply(200, body)) as wire:
        assert lml(wire.url).refresh([1], limit=30).body["results"] == []


def test_a_body_without_end_is_not_kept(lml):
    def endless(peer, _):
        peer.send(b"HTTP/1.1 200 OK\r\n\r\n")
        while not peer.hung_up(within=0):
            peer.send(b" " * 65_536)

    with Wire(endless) as wire:
        error = failure(lml(wire.url), limit=30)

    assert error.cause == "malformed"
    assert "16 MiB" in str(error)


def test_a_refusal_counts_although_its_body_breaks_off(lml):
    """A wrong key behind a bad proxy must still stop the run."""

    def cut(peer, _):
        peer.send(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 100\r\n\r\nwrong to")
        peer.close()

    with Wire(cut) as wire:
        error = failure(lml(wire.url))

    assert (error.kind, error.status, error.detail) == ("permanent_error", 403, "wrong to")


def test_a_redirect_is_not_followed(lml):
    """A token must not be carried to where somebody's proxy points."""
    with Wire(reply(200, OK)) as elsewhere, Wire(reply(302, headers={"Location": elsewhere.url})) as wire:
        error = failure(lml(wire.url))

        assert elsewhere.requests == []
    assert (error.kind, error.status) == ("retryable_error", 302)


def test_a_proxy_of_the_environment_is_not_used(lml, monkeypatch):
    with Wire(reply(200, OK)) as proxy, Wire(reply(200, OK)) as wire:
        for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
            monkeypatch.setenv(name, proxy.url)

        lml(wire.url).refresh([1], limit=5)

        assert proxy.requests == []


def test_a_certificate_that_nobody_vouches_for_is_refused(lml, tmp_path):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(self_signed(tmp_path))
    with Wire(reply(200, OK), tls=context) as wire:
        error = failure(lml(wire.url))

        assert wire.requests == []
    assert error.cause == "connection"
    assert "CERTIFICATE_VERIFY_FAILED" in str(error)


def test_requests_share_a_connection(lml):
    with Wire(reply(200, OK)) as wire:
        client = lml(wire.url)
        for number in (1, 2, 3):
            client.refresh([number], limit=5)

    assert [request.connection for request in wire.requests] == [1, 1, 1]


def test_a_connection_that_was_closed_while_idle_costs_no_request(lml):
    """As after Lambda froze the process between two messages."""
    hung_up = threading.Semaphore(0)

    def answered_then_closed(peer, request):
        reply(200, OK)(peer, request)
        peer.close()
        hung_up.release()

    with Wire(answered_then_closed) as wire:
        client = lml(wire.url)
        for number in range(1, 21):
            client.refresh([number], limit=5)
            assert hung_up.acquire(timeout=10)

    assert [request.connection for request in wire.requests] == list(range(1, 21))


def test_the_time_of_a_request_is_paced(lml):
    def after_a_while(peer, request):
        peer.hung_up(within=0.1)
        reply(200, OK)(peer, request)

    with Wire(after_a_while) as wire:
        answer = lml(wire.url, clock=SystemClock(speed=100)).refresh([1], limit=600)

    assert 10 <= answer.elapsed < 300


def test_a_clock_that_steps_back_makes_no_negative_time(lml):
    clock = VirtualClock()

    def stepping(peer, request):
        clock.advance(-3600)
        reply(200, OK)(peer, request)

    with Wire(stepping) as wire:
        assert lml(wire.url, clock=clock).refresh([1], limit=5).elapsed == 0


def test_fetching_the_key_is_no_time_of_lml(lml):
    """It would pass for Discogs work and be charged."""
    clock = VirtualClock()

    def slow_vault(_arn, _force):
        clock.advance(30)
        return KEY

    with Wire(reply(200, OK)) as wire:
        client = lml(wire.url, key=Secret("LML_API_KEY", arn="arn:key", fetch=slow_vault), clock=clock)

        assert client.refresh([1], limit=5).elapsed == 0


@pytest.mark.parametrize(
    ("body", "detail"),
    [
        (b'{"message": "Entity store is not available"}', "Entity store is not available"),
        (b'{"message": "bad", "details": null}', "bad"),
        (b'{"message": "bad", "details": {"identity_ids": ["too many"]}}', 'bad: {"identity_ids": ["too many"]}'),
        (b'{"message": "two\\nlines"}', "two lines"),
        (b'{"message": 7}', '{"message": 7}'),
        (b'{"detail": "no such thing"}', '{"detail": "no such thing"}'),
        (b'{"message": "cut', '{"message": "cut'),
        (b"[" * 5000, "[" * 300),
    ],
)
def test_what_lml_says_in_an_error_body_is_the_detail(lml, body, detail):
    with Wire(reply(503, body)) as wire:
        error = failure(lml(wire.url))

    assert error.detail == detail
    assert error.is_latched == ("Entity store" in detail)
    assert error.counts_as_attempt == (not error.is_latched)


def test_the_detail_is_the_head_of_the_body_on_one_line(lml):
    body = "\x1b[31mTraceback:\r\n\tno  such thing \u2028" + "x" * 5000
    with Wire(reply(500, body.encode())) as wire:
        error = failure(lml(wire.url))

    assert error.detail.startswith("[31mTraceback: no such thing xxx")
    assert len(error.detail) == 300
    assert str(error).isprintable()


@pytest.mark.parametrize(
    "script",
    [
        reply(500, f"you sent Bearer {KEY}, really?".encode()),
        reply(200, f"you sent Bearer {KEY}, really?".encode()),
        reset,
        another_protocol,
    ],
    ids=["status", "malformed", "reset", "garbage"],
)
def test_the_key_is_in_no_message_and_in_no_frame(lml, script, caplog):
    """Sentry sends the local variables of every frame."""
    caplog.set_level(logging.DEBUG)
    with Wire(script) as wire:
        client = lml(wire.url)

        error = failure(client)

    shown = "".join(traceback.TracebackException.from_exception(error, capture_locals=True).format())
    assert KEY not in shown + repr(error) + repr(client) + caplog.text


def test_a_request_writes_no_log_line(lml, caplog):
    """The functions' logs are JSON, one line a step; httpx would add one a request."""
    caplog.set_level(logging.INFO)
    with Wire(reply(200, OK)) as wire:
        lml(wire.url).refresh([1], limit=5)

    assert caplog.records == []


def test_a_round_trip_is_an_empty_list(lml):
    def after_a_while(peer, request):
        peer.hung_up(within=0.05)
        reply(422)(peer, request)

    with Wire(after_a_while) as wire:
        seconds = lml(wire.url, clock=SystemClock(speed=10)).round_trip()

    assert json.loads(wire.requests[0].body) == {"identity_ids": []}
    assert wire.requests[0].headers["authorization"] == f"Bearer {KEY}"
    assert 0.5 <= seconds < 30


@pytest.mark.parametrize(
    ("status", "kind"),
    [(status, "permanent_error") for status in (401, 403, 404, 405)]
    + [(status, "retryable_error") for status in (200, 400, 413, 429, 500, 503)],
)
def test_a_round_trip_that_says_something_else_is_an_error(lml, status, kind):
    with Wire(reply(status)) as wire, pytest.raises(RefreshError) as caught:
        lml(wire.url).round_trip()

    assert (caught.value.kind, caught.value.status) == (kind, status)


@pytest.mark.parametrize("status", [200, 401, 404, 422, 503])
def test_a_probe_returns_whatever_status(lml, status):
    with Wire(reply(status)) as wire:
        assert lml(wire.url).probe() == status


@pytest.mark.parametrize("status", [200, 503])
def test_health_is_reported_also_when_it_is_bad(lml, status):
    with Wire(reply(status, b'{"status": "x", "discogs_live_requests_total": 3}')) as wire:
        health = lml(wire.url).health()

    assert (health.status_code, health.body["discogs_live_requests_total"]) == (status, 3)
    assert (wire.requests[0].method, wire.requests[0].target) == ("GET", "/health")
    assert "authorization" not in wire.requests[0].headers


@pytest.mark.parametrize(
    ("script", "cause", "status"),
    [
        pytest.param(reply(200, b"[]"), "malformed", 200, id="list"),
        pytest.param(reply(200, b"up"), "malformed", 200, id="text"),
        pytest.param(reply(502, b"<html>"), "status", 502, id="html-of-an-ingress"),
        pytest.param(reset, "connection", None, id="reset"),
        pytest.param(silence, "timeout", None, id="silence"),
    ],
)
def test_health_that_is_no_object_is_an_error(lml, script, cause, status):
    with Wire(script) as wire, pytest.raises(RefreshError) as caught:
        lml(wire.url).health(limit=1)

    assert (caught.value.cause, caught.value.status) == (cause, status)
    assert re.match(r"GET http://127\.0\.0\.1:\d+/health", str(caught.value))
