"""What arrives at Sentry, CloudWatch and the log: a real SDK against a real server on this machine."""

import gzip
import json
import logging
import os
import re
import socket
import subprocess
import sys
import textwrap
import threading
import time
from contextlib import suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from uuid import uuid4

import pytest
import sentry_sdk

from core.environment import Secret
from core.runs.totals import ACCOUNTS
from core.schedule import CHECK_IN_MARGIN, LONGEST_ON_TIME, Schedule
from core.settings import Sentry
from core.telemetry import METRICS, Telemetry, metric_of

ROOT = Path(__file__).parents[2]
KEY = "0123456789abcdefdsnmarker0123456"
RUN = "scheduled-2026-02-03T04:30:00Z"
TOTALS = {
    "identities_scanned": 300,
    "identities_resolved": 298,
    "warmed_releases": 250,
    "warmed_artists": 700,
    "not_found": 3,
    "not_implemented": 1,
    "lml_error": 2,
    "not_attempted": 10,
    "warmed_without_artists": 20,
}


class SentryServer(ThreadingHTTPServer):
    """Keeps envelopes and answers `status`; a request that comes while `released` is not set waits for it."""

    daemon_threads = True
    status = 200

    def __init__(self):
        super().__init__(("127.0.0.1", 0), _Handler)
        self.bodies: list[bytes] = []
        self.connections: list[tuple[str, int]] = []  # of each request
        self.released = threading.Event()
        self.released.set()

    def handle_error(self, _request, _client):
        """Say nothing of a client that has hung up."""

    @property
    def dsn(self):
        return f"http://{KEY}@127.0.0.1:{self.server_port}/42"

    def envelopes(self):
        """Return (header, [(item header, payload)]) of each."""
        return [_envelope(body) for body in self.bodies]

    def items(self, kind):
        return [payload for _, items in self.envelopes() for header, payload in items if header["type"] == kind]

    def spans(self, name=None):
        found = [span for payload in self.items("span") for span in payload["items"]]
        return [span for span in found if name is None or span["name"] == name]

    def text(self):
        """Return all that arrived, but the envelopes' headers: their trace needs the public key."""
        return json.dumps([items for _, items in self.envelopes()])


class _Handler(BaseHTTPRequestHandler):
    server: SentryServer
    protocol_version = "HTTP/1.1"  # connections are kept alive

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.connections.append(self.client_address)
        self.server.released.wait()
        if self.server.status == 200:
            self.server.bodies.append(gzip.decompress(body))
        with suppress(OSError):  # a client that has given up
            self.send_response(self.server.status)
            self.send_header("Content-Length", "0")
            self.end_headers()

    def log_message(self, *_):
        pass


def _envelope(body):
    lines = iter(body.split(b"\n"))
    header = json.loads(next(lines))
    return header, [(json.loads(line), json.loads(next(lines))) for line in lines if line]


SCHEDULE = Schedule("15 6 * * *", "America/New_York")


@dataclass
class Environments:
    """Starts telemetry as a fresh Lambda environment does; closes the SDK's threads afterwards."""

    dsn: str | None = None
    clients: list = field(default_factory=list)

    def __call__(self, *, dsn="", rate=1.0, release=None, secrets=()):
        secret = Secret("SENTRY_DSN", self.dsn if dsn == "" else dsn, fetch=_unfetchable)
        return self.start(secret, rate=rate, release=release, secrets=secrets)

    def start(self, secret, *, rate=1.0, release=None, secrets=()):
        sentry = Sentry(dsn=secret, release=release, environment="test", traces_sample_rate=rate, schedule=SCHEDULE)
        telemetry = Telemetry(sentry, secrets=secrets)
        self.clients.append(sentry_sdk.get_client())
        return telemetry


def _unfetchable(arn, _force):
    raise PermissionError(f"not allowed to read {arn}")


@pytest.fixture
def server():
    with SentryServer() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.released.set()
        server.shutdown()
        thread.join()


@pytest.fixture
def environment(server, monkeypatch):
    for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY", "SENTRY_DSN", "SENTRY_RELEASE"):
        monkeypatch.delenv(name, raising=False)
    environments = Environments(server.dsn)
    yield environments
    server.released.set()
    for client in environments.clients:
        client.close(timeout=0)
    sentry_sdk.get_global_scope().set_client(None)


