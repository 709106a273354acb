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
from ops.cli import loadtest
from ops.loadtest import live, runtime
from ops.loadtest.options import SHARED_MINUTE
from ops.loadtest.patterns import PATTERNS
from ops.loadtest.sweep import Case
from tests.fleet import failure
from tests.integration.operating import check_shape
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


SMALL = ("--days", 1, "--identities", 10, "--pattern", "10 in fives", "--pace", "8,30")


def test_a_sweep_writes_a_page_that_needs_nothing_else(tmp_path):
    run(*SMALL, "-o", tmp_path)

    page = (tmp_path / "loadtest.html").read_text()
    assert page.count("<svg") == 1
    assert "<script" not in page
    assert not re.findall(r"(?:src|href)=\"(?!#)[^\"]*", page)
    assert "30 a minute" in page
    assert "a clairvoyant" in page
    assert {path.name for path in tmp_path.glob("*.svg")} == {"trade-off-1.svg"}


def test_the_table_has_a_column_for_every_way_to_pace_and_is_written_as_it_is_printed(tmp_path):
    printed = run(*SMALL, "-o", tmp_path).stdout

    table = (tmp_path / "loadtest.md").read_text()
    for name in ("the replaced job (3 x 50)", "requests of 50, paced", "8 a minute", "30 a minute"):
        assert f"| {name} |" in table
        assert f"| {name} |" in printed


def test_json_is_one_object_with_every_day_of_every_way_to_pace():
    found = json.loads(run(*SMALL, "--json").stdout)

    check_shape("loadtest", found)
    ways = found["patterns"]["10 in fives"]["policies"]
    assert {name: len(summary["days"]) for name, summary in ways.items()} == dict.fromkeys(
        ["8 a minute", "30 a minute", "requests of 50, paced", "the replaced job (3 x 50)"], 1
    )
    assert found["chosen"] == "8 a minute"
    assert datetime.fromisoformat(found["origin"]["when"])


def test_readers_of_ones_own_take_the_place_of_the_patterns():
    options = ("--days", 1, "--identities", 5, "--pace", 8, "--runtime-per-minute", 12, "--calls", 26, "--at-once", 5)
    found = json.loads(run(*options, "--json").stdout)

    assert list(found["patterns"]) == ["12 by --runtime-per-minute"]


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (["--pace", "8,x"], "not a list of calls a minute"),
        (["--pace", "31"], "each from 1 to 30"),
        (["--pace", "0"], "each from 1 to 30"),
        (["--pattern", "nobody"], "--pattern"),
        (["--pattern", "10 in fives", "--runtime-per-minute", "3"], "takes the place of --pattern"),
        (["--measure-runtime", "60"], "not a duration"),
        (["--measure-runtime", "60m"], "--lml-url"),
        (["--lml-url", "http://127.0.0.1:9"], "--ids"),
        (["--days", "0"], "--days"),
        (["--warm", "101"], "--warm"),
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


@pytest.mark.parametrize("mode", [("--measure-runtime", "60m"), ("--ids", "ids", "--speed", "10")])
def test_that_staging_shares_productions_minute_is_shown_before_anything_is_sent(tmp_path, monkeypatch, mode):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "ids").write_text("17")

    result = CliRunner().invoke(loadtest, ["--lml-url", "https://nowhere.invalid", *mode])

    assert result.exit_code != 0
    assert result.stderr.startswith(SHARED_MINUTE)


def test_a_real_lml_is_never_sped_up(tmp_path):
    (tmp_path / "ids").write_text("17")

    result = run("--lml-url", "https://lml.example.org", "--ids", tmp_path / "ids", "--speed", 10, status=2)

    assert "10 times the pace" in result.stderr


@pytest.mark.parametrize("content", [b"17\nseventeen\n", b"\x89PNG\r\n\xff\x00", b""], ids=["words", "binary", "empty"])
def test_ids_must_be_ids(tmp_path, content):
    (tmp_path / "ids").write_bytes(content)

    result = run("--lml-url", "http://127.0.0.1:9", "--ids", tmp_path / "ids", status=2)

    assert "identity ids above 0" in result.stderr


