"""The picker as one process over HTTP: what DJs feel of a walk, and what the commands show."""

import json
import os
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path
from statistics import quantiles

import httpx
import pytest
from rich.console import Console

from core.clock import SystemClock
from core.picker.warm import SUBSYSTEM
from local import cloud
from local.cloud import Options
from local.process import end
from local.world import World
from ops import picker as served
from ops.bench import picker as bench
from tests.eventually import eventually
from tests.integration.picking import KEY, RELEASE, TABLE

pytest_plugins = ("tests.integration.picking_fixtures",)

SPEED = 4.0
DJS, READS = 3, 12
PARAMETERS = {"PickerState": "ENABLED", "PickerJwtIssuer": "https://issuer.example/", "PickerJwtAudience": "catalog"}


@pytest.fixture
def environment(station, lml):
    return {**station.environment, "LIBRARY_METADATA_URL": lml.url, "LML_API_KEY": KEY, "LOCAL_DEV": "1"}


def test_requests_and_the_health_check_are_answered_while_the_walk_is_stuck(station, lml, environment, tmp_path):
    lml.says("release", RELEASE, ids=[11], hold=True)
    lml.says("release", RELEASE)
    station.row(release=11)
    other = station.row(release=12)

    process, url = served.start(environment, tmp_path)
    try:
        eventually(lambda: lml.held() == 1)
        with httpx.Client(base_url=url) as dj:
            assert dj.get("/health").json() == {"status": "healthy"}
            assert dj.get(f"/library/rotation/{other}/tracks").json()[0]["title"] == "Opening Balance"
            assert dj.get("/library/rotation/1.5/tracks").status_code == 400
            assert dj.post(f"/library/rotation/{other}/tracks").status_code == 405
    finally:
        end([process])


def test_the_picker_is_served_while_its_database_is_away(environment, tmp_path):
    """The walk fails, is told, and the server goes on."""
    process, url = served.start(environment | {"DB_PORT": "1"}, tmp_path)
    try:
        eventually(lambda: "the warm-up failed" in Path(process.log).read_text())
        assert httpx.get(f"{url}/health").status_code == 200
        assert httpx.get(f"{url}/library/rotation/7/tracks").status_code == 500
    finally:
        end([process])


# DJs during a walk


def cold_reads(picker, rows):
    """Let some DJs open cold rows, 40 a minute together; returns the p95 of what they waited, in paced seconds.

    The first read of each is left out: it opens a connection to LML.
    """
    pause = threading.Event()
    clock = picker.clock

    def read(mine):
        seconds = []
        for row in mine:
            began = clock.pace()
            assert picker.resolver.tracks(row)
            seconds.append(clock.pace() - began)
            pause.wait(clock.wall(3.5))
        return seconds[1:]

    with ThreadPoolExecutor(DJS) as djs:
        reads = [djs.submit(read, rows[dj::DJS]) for dj in range(DJS)]
        return quantiles((seconds for each in reads for seconds in each.result()), n=20, method="inclusive")[-1]


@pytest.fixture
def rows(station, lml):
    """Give DJs cold rows of their own, twice as many; the walk, which goes by id, comes to them last."""
    lml.says("release", RELEASE, delay=1 / SPEED)  # the stand-in goes by real time
    for release in range(1, 101):
        station.row(release=release)
    # None of these is one that Discogs has lost (`local.lml.picker`).
    ids = [station.row(release=1070 + number) for number in range(2 * DJS * READS)]
    return ids[: DJS * READS], ids[DJS * READS :]


def walks():
    return [thread for thread in threading.enumerate() if thread.name == SUBSYSTEM]


def test_djs_do_not_feel_a_walk(station, lml, open_picker, rows):
    """Their p95 during a walk is at most 1.2 times that without one."""
    alone, during = rows
    without = cold_reads(open_picker(SystemClock(SPEED), live_lookback=0), alone)
    walking = open_picker(SystemClock(SPEED), live_lookback=0)

    walking.warmer.start_rotation_tracks_cache_warm()
    try:
        eventually(lambda: len(lml.asked()) > DJS * READS)
        with_walk = cold_reads(walking, during)
        assert walks(), "the walk ended too early"
    finally:
        station.empty()  # of rows that are gone nothing is asked: the walk ends soon
        eventually(lambda: not walks())

    assert with_walk <= 1.2 * without


