"""`rotation demo` as a newcomer runs it: its exit status, its last line, and what it leaves behind."""

import json
import re
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from core.runs.totals import REPORTED_TOTALS
from local import serve
from local.lml import app
from local.world import World
from tests.integration.operating import check_shape

ROTATION = Path(sys.executable).with_name("rotation")


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    """One of its own for each demo: two that begin in the same second have the same run id, and so the same page."""
    monkeypatch.chdir(tmp_path)


def demo(*arguments):
    return subprocess.run(  # noqa: S603 - our own command
        [ROTATION, "demo", "--json", *arguments], capture_output=True, text=True, check=False, timeout=120
    )


def last_line(finished):
    summary = json.loads(finished.stdout)
    check_shape("demo", summary)
    return summary


def test_the_demo_ends_well_and_says_so_on_its_last_line():
    finished = demo("--identities", "30", "--speed", "200")

    summary = last_line(finished)
    assert (finished.returncode, summary["status"]) == (0, "complete"), finished.stdout
    expected = World.seeded(30).expected(World.seeded(30).identity_ids())
    assert {name: summary[name] for name in REPORTED_TOTALS} == {name: expected[name] for name in REPORTED_TOTALS}
    assert (summary["planned"], summary["not_attempted"]) == (30, 0)
    assert summary["seconds"] > 0
    page = Path(summary["report"])
    assert summary["run_id"] in page.read_text(encoding="utf-8")
    assert re.search(r"\((.+) on its own clock\)", finished.stderr)[1] in page.read_text(encoding="utf-8")
    page.unlink()
    assert "Stale" in finished.stderr


def test_a_warm_day_costs_no_discogs_call_however_busy_the_machine_is():
    """In real time, where what this machine takes for an answer is no Discogs call yet."""
    finished = demo("--warm", "--identities", "12")

    assert (finished.returncode, last_line(finished)["beside"]["ours"]) == (0, 0), finished.stderr
    complaint = " ".join(finished.stderr.split())
    assert (
        "LML made 0 Discogs calls for the run; the run, which sees only how long an answer takes, counted" in complaint
    )
    assert "LML, which had everything cached, made no Discogs call" not in complaint  # it holds


@pytest.mark.long
def test_no_identities_are_a_complete_run_too():
    """With a key that looks like an option, as one in 64 random ones does."""
    finished = demo("--identities", "0", "--lml-api-key=-a-key")

    assert (finished.returncode, last_line(finished)["planned"]) == (0, 0), finished.stdout


@pytest.mark.long
def test_an_lml_of_ones_own_is_asked_with_its_key():
    world = World.seeded(12, warm=True)
    with serve.in_thread(app.build(world, speed=100, token="a-key-of-its-own")) as url:
        finished = demo("--identities", "12", "--speed", "100", "--lml-url", url, "--lml-api-key", "a-key-of-its-own")

    assert (finished.returncode, last_line(finished)["identities_scanned"]) == (0, 12), finished.stdout
    assert "a-key-of-its-own" not in finished.stdout + finished.stderr
    assert "LML's log" not in finished.stderr, "nobody has read it"


def test_an_lml_that_has_lost_its_store_fails_the_demo_with_its_sentence():
    with serve.in_thread(app.build(World.seeded(12), speed=200, token="a-key")) as url:
        httpx.post(f"{url}/_faults", json=[{"path": "refresh", "latched": True}]).raise_for_status()
        finished = demo("--identities", "12", "--speed", "200", "--lml-url", url, "--lml-api-key", "a-key")

    summary = last_line(finished)
    assert (finished.returncode, summary["status"]) == (1, "stopped"), finished.stdout
    assert (summary["identities_scanned"], summary["not_attempted"]) == (0, 12)
    assert "Entity store is not available; LML says so until it is started again" in finished.stderr


@pytest.mark.long
def test_a_wrong_key_is_refused_before_anything_is_sent_and_the_demo_fails():
    """The gate tries the key also where it knows the commit."""
    with serve.in_thread(app.build(World.seeded(12), speed=100, token="right")) as url:
        finished = demo("--identities", "12", "--speed", "100", "--lml-url", url, "--lml-api-key", "wrong")

    summary = last_line(finished)
    assert (finished.returncode, summary["status"]) == (1, "refused"), finished.stdout
    assert (summary["planned"], summary["identities_scanned"]) == (0, 0)
    assert "LML_API_KEY" in finished.stdout + finished.stderr


@pytest.mark.long
def test_an_unreachable_lml_is_refused_with_the_reason():
    finished = demo("--identities", "3", "--lml-url", "http://127.0.0.1:1")

    assert (finished.returncode, last_line(finished)["status"]) == (1, "refused")
    assert "LML's health is not known" in finished.stderr


@pytest.mark.parametrize(
    ("setting", "named"),
    [
        pytest.param("BACKFILL_LML_BATCH_SIZE=51", "LML refuses a request of more than 50", id="over LML's cap"),
        pytest.param("REFRESH_SLICE_MAX=none", "REFRESH_SLICE_MAX", id="no number"),
    ],
)
def test_a_wrong_setting_is_refused_before_anything_starts(setting, named):
    finished = demo("--set", setting)

    assert finished.returncode == 1
    assert named in finished.stderr
    assert "Starting the cloud" not in finished.stderr


def test_a_speed_that_no_clock_has_is_refused_with_the_limits():
    finished = demo("--speed", "1e9")

    assert finished.returncode == 2
    assert "100000" in finished.stderr


def test_a_setting_nobody_knows_is_named():
    finished = demo("--set", "NO_SUCH=1")

    assert finished.returncode == 2
    assert "NO_SUCH=1" in finished.stderr