def report(telemetry, headers, **changes):
    facts = {
        "run_id": RUN,
        "trigger": "scheduled",
        "dry_run": False,
        "totals": TOTALS,
        "run_seconds": 12.5,
        "completed": True,
    }
    telemetry.report_totals(headers, **(facts | changes))


def deliver(telemetry, headers):
    """Report a message with two requests."""
    with telemetry.message_span(headers, run_id=RUN, message=3, part=1, ids=50, receive_count=2):
        for _ in range(2):
            with telemetry.request_span(batch_size=4, timeout_ms=120_000):
                pass


def attributes(span, prefix="backfill."):
    return {name: value for name, value in span["attributes"].items() if name.startswith(prefix)}


def integer(value):
    return {"value": value, "type": "integer"}


def string(value):
    return {"value": value, "type": "string"}


class TestSpans:
    def test_a_run_is_one_trace_over_three_environments(self, environment, server):
        """From the schedule to the totals, whoever closes the run."""
        fan_out = environment()
        with fan_out.run_span(RUN, "scheduled", dry_run=False) as headers:
            fan_out.plan_span(ids=310, messages=7, coverage=99.5)
        assert fan_out.flush()
        for _ in range(2):
            refresh = environment()
            deliver(refresh, headers)
            assert refresh.flush()
        report(refresh, headers)
        assert refresh.flush()

        spans = server.spans()
        (run,) = server.spans("rotation-artist-backfill.run")
        assert {span["trace_id"] for span in spans} == {run["trace_id"]}
        parents = {span["span_id"]: span["name"] for span in spans}
        tree = [
            (span["name"], span["attributes"]["sentry.op"]["value"], parents.get(span.get("parent_span_id")))
            for span in spans
        ]
        message = (
            "rotation-artist-backfill.message",
            "queue.process",
            "rotation-artist-backfill.run",
        )
        request = ("lml.refresh_for_identities", "http.client", "rotation-artist-backfill.message")
        assert sorted(tree, key=str) == sorted(
            [
                ("rotation-artist-backfill.run", "job.run", None),
                ("rotation-artist-backfill.run.plan", "job.plan", "rotation-artist-backfill.run"),
                *[message, request, request] * 2,
                (
                    "rotation-artist-backfill.run.totals",
                    "rotation-artist-backfill.totals",
                    "rotation-artist-backfill.run",
                ),
            ],
            key=str,
        )

    def test_the_totals_span_arrives_once_with_integers(self, environment, server):
        telemetry = environment()

        report(telemetry, {}, dry_run=True, trigger="manual")
        telemetry.flush()
        telemetry.flush()

        (span,) = server.spans("rotation-artist-backfill.run.totals")
        assert attributes(span) == {
            **{f"backfill.{name}": integer(count) for name, count in TOTALS.items()},
            "backfill.run_id": string(RUN),
            "backfill.dry_run": integer(1),
            "backfill.trigger": string("manual"),
            "backfill.not_found_percent": integer(1),
        }
        assert span["status"] == "ok"

    @pytest.mark.parametrize(
        ("scanned", "not_found", "percent"),
        [
            (0, 0, 0),
            (310, 0, 0),
            (310, 1, 1),
            (100, 1, 1),
            (101, 1, 1),
            (99, 1, 2),
            (60, 1, 2),
            (200, 4, 2),
            (1, 1, 100),
        ],
    )
    def test_the_percentage_is_above_one_exactly_when_the_share_is(
        self, environment, server, scanned, not_found, percent
    ):
        telemetry = environment()

        report(telemetry, {}, totals=TOTALS | {"identities_scanned": scanned, "not_found": not_found})
        telemetry.flush()

        (span,) = server.spans()
        assert attributes(span)["backfill.not_found_percent"] == integer(percent)

    def test_counts_of_every_span_travel_as_integers(self, environment, server):
        telemetry = environment()
        with telemetry.run_span(RUN, "manual", dry_run=True) as headers:
            telemetry.plan_span(ids=310, messages=7, coverage=98.9)
            telemetry.plan_span(ids=0, messages=0, coverage=None)
        deliver(telemetry, headers)
        telemetry.flush()

        (run,) = server.spans("rotation-artist-backfill.run")
        plan, empty = server.spans("rotation-artist-backfill.run.plan")
        (message,) = server.spans("rotation-artist-backfill.message")
        request, _ = server.spans("lml.refresh_for_identities")
        assert attributes(run) == {
            "backfill.run_id": string(RUN),
            "backfill.trigger": string("manual"),
            "backfill.dry_run": integer(1),
        }
        assert attributes(plan) == {
            "backfill.ids": integer(310),
            "backfill.messages": integer(7),
            "backfill.coverage": integer(98),
        }
        assert attributes(empty) == {"backfill.ids": integer(0), "backfill.messages": integer(0)}
        assert attributes(message) == {
            "backfill.run_id": string(RUN),
            "backfill.message": integer(3),
            "backfill.part": integer(1),
            "backfill.ids": integer(50),
            "backfill.receive_count": integer(2),
        }
        assert attributes(request, "lml.") == {
            "lml.batch_size": integer(4),
            "lml.batch_timeout_ms": integer(120_000),
        }

    def test_a_failed_request_says_of_which_kind(self, environment, server):
        telemetry = environment()
        with telemetry.request_span(batch_size=1, timeout_ms=60_000) as request:
            request.failed("permanent_error")
        telemetry.flush()

        (span,) = server.spans()
        assert span["status"] == "error"
        assert attributes(span, "lml.error") == {"lml.error_kind": string("permanent_error")}

    def test_an_error_that_leaves_a_span_marks_it(self, environment, server):
        telemetry = environment()

        with pytest.raises(ZeroDivisionError), telemetry.run_span(RUN, "scheduled", dry_run=False):  # noqa: SIM117 - the order matters
            with telemetry.request_span(batch_size=1, timeout_ms=60_000):
                raise ZeroDivisionError
        telemetry.flush()

        assert [span["status"] for span in server.spans()] == ["error", "error"]

    def test_the_next_invocation_does_not_continue_the_last_ones_trace(self, environment, server):
        telemetry = environment()
        for _ in range(2):
            telemetry.bind(run_id=None)
            with telemetry.run_span(RUN, "scheduled", dry_run=False):
                pass
            deliver(telemetry, {})
            telemetry.event("outside every span", step="refused")
        telemetry.flush()

        roots = [span["trace_id"] for span in server.spans() if "parent_span_id" not in span]
        events = [event["contexts"]["trace"]["trace_id"] for event in server.items("event")]
        assert len(set(roots + events)) == 6

    def test_without_a_dsn_there_are_no_headers_and_no_errors(self, environment, server):
        telemetry = environment(dsn=None)

        with telemetry.run_span(RUN, "scheduled", dry_run=False) as headers:
            telemetry.plan_span(ids=1, messages=1, coverage=None)
        deliver(telemetry, headers)
        telemetry.check_in_open("0" * 32)
        telemetry.check_in_close("0" * 32, ok=True, seconds=1)

        assert headers == {}
        assert telemetry.flush()
        assert server.bodies == []

    def test_the_telemetry_built_last_is_the_one_that_reports(self, environment, server):
        """Also when it reports to nobody."""
        environment()
        telemetry = environment(dsn=None)

        deliver(telemetry, {})
        telemetry.flush()

        assert server.bodies == []

    @pytest.mark.parametrize("headers", [{"sentry-trace": "nonsense"}, {"baggage": "sentry-trace_id=1"}, {"x": ""}])
    def test_headers_that_are_none_begin_a_trace(self, environment, server, headers):
        telemetry = environment()

        deliver(telemetry, headers)
        telemetry.flush()

        assert len({span["trace_id"] for span in server.spans()}) == 1


