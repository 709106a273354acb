"""`rotation loadtest`: what it prints, writes and refuses; over HTTP too, on a small world."""

import json
import re
from datetime import datetime

import pytest
from click.testing import CliRunner

from core.lml.client import Health
from local import serve
from local.lml import app
from local.world import World
from ops.loadtest import live, runtime
from ops.loadtest.cli import loadtest
from ops.loadtest.sweep import Case
from tests.fleet import failure
from tests.virtual import VirtualClock

# pygal leaves an import hook of the old kind, which Python 3.11 warns of at every import that fails.
pytestmark = pytest.mark.filterwarnings("ignore:PluginImportFixer:ImportWarning")


@pytest.fixture
def few_moments_alone(monkeypatch):
    """Readers are watched for a minute, not for ten, before the job begins."""
    monkeypatch.setitem(live.run.__kwdefaults__, "alone_for", 60.0)
    monkeypatch.setitem(live.run_stand_in.__kwdefaults__, "alone_for", 60.0)


def run(*arguments: object, status: int = 0):
    result = CliRunner().invoke(loadtest, [str(argument) for argument in arguments])
    assert result.exit_code == status, result.output
    return result


def test_a_sweep_writes_a_page_that_needs_nothing_else(tmp_path):
    run("--seeds", 1, "--identities", 30, "--budget", "20,30", "-o", tmp_path)

    page = (tmp_path / "loadtest.html").read_text()
    assert page.count("<svg") == 3
    assert "<script" not in page
    assert not re.findall(r"(?:src|href)=\"(?!#)[^\"]*", page)
    assert "open loop, 30 a minute" in page
    assert {path.name for path in tmp_path.glob("*.svg")} == {"calls.svg", "latency.svg", "budgets.svg"}


def test_the_runbooks_table_has_a_row_for_every_policy(tmp_path):
    printed = run("--seeds", 1, "--identities", 30, "--budget", "20", "-o", tmp_path).stdout

    table = (tmp_path / "loadtest.md").read_text()
    for name in ("today's job (3 x 50)", "slices of 50, paced", "open loop, 20 a minute", "measured room"):
        assert f"| {name} |" in table
        assert f"| {name} |" in printed


def test_json_is_one_object_with_the_choice_and_every_day():
    found = json.loads(run("--seeds", 2, "--identities", 10, "--budget", "16,20", "--json").stdout)

    assert found["chosen_budget"] == 20
    assert [len(summary["days"]) for summary in found["summaries"].values()] == [2] * 6
    assert datetime.fromisoformat(found["origin"]["when"])


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (["--budget", "20,x"], "not a list of calls a minute"),
        (["--budget", "99999999"], "each from 1 to 99"),
        (["--measure-runtime", "60"], "not a duration"),
        (["--measure-runtime", "60m"], "--lml-url"),
        (["--lml-url", "http://127.0.0.1:9"], "--ids"),
        (["--seeds", "0"], "--seeds"),
        (["--stand-in", "--budget", "24,30"], "8 at most"),
        (["--speed", "5"], "--speed is for a day over HTTP"),
        (["--ids", __file__], "--ids is for a day against --lml-url"),
        (["--stand-in", "--ids", __file__], "--ids is for a day against --lml-url"),
        (["--stand-in", "--lml-url", "http://127.0.0.1:9"], "leave --lml-url out"),
        (["--lml-url", "nonsense", "--ids", __file__], "--lml-url must begin with https://"),
        (["--lml-url", "nonsense", "--measure-runtime", "60m"], "--lml-url must begin with https://"),
    ],
)
def test_what_makes_no_sense_is_refused_in_a_sentence(arguments, why):
    assert why in run(*arguments, status=2).stderr


def test_a_real_lml_is_never_sped_up(tmp_path):
    (tmp_path / "ids").write_text("17")

    result = run("--lml-url", "https://lml.example.org", "--ids", tmp_path / "ids", "--speed", 10, status=2)

    assert "10 times the budget" in result.stderr


