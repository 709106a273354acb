"""The picker as one process over HTTP: what DJs feel of a walk, and what the commands show."""

import json
import math
import os
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest
from rich.console import Console

from bench import picker as bench
from core.clock import SystemClock
from core.picker.limiter import LmlBusyError
from core.picker.warm import SUBSYSTEM
from local import cloud
from local.cloud import Options
from local.lml.picker import LOST_EVERY
from local.process import end
from local.world import World
from ops import picker as served
from ops.loadtest.harm import percentile
from tests.eventually import eventually
from tests.integration.build import KEY, create_table
from tests.integration.picking import RELEASE, Picker

SPEED = 6.0
DJS, READS = 3, 8
ROUNDS = 3
DJ_PAUSE, ANSWER = 2.5, 2.0
"""Paced seconds: 40 reads a minute, for which a bucket of 50 has room, and little beside them."""
BUCKET_SPENT_MS = 38 * 1200
"""Paced: 12 of 50 calls are left, of which the walk may take two."""
PARAMETERS = {"PickerState": "ENABLED", "PickerJwtIssuer": "https://issuer.example/", "PickerJwtAudience": "catalog"}


@pytest.fixture
def environment(station, lml):
    return {**station.environment, "LIBRARY_METADATA_URL": lml.url, "LML_API_KEY": KEY, "LOCAL_DEV": "1"}


def test_requests_and_the_health_check_are_answered_while_the_walk_is_stuck(station, lml, environment, tmp_path):
    lml.answers("release", RELEASE, ids=[11], hold=True)
    lml.answers("release", RELEASE)
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


@dataclass
class Desk:
    """A picker in whose bucket not much is left, and the cold rows that some DJs open with it."""

    picker: Picker
    rows: list[list[int]]
    """For each round."""

    def read(self, rows, clock):
        """Open rows as a DJ does, with pauses; returns what each but the first took, in paced seconds.

        The first opens a connection to LML. A read that the limiter refuses has taken for ever.
        """
        pause = threading.Event()
        seconds = []
        for row in rows:
            began = clock.pace()
            try:
                assert self.picker.resolver.tracks(row)
                seconds.append(clock.pace() - began)
            except LmlBusyError:
                seconds.append(math.inf)
            pause.wait(clock.wall(DJ_PAUSE))
        return seconds[1:]


def p95_of(desks, number):
    """Let all DJs read at once, so that what else this machine does is felt at every desk; a p95 for each of them."""
    clock = SystemClock(SPEED)
    for desk in desks:
        desk.picker.limiter._meter.write(int(1000 * clock.pace()) + BUCKET_SPENT_MS, desk.picker.limiter._meter.read())
    with ThreadPoolExecutor(DJS * len(desks)) as djs:
        reads = [[djs.submit(desk.read, desk.rows[number][dj::DJS], clock) for dj in range(DJS)] for desk in desks]
        found = [[seconds for each in desk for seconds in each.result()] for desk in reads]
    return [percentile(sorted(seconds), 0.95) for seconds in found]


def what_djs_feel(alone, beside_the_walk):
    """Return how many times as long as without a walk they wait.

    Something else on this machine may spoil a round; a walk that takes what is theirs spoils all of them.
    """
    ratios = []
    for number in range(ROUNDS):
        without, during = p95_of([alone, beside_the_walk], number)
        ratios.append(during / without if without < math.inf else math.inf)
        if ratios[-1] <= 1.2:
            break
    return min(ratios)


@pytest.fixture
def rows(station, lml):
    """Give two desks cold rows of their own for every round; a walk begins with the newest and comes to them last."""
    there = [release for release in range(1070, 1300) if release % LOST_EVERY]  # Discogs has lost the others
    ids = [station.row(release=release) for release in there[: 2 * ROUNDS * DJS * READS]]
    walked = list(range(1, 101))
    for release in walked:
        station.row(release=release)
    lml.answers("release", RELEASE, ids=walked)  # at once: a walk that could would take all that there is
    lml.answers("release", RELEASE, delay=ANSWER / SPEED)  # the stand-in goes by real time
    rounds = [ids[number :: 2 * ROUNDS] for number in range(2 * ROUNDS)]
    return rounds[:ROUNDS], rounds[ROUNDS:]


def walked(lml):
    """How many rows the walk has opened."""
    return sum(call["ids"][0] <= 100 for call in lml.asked())


def walks():
    return [thread for thread in threading.enumerate() if thread.name == SUBSYSTEM]


def test_djs_do_not_feel_a_walk(lml, open_picker, rows):
    """Their p95 during a walk is at most 1.2 times that without one: what little there is the walk leaves to them."""
    desks = [Desk(open_picker(SystemClock(SPEED), live_lookback=0), mine) for mine in rows]

    desks[1].picker.warmer.start_rotation_tracks_cache_warm()
    try:
        felt = what_djs_feel(*desks)
        assert walks(), "the walk ended too early"
        assert walked(lml) > DJS
    finally:
        desks[1].picker.warmer.stop()
        eventually(lambda: not walks())

    assert felt <= 1.2


@contextmanager
def walk_elsewhere(environment):
    """Run `warm_tracks` in a process of its own."""
    code = (
        "from types import SimpleNamespace as S; from handlers import warm_tracks as w; "
        "w.handler({}, S(get_remaining_time_in_millis=lambda: 900_000, function_name='walk'))"
    )
    given = {**os.environ, **environment, "CLOCK_SPEED": str(SPEED), "WARM_LIVE_ACTIVITY_LOOKBACK_SECONDS": "0"}
    process = subprocess.Popen([sys.executable, "-c", code], env=given, stdout=subprocess.DEVNULL)  # noqa: S603
    try:
        yield process
    finally:
        process.kill()
        process.wait()


@pytest.mark.long
def test_djs_do_not_feel_a_walk_in_another_process_on_the_same_table(
    lml, open_picker, rows, environment, running_cloud
):
    dynamodb = running_cloud.client("dynamodb")
    desks = []
    for name, mine in zip(("nobody-walks", "somebody-walks"), rows, strict=True):
        create_table(dynamodb, name)
        desks.append(Desk(open_picker(SystemClock(SPEED), dynamodb=dynamodb, table=name), mine))
    aws = {"AWS_ENDPOINT_URL": running_cloud.aws_url, "AWS_DEFAULT_REGION": "us-east-1"}
    aws |= {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test"}

    with walk_elsewhere({**environment, **aws, "PICKER_TABLE": "somebody-walks"}) as walk:
        eventually(lambda: walked(lml) > 0)
        felt = what_djs_feel(*desks)
        assert walk.poll() is None, "the walk ended too early"
        assert walked(lml) > DJS

    assert felt <= 1.2


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
        event = json.loads((Path(__file__).parents[3] / "events/rotation-tracks.json").read_text())
        event["pathParameters"]["rotation_id"] = str(row)
        answered = invoke("RotationTracksFunction", event)
        assert answered["statusCode"] == 200
        assert httpx.get(f"{url}/library/rotation/{row}/tracks").json() == json.loads(answered["body"]) != []
    with pytest.raises(httpx.TransportError):
        httpx.get(f"{url}/health")


@pytest.mark.long
def test_a_warm_read_and_the_walk_cost_little_of_their_own():
    assert [figure.what for figure in bench.measure(quick=False) if not figure.ok] == []