class TestSampling:
    def test_at_rate_0_nothing_is_sent(self, environment, server):
        telemetry = environment(rate=0.0)

        with telemetry.run_span(RUN, "scheduled", dry_run=False) as headers:
            telemetry.plan_span(ids=1, messages=1, coverage=None)
        deliver(telemetry, headers)
        report(telemetry, headers)

        assert telemetry.flush()
        assert server.bodies == []

    def test_at_a_quarter_runs_and_totals_are_sent_and_messages_by_whole_traces(self, environment, server):
        """The decision about a trace is the same in each environment that works on it."""
        runs = 60
        fan_out = environment(rate=0.25)
        traces = []
        for _ in range(runs):
            with fan_out.run_span(RUN, "scheduled", dry_run=False) as headers:
                traces.append(headers)
        fan_out.flush()
        for _ in range(2):
            refresh = environment(rate=0.25)
            for headers in traces:
                deliver(refresh, headers)
            refresh.flush()
        for headers in traces:
            report(refresh, headers)
        refresh.flush()

        assert len(server.spans("rotation-artist-backfill.run")) == runs
        assert len(server.spans("rotation-artist-backfill.run.totals")) == runs
        messages = [span["trace_id"] for span in server.spans("rotation-artist-backfill.message")]
        requests = [span["trace_id"] for span in server.spans("lml.refresh_for_identities")]
        assert 0 < len(set(messages)) < runs
        assert all(messages.count(trace) == 2 for trace in messages)
        assert all(requests.count(trace) == 4 for trace in messages)
        assert set(requests) == set(messages)

    def test_totals_are_sent_from_a_message_that_is_not(self, environment, server):
        """A close happens inside the last message's span; the headers here say that the trace is not sampled."""
        telemetry = environment(rate=1e-9)
        headers = {"sentry-trace": "5" * 32 + "-" + "6" * 16 + "-0"}

        with telemetry.message_span(headers, run_id=RUN, message=1, part=0, ids=1, receive_count=1):
            report(telemetry, headers)
        telemetry.flush()

        (span,) = server.spans()
        assert (span["name"], span["trace_id"]) == ("rotation-artist-backfill.run.totals", "5" * 32)
        assert span["parent_span_id"] == "6" * 16