@contextmanager
def walk_elsewhere(environment, endpoint):
    """Run `warm_tracks` in a process of its own."""
    code = (
        "from types import SimpleNamespace as S; from handlers import warm_tracks as w; "
        "print(w.handler({}, S(get_remaining_time_in_millis=lambda: 900_000, function_name='walk')))"
    )
    given = {**os.environ, **environment, **endpoint, "LEDGER_TABLE": TABLE, "CLOCK_SPEED": str(SPEED)}
    given["WARM_LIVE_ACTIVITY_LOOKBACK_SECONDS"] = "0"
    process = subprocess.Popen([sys.executable, "-c", code], env=given, stdout=subprocess.DEVNULL)  # noqa: S603
    try:
        yield process
    finally:
        process.kill()
        process.wait()


@pytest.fixture
def shared_table(tmp_path):
    """Give a table that several processes reach."""
    processes = []
    try:
        url = cloud._emulator(tmp_path / "aws", processes).url()
        client = cloud._client("dynamodb", url)
        client.create_table(
            TableName=TABLE,
            KeySchema=[{"AttributeName": "pk", "KeyType": "HASH"}, {"AttributeName": "sk", "KeyType": "RANGE"}],
            AttributeDefinitions=[{"AttributeName": name, "AttributeType": "S"} for name in ("pk", "sk")],
            BillingMode="PAY_PER_REQUEST",
        )
        yield client, url
    finally:
        end(processes)


@pytest.mark.long
def test_djs_do_not_feel_a_walk_in_another_process_on_the_same_table(lml, open_picker, rows, environment, shared_table):
    client, url = shared_table
    alone, during = rows
    dj = open_picker(SystemClock(SPEED), dynamodb=client)
    without = cold_reads(dj, alone)
    aws = {"AWS_ENDPOINT_URL": url, "AWS_DEFAULT_REGION": "us-east-1"}
    aws |= {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test"}

    with walk_elsewhere(environment, aws) as walk:
        eventually(lambda: len(lml.asked()) > DJS * READS)
        with_walk = cold_reads(dj, during)
        assert walk.poll() is None, "the walk ended too early"

    assert with_walk <= 1.2 * without


# The commands


def test_the_demo_shows_that_the_walk_spares_a_dj_the_wait():
    shown = served.play(World.seeded(12), Console(quiet=True), speed=50)

    assert shown["open_warm_ms"] < shown["open_cold_ms"] / 3
    assert shown["warm"]["scanned"] > 12
    assert shown["warm"]["releaseFetchPositive"] > 5


def test_the_picker_is_served_beside_a_cloud_and_stopped_with_it(tmp_path):
    """And the template's own functions walk and answer there."""
    with ExitStack() as stack:
        options = Options(world=World.seeded(8), speed=50, parameters=PARAMETERS)
        there = cloud.start(options, tmp_path / "cloud", lambda _: None)
        stack.callback(lambda: cloud.stop(there))
        there, url = served.beside(there, 50)
        row = next(row.id for row in options.world.rows if row.active and row.discogs_release_id)

        def invoke(function, event):
            answer = there.client("lambda").invoke(FunctionName=there.names[function], Payload=json.dumps(event))
            return json.loads(answer["Payload"].read())

        assert invoke("WarmTracksFunction", {})["done"] is True
        event = json.loads((Path(__file__).parents[2] / "events/rotation-tracks.json").read_text())
        event["pathParameters"]["rotation_id"] = str(row)
        answered = invoke("RotationTracksFunction", event)
        assert answered["statusCode"] == 200
        assert httpx.get(f"{url}/library/rotation/{row}/tracks").json() == json.loads(answered["body"]) != []
    with pytest.raises(httpx.TransportError):
        httpx.get(f"{url}/health")


@pytest.mark.long
def test_a_warm_read_and_the_walk_cost_little_of_their_own():
    read, walked = bench.warm_read(3000), bench.walk(310, 10)

    assert read["p50_ratio"] <= 1.5
    assert read["per_second_ratio"] <= 1.5
    assert walked["scanned"] == 329
    assert walked["walk_ratio"] <= 1.1
