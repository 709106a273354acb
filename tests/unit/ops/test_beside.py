"""What others met beside a run, by the record of a stand-in LML."""

import time

import httpx
import pytest

from core.runs.totals import Totals
from local import serve
from local.lml import app
from local.world import World
from ops.beside import Beside, beside

SPEED = 1000
WORLD = World.seeded(12)


@pytest.fixture
def stand_in():
    with serve.in_thread(app.build(WORLD, speed=SPEED)) as url:
        yield url


def refresh(url, ids):
    httpx.post(f"{url}/api/v1/cache/refresh-for-identities", json={"identity_ids": list(ids)}).raise_for_status()


def test_the_calls_of_a_run_are_those_that_lml_made_for_its_requests(stand_in):
    ids = WORLD.identity_ids()
    began = time.time() * SPEED
    refresh(stand_in, ids)
    refresh(stand_in, ids)  # cached by now

    seen = beside(stand_in, began)

    assert seen.ours == seen.calls == WORLD.expected(ids)["discogs_calls"]
    assert (seen.breaker, seen.breaker_opened, seen.djs_calls) == ("closed", 0, 0)


def test_what_lay_before_a_run_or_after_it_is_not_its_own(stand_in):
    refresh(stand_in, WORLD.identity_ids())
    now = time.time() * SPEED + 1

    assert beside(stand_in, since=now).calls == 0
    assert beside(stand_in, until=now - 10_000_000).calls == 0


def test_a_stand_in_that_is_gone_is_a_connection_error():
    with pytest.raises(ConnectionError, match="does not answer"):
        beside("http://127.0.0.1:1")


@pytest.mark.parametrize(("speed", "lines"), [(1.0, 4), (200.0, 5)])
def test_what_the_time_of_an_answer_proves_is_shown_where_the_clock_is_fast(speed, lines):
    met = Beside(
        calls=9, ours=0, most_in_a_minute=5, breaker="closed", breaker_opened=0, djs_calls=9, djs_shed=1
    ).lines(Totals(discogs_calls_estimated=3), speed)

    assert len(met) == lines
    assert met[0].startswith("LML made 0 Discogs calls for the run; ")
    assert met[0].endswith("counted about 3.")
    assert any("With a clock 200 times faster, that time is evidence of" in line for line in met) is (speed != 1)
