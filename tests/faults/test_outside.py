"""What goes wrong outside, over real connections: whatever it is, the accounts are exact and say why."""

import os
import ssl
from contextlib import contextmanager
from pathlib import Path

import httpx
import msgspec
import pytest
from pg8000 import native

from core import settings
from core.rotation import table as rotation
from core.rotation.table import DatabaseError
from core.telemetry import Telemetry
from local import cluster, postgres, sentry, serve
from tests.integration.accounts import IDS, SCHEDULED, WORLD, Rows, secret
from tests.wire import Wire, reply, self_signed

pytest_plugins = ("tests.integration.fixtures",)

FEW = IDS[:6]


@pytest.fixture
def few(book):
    """Start a run of one message with six ids, on a clock with which a minute is a moment; returns its id."""
    book.clock.speed = 1000
    return str(book.start({"identity_ids": FEW})["run_id"])


# LML

PASSING = {
    "503": {"status": 503},
    "503, come back later": {"status": 503, "headers": {"retry-after": "30"}},
    "429": {"status": 429, "headers": {"retry-after": "60"}},
    "garbage": {"status": 200, "body": "<html>Railway</html>"},
    "another shape": {"status": 200, "body": '{"results": [7, null, {"identity_id": "no"}]}'},
    "half a body, then silence": {"half": True},
    "reset before the work": {"reset": "before"},
    "reset after the work": {"reset": "after"},
    "redirect": {"status": 302, "headers": {"location": "http://127.0.0.1:1/"}},
    "seventeen megabytes": {"padding": 17 * 2**20},
}


@pytest.mark.parametrize("fault", PASSING.values(), ids=PASSING)
def test_a_fault_that_passes_costs_a_request_and_no_identity(book, few, fault):
    book.lml.fault(path="refresh", times=2, **fault)

    book.deliver_all()

    assert book.run(few).status == "complete"
    book.assert_balanced(few)
    book.assert_world(FEW, few)
    assert set(book.lml.asked_for()) == set(FEW)
    assert book.totals(few)["retries"] > 0
    assert book.totals(few)["lml_requests"] == sum(1 for ids in book.lml.asked() if ids)


def test_ten_megabytes_around_an_answer_are_an_answer(book, few):
    book.lml.fault(path="refresh", padding=10 * 2**20)

    book.deliver_all()

    book.assert_world(FEW, few)
    assert book.totals(few)["retries"] == 0


@pytest.mark.parametrize("fault", ["503", "garbage", "reset before the work", "redirect"])
def test_a_fault_that_stays_is_an_error_of_each_identity_after_three_attempts(book, few, fault):
    book.lml.fault(path="refresh", times=None, ids=[FEW[0]], **PASSING[fault])

    book.deliver_all(to=book.consumer_with(slice_max=1))

    book.assert_balanced(few)
    assert (book.totals(few)["identities_resolved"], book.totals(few)["lml_error"]) == (5, 1)
    assert set(book.message(0, few).failed) == {FEW[0]}
    assert book.lml.asked_for().count(FEW[0]) == 3


def test_a_certificate_that_nobody_vouches_for_gets_no_key_and_no_ids(book, tmp_path, monkeypatch):
    run_id = str(book.start({"identity_ids": FEW[:1]})["run_id"])
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(self_signed(tmp_path))
    with Wire(reply(200), tls=context) as wire:
        monkeypatch.setattr(book.lml, "url", wire.url)
        book.deliver_all(to=book.consumer_with(key="of-this-test"))

    assert wire.requests == []
    book.assert_balanced(run_id)
    assert "CERTIFICATE_VERIFY_FAILED" in book.message(0, run_id).failed[FEW[0]]


def test_a_wrong_key_ends_the_run_before_any_identity_is_asked_for(book):
    book.start(SCHEDULED)

    book.deliver_all(to=book.consumer_with(key="wrong"))

    book.assert_balanced()
    assert (book.run().status, book.totals()["not_attempted"]) == ("stopped", len(IDS))
    assert book.lml.asked_for() == []


# PostgreSQL


ours = pytest.mark.skipif("DATABASE_URL" in os.environ, reason="a borrowed server is not for breaking")


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    server = postgres.start(tmp_path_factory.mktemp("faulty"))
    yield server
    postgres.stop(server)


@contextmanager
def changed(server, breaks, mends):
    """Change something as the backend's people might, and change it back."""
    with postgres.connected(server) as owner:
        owner.run(breaks)
    try:
        yield
    finally:
        with postgres.connected(server) as owner:
            owner.run(mends)


@contextmanager
def locked(server):
    """Hold the table as a migration does."""
    with postgres.connected(server) as owner:
        owner.run("BEGIN")
        owner.run(f"LOCK TABLE {native.identifier(server.schema)}.rotation")
        yield
        owner.run("ROLLBACK")


@contextmanager
def stopped(server):
    pg_ctl(server, "stop")
    try:
        yield
    finally:
        pg_ctl(server, "start")


def pg_ctl(server, command):
    home = Path(server.home)
    options = {"stop": ["-m", "immediate"], "start": ["-l", str(home / "log"), "-o", f"-p {server.port}"]}
    arguments = ["-w", "-D", str(home / "data"), *options[command]]
    cluster.run([f"{server.binaries}/pg_ctl", command, *arguments], home)