@pytest.mark.parametrize("content", [b"17\nseventeen\n", b"\x89PNG\r\n\xff\x00", b""], ids=["words", "binary", "empty"])
def test_ids_must_be_ids(tmp_path, content):
    (tmp_path / "ids").write_bytes(content)

    result = run("--lml-url", "http://127.0.0.1:9", "--ids", tmp_path / "ids", status=2)

    assert "identity ids above 0" in result.stderr


def test_a_directory_that_cannot_be_made_is_refused_before_the_first_day(tmp_path):
    (tmp_path / "file").touch()

    result = run("--seeds", 1, "--identities", 5, "--budget", 20, "-o", tmp_path / "file" / "out", status=1)

    assert "nothing was begun" in result.stdout
    assert "measured room" not in result.stdout


def test_days_that_cannot_be_written_are_told_all_the_same(tmp_path):
    (tmp_path / "loadtest.md").mkdir()

    told = run("--seeds", 1, "--identities", 5, "--budget", 20, "-o", tmp_path, status=1).stdout

    assert "| measured room |" in told
    assert re.search("not written: .*loadtest.md", told.splitlines()[-1])


@pytest.mark.usefixtures("few_moments_alone")
def test_against_the_stand_in_the_jobs_own_client_does_a_cold_day():
    day, alone, figures = live.run_stand_in(Case(identities=8), speed=50, say=lambda _: None)

    assert figures.without_verdict == 0
    assert figures.refresh_calls == World.seeded(8, 1).expected(World.seeded(8, 1).identity_ids())["discogs_calls"]
    assert day.readings
    assert alone.readings
    assert figures.longest_request < 60


@pytest.mark.usefixtures("few_moments_alone")
def test_against_an_lml_by_address_only_the_named_ids_are_refreshed_and_the_model_tells_the_rest(tmp_path, monkeypatch):
    monkeypatch.setenv("LML_API_KEY", "key")
    world = World.seeded(8, 1)
    (tmp_path / "ids").write_text("\n".join(map(str, world.identity_ids()[:3])))
    with serve.in_thread(app.build(world, speed=50, token="key")) as url:
        options = ("--budget", "8,24", "--seeds", 1, "--speed", 50, "-o", tmp_path / "out")
        told = run("--lml-url", url, "--ids", tmp_path / "ids", *options).stdout

    assert "| over HTTP |" in told
    assert "0 of 3" in told
    assert "| open loop, 24 a minute |" in told
    assert (tmp_path / "out" / "loadtest.html").exists()


# --measure-runtime


class Counter:
    """LML's counter by minute: a number, or nothing where it did not answer."""

    def __init__(self, *totals: int | None, commits: str = "") -> None:
        self._totals = list(totals)
        self._commits = list(commits or "a" * len(totals))

    def health(self) -> Health:
        total, commit = self._totals.pop(0), self._commits.pop(0)
        if total is None:
            raise failure(cause="connection")
        return Health(200, {"discogs_live_requests_total": total, "commit_sha": commit})


def test_the_readers_rate_is_what_the_counter_shows_beyond_the_samples_themselves():
    seen = runtime.measure(Counter(0, 21, 42, 63), VirtualClock(), 180, lambda: None)

    assert (seen.minutes, seen.a_minute, seen.busiest) == (3, 20, 20)
    assert list(seen.lines())[-1] == "rotation loadtest --runtime-per-minute 20"


def test_restarts_deploys_and_failures_lose_only_their_minutes():
    counter = Counter(100, 5, None, 40, 51, 60, commits="aaaaab")

    seen = runtime.measure(counter, VirtualClock(), 300, lambda: None)

    assert (seen.minutes, seen.a_minute) == (1, 10)


def test_bursts_are_told_and_an_lml_that_tells_nothing_too():
    assert any(
        "bursts" in line for line in runtime.measure(Counter(0, 1, 42), VirtualClock(), 120, lambda: None).lines()
    )
    assert "no two samples" in next(runtime.measure(Counter(None, None), VirtualClock(), 60, lambda: None).lines())
