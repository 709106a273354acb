"""Whole runs on real parts: the deployed template, PostgreSQL, LML over HTTP, and what Sentry and EMF receive."""

import json
from collections import Counter
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from itertools import count
from pathlib import Path

import httpx
import msgspec
import pytest

from core.runs.ledger import open_ledger
from core.runs.totals import REPORTED_TOTALS
from local import cloud, sentry
from local.cloud import Options
from local.world import World
from tests.eventually import eventually

_firings = count()


@pytest.fixture
def moment():
    """A time at which the schedule has not fired yet in this cloud."""
    return datetime(2026, 3, 1, 4, 30, tzinfo=UTC) + timedelta(days=next(_firings))


def ledger_of(running):
    return open_ledger(running.client("dynamodb"), running.names["LedgerTable"])


def closed(running, run_id):
    """The run, once it has ended and its totals are reported."""

    def look():
        assert not running.problems()
        run = ledger_of(running).runs.read(run_id)
        return run if run and run.emitted_at else None

    return eventually(look)


def start(running, event):
    """Invoke fan-out and wait for its answer."""
    answer = running.client("lambda").invoke(
        FunctionName=running.names["FanOutFunction"], Payload=json.dumps(event).encode()
    )
    return json.loads(answer["Payload"].read())


def run_id_of(moment):
    return f"scheduled-{moment:%Y-%m-%dT%H:%M:%SZ}"


def asked(running):
    """How often LML was asked for each id, ever."""
    calls = msgspec.json.decode(httpx.get(f"{running.lml_url}/_calls").content)
    return Counter(identity for call in calls for identity in call["ids"])


def envelopes(running):
    return sentry.decode(httpx.get(f"{running.sentry_url}/_envelopes").content)


def totals_spans(running, run_id):
    spans = sentry.spans(envelopes(running))
    return [s for s in spans if s.name.endswith("run.totals") and s.attributes.get("backfill.run_id") == run_id]


def test_a_run_counts_what_the_world_holds_and_reports_it_once(running_cloud, moment):
    """Ledger, LML's log, Sentry and CloudWatch agree on the numbers that the seeded world implies."""
    world = World.load(_world_file(running_cloud))
    before = asked(running_cloud)

    running_cloud.fire(moment)
    run = closed(running_cloud, run_id_of(moment))

    expected = world.expected(world.identity_ids())
    seven = {name: getattr(run.totals, name) for name in REPORTED_TOTALS}
    assert seven == {name: expected[name] for name in REPORTED_TOTALS}
    assert (run.status, run.planned) == ("complete", len(world.identity_ids()))
    assert set(asked(running_cloud) - before) == set(world.identity_ids())
    assert ledger_of(running_cloud).lock.holder(datetime.now(UTC)) is None
    (span,) = totals_spans(running_cloud, run.run_id)
    assert {name: span.attributes[f"backfill.{name}"] for name in seven} == seven
    assert {span.wire[f"backfill.{name}"].type for name in REPORTED_TOTALS} == {"integer"}
    (line,) = eventually(lambda: _emf(running_cloud, run.run_id))
    assert line["IdentitiesScanned"] == [run.planned]
    assert line["RunCompleted"] == [1]


def test_a_schedule_that_fires_twice_is_one_run(running_cloud, moment):
    before = asked(running_cloud)

    running_cloud.fire(moment)
    running_cloud.fire(moment)
    run = closed(running_cloud, run_id_of(moment))
    again = start(running_cloud, {"scheduled_time": moment.isoformat()})

    assert again["outcome"] == "already_complete"
    assert "force" in again["hint"]
    assert (
        sum((asked(running_cloud) - before).values()) == run.planned + run.totals.warmed_without_artists
    )  # what is in doubt is asked for once more
    assert len(totals_spans(running_cloud, run.run_id)) == 1


def test_a_complete_run_runs_again_when_it_is_forced(running_cloud, moment):
    running_cloud.fire(moment)
    closed(running_cloud, run_id_of(moment))

    answer = start(running_cloud, {"scheduled_time": moment.isoformat(), "force": True})
    run = closed(running_cloud, answer["run_id"])

    assert answer["outcome"] == "started"
    assert (run.trigger, run.status) == ("manual", "complete")
    assert run.totals.identities_scanned == run.planned == answer["planned"]