def broken(server, what):
    table = f"{native.identifier(server.schema)}.rotation"
    match what:
        case "stopped":
            return stopped(server)
        case "locked":
            return locked(server)
        case "column":
            rename = f"ALTER TABLE {table} RENAME COLUMN"
            return changed(server, f"{rename} lml_identity_id TO gone", f"{rename} gone TO lml_identity_id")
        case _:
            grant = f"SELECT ON {table}"
            return changed(server, f"REVOKE {grant} FROM {server.user}", f"GRANT {grant} TO {server.user}")


@ours
@pytest.mark.parametrize(
    ("what", "reported"),
    [
        ("stopped", "Connection refused"),
        ("locked", "DB_STATEMENT_TIMEOUT_MS"),
        ("column", "migrations"),
        ("grant", "grant the role"),
    ],
)
def test_without_the_rotation_a_run_fails_and_its_retry_completes(book, server, what, reported):
    rows = Rows(server)
    rows.hold(WORLD)
    book.rows = rows
    rows.settings = msgspec.structs.replace(rows.settings, statement_timeout_ms=200)
    with broken(server, what), pytest.raises(DatabaseError):
        book.start(SCHEDULED, request_id="r")

    assert book.run().status == "failed"
    assert reported in book.run().reason
    assert book.waiting() == []
    assert book.ledger.lock.holder(book.clock.utc()) is None

    book.start(SCHEDULED, request_id="r")
    book.deliver_all()
    book.assert_balanced()
    book.assert_world()


@ours
def test_a_server_that_restarts_between_two_pages_plans_nothing(book, server, monkeypatch):
    """Else the pages after the restart would be missing, and the run would look complete."""
    monkeypatch.setattr(rotation, "PAGE_SIZE", 20)
    book.rows = Rows(server)
    book.rows.hold(WORLD)

    def restart():
        with stopped(server):
            pass

    with book.sdk.interrupted("BatchWriteItem", restart), pytest.raises(DatabaseError):
        book.start(SCHEDULED, request_id="r", batch_size=1)
    assert (book.run().status, book.waiting()) == ("failed", [])

    book.start(SCHEDULED, request_id="r")
    book.deliver_all()
    book.assert_balanced()
    book.assert_world()


# SQS


def test_a_batch_that_is_taken_in_part_is_sent_whole_and_once(book):
    """SQS takes the second message only at the second try, and says so as it really does."""
    tries = []

    def hold_back(params, **_):
        tries.append([entry["Id"] for entry in params["Entries"]])
        if len(tries) == 1:
            params["Entries"] = [entry for entry in params["Entries"] if entry["Id"] != "1"]

    def complain(parsed, **_):
        if len(tries) == 1:
            parsed["Failed"] = [{"Id": "1", "SenderFault": False, "Code": "InternalError"}]

    events = book.sqs.meta.events
    events.register("before-parameter-build.sqs.SendMessageBatch", hold_back)
    events.register("after-call.sqs.SendMessageBatch", complain)
    book.start(SCHEDULED)
    events.unregister("before-parameter-build.sqs.SendMessageBatch", hold_back)
    events.unregister("after-call.sqs.SendMessageBatch", complain)

    assert tries == [["0", "1", "2"], ["1"]]
    assert len(book.waiting()) == 3
    book.deliver_all()
    book.assert_balanced()
    book.assert_world()
    asked = book.lml.asked_for()
    assert list(dict.fromkeys(asked)) == IDS
    assert len(asked) == len(IDS) + book.totals()["warmed_without_artists"]  # what is in doubt, once more


# Sentry


@pytest.mark.parametrize("fault", [{"hang": 30}, {"status": 503}, {"status": 429, "headers": {"retry-after": "60"}}])
def test_a_sentry_that_hangs_or_refuses_costs_seconds_and_no_account(book, fault):
    with serve.in_thread(sentry.build()) as url:
        httpx.post(f"{url}/_faults", json=[fault | {"times": None}]).raise_for_status()
        config = settings.Sentry(
            dsn=secret("SENTRY_DSN", sentry.dsn(url)), release=None, environment="test", traces_sample_rate=1.0
        )
        book.lifecycle = msgspec.structs.replace(book.lifecycle, telemetry=Telemetry(config))
        book.store = msgspec.structs.replace(book.store, lifecycle=book.lifecycle)
        book.start(SCHEDULED)
        book.deliver_all(to=book.consumer_with())

    book.assert_balanced()
    book.assert_world()


# Clocks


@pytest.mark.parametrize("seconds", [-3600, -90, 90, 3600], ids="{:+} s".format)
def test_a_clock_that_is_set_between_two_parts_costs_nothing_but_time(book, seconds):
    run_id = str(book.start({"identity_ids": FEW})["run_id"])
    book.lml.fault(path="refresh", ids=[FEW[1]], status=429, headers={"Retry-After": "90"})
    book.deliver(timeout=81)
    assert book.run(run_id).status == "running"

    book.clock.advance(seconds)

    book.deliver_all()
    book.assert_balanced(run_id)
    book.assert_world(FEW, run_id)