class TestEvents:
    def test_events_and_exceptions_carry_tool_run_and_step(self, environment, server):
        telemetry = environment(release="1.2.3")
        telemetry.bind(run_id=RUN)

        telemetry.event("the gate says no", step="refused", level="warning", fingerprint=["gate", RUN], status=404)
        telemetry.exception(ValueError("wrong schema"), step="failed")
        telemetry.flush()

        event, exception = server.items("event")
        assert event["tags"] == {"tool": "rotation-artist-backfill", "run_id": RUN, "step": "refused"}
        assert (event["message"], event["level"]) == ("the gate says no", "warning")
        assert event["fingerprint"] == ["gate", RUN]
        assert event["extra"]["status"] == 404
        assert (event["release"], event["environment"]) == ("1.2.3", "test")
        assert exception["tags"] == {"tool": "rotation-artist-backfill", "run_id": RUN, "step": "failed"}
        assert exception["exception"]["values"][0]["value"] == "wrong schema"

    def test_the_last_runs_id_does_not_reach_the_next_invocation(self, environment, server, capsys):
        telemetry = environment()
        telemetry.bind(run_id=RUN)
        telemetry.info("plan", "planned")
        telemetry.bind(run_id=None)

        telemetry.info("done", "no run here")
        telemetry.event("no run here", step="done")
        telemetry.flush()

        first, second = log_lines(capsys)
        assert first["run_id"] == RUN
        assert "run_id" not in second
        assert server.items("event")[0]["tags"] == {"tool": "rotation-artist-backfill", "step": "done"}

    def test_a_log_line_is_no_event(self, environment, server):
        """What is an event is said by `event` and `exception` alone."""
        telemetry = environment()

        telemetry.error("failed", "as a line")
        logging.getLogger("a.library").error("as a line")
        telemetry.flush()

        assert server.bodies == []

    def test_no_release_is_no_release(self, environment, server, monkeypatch):
        """The SDK would ask git and half a dozen variables."""
        monkeypatch.setenv("SOURCE_VERSION", "guessed")
        telemetry = environment()

        telemetry.event("x", step="done")
        telemetry.flush()

        assert "release" not in server.items("event")[0]

    def test_nothing_tells_of_the_machine(self, environment, server):
        telemetry = environment()

        deliver(telemetry, {})
        telemetry.event("x", step="done")
        telemetry.flush()

        assert "process.command_args" not in server.text()
        (event,) = server.items("event")
        assert event["server_name"] == "rotation-artist-backfill"
        servers = {span["attributes"]["server.address"]["value"] for span in server.spans()}
        assert servers == {"rotation-artist-backfill"}