def test_the_same_message_delivered_again_counts_once(running_cloud, moment):
    running_cloud.fire(moment)
    run = closed(running_cloud, run_id_of(moment))
    before = asked(running_cloud)
    body = {"version": 1, "run_id": run.run_id, "message": 0, "part": 0, "identity_ids": [1], "failed": {}}

    sqs = running_cloud.client("sqs")
    sqs.send_message(QueueUrl=running_cloud.names["RefreshQueue"], MessageBody=json.dumps(body))
    eventually(lambda: any("message ignored" in str(line) for line in running_cloud.logs("RefreshFunction")))

    assert ledger_of(running_cloud).runs.read(run.run_id) == run
    assert asked(running_cloud) == before


def test_a_dry_run_counts_and_asks_lml_nothing(running_cloud):
    before = msgspec.json.decode(httpx.get(f"{running_cloud.lml_url}/_calls").content)

    answer = start(running_cloud, {"dry_run": True})

    assert answer["outcome"] == "dry_run"
    assert answer["planned"] == len(World.load(_world_file(running_cloud)).identity_ids())
    assert msgspec.json.decode(httpx.get(f"{running_cloud.lml_url}/_calls").content) == before
    assert ledger_of(running_cloud).runs.read(answer["run_id"]) is None
    (span,) = eventually(lambda: totals_spans(running_cloud, answer["run_id"]))
    assert span.attributes["backfill.identities_scanned"] == answer["planned"]
    assert span.attributes["backfill.dry_run"] == 1


def test_ids_by_hand_are_a_run_of_their_own(running_cloud):
    """No lock, no check-in, and none of the alarms' metrics."""
    ids = World.load(_world_file(running_cloud)).identity_ids()[:3]

    answer = start(running_cloud, {"identity_ids": ids})
    run = closed(running_cloud, answer["run_id"])

    assert (run.trigger, run.status, run.totals.identities_scanned) == ("manual", "complete", 3)
    (line,) = eventually(lambda: _emf(running_cloud, run.run_id))
    assert line["_aws"]["CloudWatchMetrics"][0]["Dimensions"] == [["service", "trigger"]]


def test_a_message_without_a_body_that_fits_is_parked_with_its_reason(running_cloud):
    sqs = running_cloud.client("sqs")
    sqs.send_message(QueueUrl=running_cloud.names["RefreshQueue"], MessageBody='{"version": 2}')

    def parked():
        """What other tests have parked is theirs."""
        answer = sqs.receive_message(
            QueueUrl=running_cloud.names["ParkedQueue"], MessageAttributeNames=["All"], MaxNumberOfMessages=10
        )
        return next((it for it in answer.get("Messages", []) if it["Body"] == '{"version": 2}'), None)

    message = eventually(parked)
    sqs.delete_message(QueueUrl=running_cloud.names["ParkedQueue"], ReceiptHandle=message["ReceiptHandle"])

    assert "not a refresh message" in message["MessageAttributes"]["reason"]["StringValue"]


@pytest.mark.parametrize("concurrency", [2, pytest.param(3, marks=pytest.mark.long)])
def test_lml_never_sees_more_requests_at_once_than_the_parameter_says(tmp_path, concurrency):
    """With ten messages waiting and a budget that would let all of them through."""
    world = World.seeded(20, warm=True).without_tombstones()  # which would be asked for again a minute later
    settings = {
        "BACKFILL_LML_BATCH_SIZE": "2",
        "REFRESH_SLICE_MAX": "1",
        "DISCOGS_BUDGET_PER_MINUTE": "30",
    }
    options = Options(world=world, speed=20, settings=settings, parameters={"RefreshConcurrency": str(concurrency)})
    with _running(options, tmp_path / "cloud") as running:
        hold = [{"path": "refresh", "hold": True, "times": None}]
        httpx.post(f"{running.lml_url}/_faults", json=hold).raise_for_status()
        moment = datetime(2026, 3, 1, 4, 30, tzinfo=UTC)
        running.fire(moment)

        eventually(lambda: _stats(running)["held"] == concurrency)
        httpx.post(f"{running.lml_url}/_reset").raise_for_status()
        run = closed(running, run_id_of(moment))

        assert run.messages_planned == 10
        assert run.totals.identities_scanned == 20
        assert _stats(running)["in_flight_most"] == concurrency


@contextmanager
def _running(options, directory):
    running = cloud.start(options, directory, print)
    try:
        yield running
    finally:
        cloud.stop(running)


def _stats(running):
    return msgspec.json.decode(httpx.get(f"{running.lml_url}/_stats").content)


def _emf(running, run_id):
    return [x for x in running.logs("RefreshFunction") if x.get("run_id") == run_id and "IdentitiesScanned" in x]


def _world_file(running):
    return Path(running.directory) / "world.json"
