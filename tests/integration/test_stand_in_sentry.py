"""The stand-in Sentry, with the real SDK sending to it."""

import gzip
import json
import zlib

import httpx
import pytest
import sentry_sdk
from sentry_sdk.crons import capture_checkin

from local import sentry, serve


@pytest.fixture
def url():
    with serve.in_thread(sentry.build()) as base:
        yield base


@pytest.fixture
def sdk(url):
    client = sentry_sdk.Client(
        dsn=sentry.dsn(url), traces_sample_rate=1.0, trace_lifecycle="stream", default_integrations=False
    )
    with sentry_sdk.isolation_scope() as scope:
        scope.set_client(client)
        yield client
    client.close(timeout=0)


def received(url):
    return sentry.decode(httpx.get(f"{url}/_envelopes").content)


def post(url, body, **headers):
    return httpx.post(f"{url}/api/1/envelope/", content=body, headers=headers).status_code


def test_a_streamed_span_arrives_with_the_types_of_its_attributes(url, sdk):
    with sentry_sdk.traces.start_span(name="run.totals", attributes={"backfill.not_found": 3, "backfill.trigger": "x"}):
        pass
    sdk.flush(timeout=2)

    (span,) = sentry.spans(received(url))

    assert span.name == "run.totals"
    assert span.attributes["backfill.not_found"] == 3
    assert span.wire["backfill.not_found"].type == "integer"
    assert span.wire["backfill.trigger"].type == "string"
    assert span.is_segment


def test_spans_of_one_trace_are_parent_and_child(url, sdk):
    with sentry_sdk.traces.start_span(name="message"), sentry_sdk.traces.start_span(name="request"):
        pass
    sdk.flush(timeout=2)

    spans = {span.name: span for span in sentry.spans(received(url))}

    assert spans["request"].parent_span_id == spans["message"].span_id
    assert spans["request"].trace_id == spans["message"].trace_id


def test_events_and_check_ins_are_told_apart(url, sdk):
    sentry_sdk.capture_message("stale handles")
    capture_checkin(monitor_slug="rotation-artist-backfill", status="ok")
    sdk.flush(timeout=2)

    envelopes = received(url)

    assert [event["message"] for event in sentry.events(envelopes)] == ["stale handles"]
    assert [check_in["status"] for check_in in sentry.check_ins(envelopes)] == ["ok"]
    assert sentry.spans(envelopes) == []


@pytest.mark.parametrize(
    ("encoding", "encode"), [("identity", bytes), ("gzip", gzip.compress), ("deflate", zlib.compress)]
)
def test_an_envelope_arrives_in_every_encoding(url, encoding, encode):
    payload = json.dumps({"message": "two\nlines, in JSON"}).encode()
    body = b'{"event_id":"1"}\n{"type":"event","length":%d}\n%b\n{"type":"note"}\nplain text' % (len(payload), payload)

    assert post(url, encode(body), **{"content-encoding": encoding}) == 200

    (envelope,) = received(url)
    assert envelope.header == {"event_id": "1"}
    assert [item.payload for item in envelope.items] == [{"message": "two\nlines, in JSON"}, "plain text"]


@pytest.mark.parametrize(
    ("body", "encoding", "status"),
    [
        (b"no json", "identity", 400),
        (b'{}\n{"type":"event","length":99}\n{}', "identity", 400),
        (b'{}\n{"type":"event","length":"long"}\n{}', "identity", 400),
        (b"{}", "gzip", 400),
        (b"{}", "deflate", 400),
        (b"{}", "br", 415),
    ],
)
def test_a_broken_envelope_is_refused_and_not_kept(url, body, encoding, status):
    assert post(url, body, **{"content-encoding": encoding}) == status
    assert received(url) == []


def test_a_fault_refuses_as_often_as_ordered(url):
    httpx.post(f"{url}/_faults", json=[{"status": 429, "headers": {"Retry-After": "7"}, "times": 2}])

    assert [post(url, b"{}") for _ in range(3)] == [429, 429, 200]
    assert len(received(url)) == 1


def test_a_hanging_sentry_does_not_answer_in_time(url):
    httpx.post(f"{url}/_faults", json=[{"hang": 60}])

    with pytest.raises(httpx.ReadTimeout):
        httpx.post(f"{url}/api/1/envelope/", content=b"{}", timeout=0.05)


def test_a_reset_forgets_envelopes_and_faults(url):
    post(url, b"{}")
    httpx.post(f"{url}/_faults", json=[{}])

    httpx.post(f"{url}/_reset")

    assert received(url) == []
    assert post(url, b"{}") == 200


def test_a_fault_that_does_not_exist_is_refused(url):
    assert httpx.post(f"{url}/_faults", json=[{"explode": True}]).status_code == 400