class TestCheckIns:
    def test_a_check_in_opens_and_closes_with_its_monitor(self, environment, server):
        telemetry = environment()

        check_in = uuid4().hex
        telemetry.check_in_open(check_in)
        telemetry.check_in_close(check_in, ok=True, seconds=90.5)
        telemetry.check_in_close(check_in, ok=False, seconds=None)
        telemetry.flush()

        opened, closed, failed = server.items("check_in")
        assert [item["status"] for item in (opened, closed, failed)] == ["in_progress", "ok", "error"]
        assert {item["check_in_id"] for item in (opened, closed, failed)} == {check_in}
        assert {item["monitor_slug"] for item in (opened, closed, failed)} == {"rotation-artist-backfill"}
        assert closed["duration"] == 90.5
        assert opened["monitor_config"] == {
            "schedule": {"type": "crontab", "value": SCHEDULE.crontab},
            "timezone": SCHEDULE.time_zone,
            "checkin_margin": CHECK_IN_MARGIN,
            "max_runtime": LONGEST_ON_TIME,
        }


def emf_lines(capsys):
    """Return what CloudWatch takes for metrics, after checking it against the EMF specification."""
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    found = [line for line in lines if "_aws" in line]
    for line in found:
        assert abs(line["_aws"]["Timestamp"] / 1000 - time.time()) < 60
        (directive,) = line["_aws"]["CloudWatchMetrics"]
        assert directive["Namespace"] == "RotationArtistBackfill"
        (dimensions,) = directive["Dimensions"]
        assert all(isinstance(line[name], str) for name in dimensions)
        assert 1 <= len(directive["Metrics"]) <= 100
        for metric in directive["Metrics"]:
            values = line[metric["Name"]]
            assert 1 <= len(values) <= 100
            assert all(type(value) is float for value in values)
    return found


def units(line):
    return {metric["Name"]: metric["Unit"] for metric in line["_aws"]["CloudWatchMetrics"][0]["Metrics"]}


def dimensions(line):
    (names,) = line["_aws"]["CloudWatchMetrics"][0]["Dimensions"]
    return {name: line[name] for name in names}