def test_a_directory_that_cannot_be_made_is_refused_before_the_first_day(tmp_path):
    (tmp_path / "file").touch()

    result = run(*SMALL, "-o", tmp_path / "file" / "out", status=1)

    assert "nothing was begun" in result.stdout
    assert "8 a minute" not in result.stdout


def test_days_that_cannot_be_written_are_reported_all_the_same(tmp_path):
    (tmp_path / "loadtest.md").mkdir()

    shown = run(*SMALL, "-o", tmp_path, status=1).stdout

    assert "| 10 in fives |" in shown
    assert re.search("not written: .*loadtest.md", shown.splitlines()[-1])


@pytest.mark.usefixtures("few_moments_alone")
def test_against_the_stand_in_the_jobs_own_client_does_a_cold_day():
    case = Case(identities=8, pattern=PATTERNS["20 in fives"])

    figures = live.run_stand_in(case, speed=50, show=lambda _: None)

    assert figures.without_verdict == 0
    assert figures.refresh_calls == World.seeded(8, 1).expected(World.seeded(8, 1).identity_ids())["discogs_calls"]
    assert figures.openings_added == 0
    assert figures.readers.p50 > 0


@pytest.mark.usefixtures("few_moments_alone")
def test_against_an_lml_by_address_only_the_named_ids_are_refreshed(tmp_path, monkeypatch):
    monkeypatch.setenv("LML_API_KEY", "key")
    world = World.seeded(8, 1)
    (tmp_path / "ids").write_text("\n".join(map(str, world.identity_ids()[:3])))
    with serve.in_thread(app.build(world, speed=50, token="key")) as url:
        shown = run("--lml-url", url, "--ids", tmp_path / "ids", "--speed", 50, "-o", tmp_path / "out").stdout

    assert "| identities without a verdict, of 3 | 0 | 2 | holds |" in shown
    assert (tmp_path / "out" / "loadtest.html").exists()


# --measure-runtime


def test_what_is_measured_is_json_too(monkeypatch):
    monkeypatch.setattr(runtime, "SAMPLE_EVERY", 0.01)
    monkeypatch.setenv("LML_API_KEY", "key")
    with serve.in_thread(app.build(World.seeded(3), token="key")) as url:
        found = json.loads(run("--lml-url", url, "--measure-runtime", "1s", "--json").stdout)

    check_shape("loadtest --measure-runtime", found)
    assert found["minutes"] > 0


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


def test_the_readers_rate_is_the_counters_difference_of_which_no_sample_is_a_part():
    seen = runtime.measure(Counter(0, 20, 40, 60), VirtualClock(), 180, lambda: None)

    assert (seen.minutes, seen.a_minute, seen.busiest, seen.usable) == (3, 20, 20, True)
    assert list(seen.lines())[-1] == "rotation loadtest --runtime-per-minute 20"


def test_restarts_deploys_and_failures_lose_only_their_minutes():
    counter = Counter(100, 5, None, 40, 50, 60, commits="aaaaab")

    seen = runtime.measure(counter, VirtualClock(), 300, lambda: None)

    assert (seen.minutes, seen.a_minute, seen.usable) == (1, 10, True)
    assert "went back once" in next(seen.lines())


def test_a_counter_that_goes_back_again_and_again_is_that_of_several_processes():
    """Two processes whose counters stand at 1,000 and 5,000 answer in turn: no difference says anything."""
    counter = Counter(1000, 5000, 1010, 1020, 5040, 1040, 5060)

    seen = runtime.measure(counter, VirtualClock(), 360, lambda: None)

    assert (seen.several, seen.usable) == (True, False)
    assert "several processes answer behind this" in next(seen.lines())
    assert not any("--runtime-per-minute" in line for line in seen.lines())


def test_calls_that_come_together_are_shown_and_an_lml_that_says_nothing_too():
    together = runtime.measure(Counter(0, 0, 40), VirtualClock(), 120, lambda: None)

    assert any("come together" in line for line in together.lines())
    assert "no two samples" in next(runtime.measure(Counter(None, None), VirtualClock(), 60, lambda: None).lines())