class TestMetrics:
    def test_a_scheduled_run_reports_its_accounts_under_one_dimension(self, environment, capsys):
        report(environment(), {})

        (line,) = emf_lines(capsys)
        assert dimensions(line) == {"service": "rotation-artist-backfill"}
        assert {name: line[name] for name in units(line)} == {
            "IdentitiesScanned": [300],
            "IdentitiesResolved": [298],
            "WarmedReleases": [250],
            "WarmedArtists": [700],
            "NotFound": [3],
            "NotImplemented": [1],
            "LmlError": [2],
            "NotAttempted": [10],
            "WarmedWithoutArtists": [20],
            "RunSeconds": [12.5],
            "RunCompleted": [1],
        }
        assert units(line) == dict.fromkeys(units(line), "Count") | {"RunSeconds": "Seconds"}
        assert line["run_id"] == RUN

    @pytest.mark.parametrize(
        ("trigger", "dry_run"), [("manual", False), ("manual", True), ("scheduled", True)], ids=str
    )
    def test_manual_and_dry_runs_are_kept_from_the_alarms(self, environment, capsys, trigger, dry_run):
        report(environment(), {}, trigger=trigger, dry_run=dry_run)

        (line,) = emf_lines(capsys)
        assert dimensions(line) == {"service": "rotation-artist-backfill", "trigger": trigger}

    def test_a_stopped_run_is_not_completed(self, environment, capsys):
        report(environment(), {}, completed=False, run_seconds=None)

        (line,) = emf_lines(capsys)
        assert line["RunCompleted"] == [0]
        assert "RunSeconds" not in line

    def test_a_replay_by_hand_is_reported_without_a_run(self, environment, server, capsys):
        telemetry = environment()

        report(telemetry, {}, run_id=None, trigger="manual")
        telemetry.flush()

        (line,) = emf_lines(capsys)
        assert "run_id" not in line
        assert "backfill.run_id" not in server.spans()[0]["attributes"]

    def test_metrics_of_any_time_go_out_at_the_flush(self, environment, capsys):
        telemetry = environment()
        telemetry.metric("LmlRequestMillis", 340)
        telemetry.metric("LmlRequestMillis", 120)
        telemetry.metric("PacingWaitMillis", 15_000)
        telemetry.metric("IdentityCoveragePercent", 99.35)
        telemetry.metric("DiscogsCallsEstimated", 4)
        telemetry.metric("RunRefused", 1)
        telemetry.metric("DeadLettered", 1)
        before = emf_lines(capsys)

        telemetry.flush()
        telemetry.flush()

        (line,) = emf_lines(capsys)
        assert before == []
        assert dimensions(line) == {"service": "rotation-artist-backfill"}
        assert line["LmlRequestMillis"] == [340, 120]
        assert line["IdentityCoveragePercent"] == [99.35]
        assert units(line) == {
            "LmlRequestMillis": "Milliseconds",
            "PacingWaitMillis": "Milliseconds",
            "IdentityCoveragePercent": "Percent",
            "DiscogsCallsEstimated": "Count",
            "RunRefused": "Count",
            "DeadLettered": "Count",
        }

    def test_metrics_of_a_delivery_say_which_part_they_are_of(self, environment, capsys):
        """The report draws from these lines; the next invocation of a warm environment does not inherit the facts."""
        telemetry = environment()
        before = time.time()
        with telemetry.message_span({}, run_id=RUN, message=3, part=1, ids=50, receive_count=2):
            for millis in range(150):
                telemetry.metric("LmlRequestMillis", millis)
        telemetry.flush()
        with telemetry.message_span({}, run_id=RUN, message=4, part=0, ids=50, receive_count=1):
            pass
        telemetry.flush()
        telemetry.metric("RunRefused", 1)
        telemetry.flush()

        *lines, last = emf_lines(capsys)
        assert [(line["run_id"], line["message"], line["part"]) for line in lines] == [(RUN, 3, 1)] * 2
        assert all(before <= line["began"] <= time.time() for line in lines)
        assert {tuple(dimensions(line)) for line in lines} == {("service",)}
        assert not {"run_id", "message", "part", "began"} & last.keys()

    def test_a_flush_without_metrics_writes_nothing(self, environment, capsys):
        assert environment().flush()
        assert capsys.readouterr().out == ""

    def test_no_line_holds_more_values_than_cloudwatch_takes(self, environment, capsys):
        telemetry = environment()
        for millis in range(250):
            telemetry.metric("LmlRequestMillis", millis)
        telemetry.flush()

        lines = emf_lines(capsys)
        assert [value for line in lines for value in line["LmlRequestMillis"]] == list(range(250))
        assert {tuple(dimensions(line)) for line in lines} == {("service",)}


def log_lines(capsys):
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


class TestLogs:
    @pytest.mark.parametrize("level", ["info", "warning", "error"])
    def test_a_line_is_one_json_object_with_step_run_and_tool(self, environment, capsys, level):
        telemetry = environment()
        telemetry.bind(run_id=RUN)

        getattr(telemetry, level)("handed_on", "two\nlines", part_number=3, rest=[17, 18], why=ValueError("x"))

        (line,) = log_lines(capsys)
        assert (line["step"], line["run_id"], line["tool"]) == ("handed_on", RUN, "rotation-artist-backfill")
        assert (line["level"], line["message"]) == (level.upper(), "two\nlines")
        assert (line["part_number"], line["rest"], line["why"]) == (3, [17, 18], "x")
        assert line["timestamp"].endswith("+00:00")
        assert line["location"].startswith("test_a_line_is_one_json_object_with_step_run_and_tool:")

    def test_a_second_telemetry_in_the_process_does_not_double_lines(self, environment, capsys):
        for _ in range(3):
            telemetry = environment()

        telemetry.info("done", "once")

        assert len(log_lines(capsys)) == 1

    def test_lines_do_not_reach_the_root_logger_as_well(self, environment, capsys):
        """Lambda puts a handler of its own there."""
        root = logging.StreamHandler(sys.stdout)
        logging.root.addHandler(root)
        try:
            environment().info("done", "once")
        finally:
            logging.root.removeHandler(root)

        assert len(log_lines(capsys)) == 1


class TestSecrets:
    def test_no_secret_leaves_the_process(self, environment, server, capsys):
        """In an error's text and causes, in local variables, in fields, in attributes, known and unknown ones."""
        fetched = {"unshaped-marker-1"}
        telemetry = environment(secrets=fetched)
        fetched.add("late/marker+2")
        dsn, bearer = server.dsn, "Bearer bearer-marker-3"
        database = "postgresql://user:pa:ss-marker-4@db.test/x and password=marker-5"
        texts = f"unshaped-marker-1, late/marker+2, {dsn}, {bearer}, {database}"
        telemetry.bind(run_id=RUN)

        def fail():
            word = str.format("local-{}", "marker-6")  # so that the source line, which is sent, does not hold it
            raise ValueError(texts, len(word))

        try:
            with telemetry.message_span({}, run_id=texts, message=1, part=0, ids=1, receive_count=1):
                try:
                    fail()
                except ValueError as cause:
                    raise RuntimeError(f"while: {texts}") from cause
        except RuntimeError as error:
            telemetry.exception(error, step="failed")
            telemetry.error("failed", f"it says {error}", error=error, nested={"a": [texts]})
            telemetry.event(texts, step="failed", fingerprint=[texts], detail=texts)
        telemetry.flush()

        markers = ["unshaped-marker-1", "late/marker+2", KEY, "bearer-marker-3", "ss-marker-4", "marker-5"]
        for left in (server.text(), capsys.readouterr().out):
            assert "db.test" in left
            assert [marker for marker in (*markers, "local-marker-6") if marker in left] == []

    def test_queue_and_ledger_get_no_part_of_the_dsn_and_sentry_gets_its_key_back(self, environment, server):
        fan_out = environment()
        with fan_out.run_span(RUN, "scheduled", dry_run=False) as headers:
            pass
        fan_out.flush()
        refresh = environment()
        report(refresh, headers)
        refresh.flush()

        assert set(headers) == {"sentry-trace", "baggage"}
        assert KEY not in str(headers)
        traces = [header["trace"] for header, _ in server.envelopes()]
        assert [trace["public_key"] for trace in traces] == [KEY, KEY]
        assert {trace["trace_id"] for trace in traces} == {headers["sentry-trace"].split("-")[0]}

    def test_a_short_known_value_is_no_secret(self, environment, capsys):
        """A developer's API key may be `test`."""
        environment(secrets=["test"]).info("done", "a test")

        assert log_lines(capsys)[0]["message"] == "a test"


class TestFlush:
    def test_what_was_reported_has_arrived_when_the_flush_returns(self, environment, server):
        """Lambda freezes the process right after it."""
        telemetry = environment()
        for reported in range(1, 51):
            report(telemetry, {})
            assert telemetry.flush()
            assert len(server.spans()) == reported

    def test_a_hanging_sentry_costs_two_seconds_and_a_warning(self, environment, server, capsys):
        telemetry = environment()
        server.released.clear()
        report(telemetry, {})
        telemetry.event("x", step="done")

        started = time.monotonic()
        took_all = telemetry.flush()
        seconds = time.monotonic() - started

        assert not took_all
        assert seconds < 2.2
        warning = log_lines(capsys)[-1]
        assert (warning["level"], warning["step"]) == ("WARNING", "done")
        assert "Sentry" in warning["message"]

    def test_a_request_that_hangs_does_not_hold_up_the_next_invocation(self, environment, server):
        telemetry = environment()
        hanging = server.released
        hanging.clear()
        report(telemetry, {})
        assert not telemetry.flush()
        server.released = threading.Event()
        server.released.set()

        report(telemetry, {})
        started = time.monotonic()
        telemetry.flush()

        assert time.monotonic() - started < 1
        assert len(server.spans()) == 1
        hanging.set()

    def test_no_connection_outlives_an_invocation(self, environment, server):
        """It would be dead when Lambda thaws the environment, and what is sent over it lost."""
        telemetry = environment()
        for _ in range(2):
            telemetry.event("one", step="done")
            telemetry.event("two", step="done")
            telemetry.flush()

        first, second, third, fourth = server.connections
        assert first == second
        assert third == fourth
        assert second != third

    @pytest.mark.parametrize("status", [413, 429, 500, 302])
    def test_a_refusing_sentry_is_a_warning(self, environment, server, capsys, status):
        telemetry = environment()
        server.status = status
        report(telemetry, {})

        started = time.monotonic()
        assert not telemetry.flush()

        assert time.monotonic() - started < 1
        assert log_lines(capsys)[-1]["level"] == "WARNING"

    def test_what_is_held_back_while_sentry_limits_us_is_a_warning_too(self, environment, server):
        telemetry = environment()
        server.status = 429
        report(telemetry, {})
        telemetry.flush()
        server.status = 200

        report(telemetry, {})

        assert not telemetry.flush()
        assert server.bodies == []

    def test_a_sentry_that_nobody_answers_for_is_a_warning(self, environment, capsys):
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            dsn = f"http://{KEY}@127.0.0.1:{free.getsockname()[1]}/42"
        telemetry = environment(dsn=dsn)
        report(telemetry, {})

        started = time.monotonic()
        assert not telemetry.flush()

        assert time.monotonic() - started < 2.2
        assert log_lines(capsys)[-1]["level"] == "WARNING"

    def test_after_a_failed_flush_the_next_one_is_judged_on_its_own(self, environment, server):
        telemetry = environment()
        server.status = 500
        report(telemetry, {})
        assert not telemetry.flush()
        server.status = 200

        report(telemetry, {})

        assert telemetry.flush()
        assert len(server.spans()) == 1

    def test_the_process_ends_though_sentry_hangs(self, server):
        server.released.clear()
        script = textwrap.dedent("""
            import sys
            from core.environment import Secret
            from core.settings import Sentry
            from core.telemetry import Telemetry
            dsn = Secret("SENTRY_DSN", sys.argv[1], fetch=lambda arn, force: "")
            telemetry = Telemetry(Sentry(dsn=dsn, release=None, environment="test", traces_sample_rate=1.0))
            with telemetry.request_span(batch_size=1, timeout_ms=1):
                pass
            telemetry.event("never taken", step="done")
        """)
        done = subprocess.run(  # noqa: S603 - this interpreter
            [sys.executable, "-c", script, server.dsn],
            capture_output=True,
            timeout=20,
            check=True,
            env={name: value for name, value in os.environ.items() if "proxy" not in name.lower()},
        )

        assert (done.stdout, done.stderr) == (b"", b"")


class TestBadDsn:
    @pytest.mark.parametrize(
        "dsn",
        [
            "key-marker",
            "https://sentry.test/1",
            "https://key-marker@sentry.test/project-marker",
            "ftp://key-marker@sentry.test/1",
            "https://key-marker@sentry.test:port-marker/1",
            "https://key-marker@[sentry.test/1",
        ],
    )
    def test_a_malformed_dsn_is_a_warning_that_does_not_show_it(self, environment, server, capsys, dsn):
        telemetry = environment(dsn=dsn)

        deliver(telemetry, {})

        (line,) = log_lines(capsys)
        assert (line["level"], line["step"]) == ("WARNING", "init")
        assert "SENTRY_DSN" in line["message"]
        assert "marker" not in json.dumps(line)
        assert telemetry.flush()
        assert server.bodies == []

    def test_a_dsn_that_cannot_be_fetched_is_a_warning(self, environment, capsys):
        telemetry = environment.start(Secret("SENTRY_DSN", arn="arn:marker", fetch=_unfetchable))

        (line,) = log_lines(capsys)
        assert (line["level"], line["error"]) == ("WARNING", "PermissionError")
        assert "marker" not in json.dumps(line)
        assert telemetry.flush()


def test_every_metric_that_the_code_adds_is_listed_with_its_unit_and_no_other_is():
    source = "".join(path.read_text(encoding="utf-8") for path in (ROOT / "src").rglob("*.py"))
    added = set(re.findall(r'\.metric\(\s*"(\w+)"', source))

    assert added | {"RunSeconds", "RunCompleted", *map(metric_of, ACCOUNTS)} == METRICS.keys()


def test_a_metric_that_is_not_listed_is_refused_instead_of_being_counted_in_some_unit(environment):
    telemetry = environment()

    with pytest.raises(KeyError):
        telemetry.metric("NotListed", 2.5)
