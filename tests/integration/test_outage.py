"""A Discogs that is down, and an LML that has lost its store: the whole job beside the stand-in, on one clock.

Nothing is scripted: what LML answers comes from its own rules and a Discogs that fails (docs/design/lml.md).
"""

import asyncio
from typing import TYPE_CHECKING

import httpx
import pytest

from core.runs.request import StartError
from core.settings import Pacing
from local import sentry, serve
from local.lml import app
from local.lml.limits import Limits, LmlClock
from local.world import World
from tests.integration.accounts import KEY, RUN, SCHEDULED, Book, StandIn

if TYPE_CHECKING:
    from core.clock import Clock

pytest_plugins = ("tests.integration.fixtures",)

WORLD = World.seeded(identities=30, seed=7)
IDS = WORLD.identity_ids()
RELEASES, ARTISTS = WORLD.fetched(IDS)
TOMBSTONES = [i for i in IDS if (it := WORLD.identities.get(i)) and it.release is not None and it.release.tombstone]
DOWN = {"down": "upstream-error", "slow": "timeout"}
"""How Discogs can be, and the word that `/health` has for it."""


class OneClock(LmlClock):
    """The job's clock as LML's own: what LML waits for passes at the job too."""

    def __init__(self) -> None:
        super().__init__()
        self.of_the_job: Clock | None = None

    def now(self) -> float:
        return self.of_the_job.pace() if self.of_the_job else 0.0

    async def sleep(self, seconds: float) -> None:
        if self.of_the_job:
            self.of_the_job.sleep(seconds)
        await asyncio.sleep(0)


@pytest.fixture
def day(sdk, database):
    """A whole job that Sentry watches beside a cold LML, at the fastest pace that is allowed."""
    clock = OneClock()
    database.hold(WORLD)
    lml = app.build(WORLD, token=KEY, limits=Limits(), clock=clock)
    with serve.in_thread(lml) as url, serve.in_thread(sentry.build()) as sentry_url:
        day = Book(sdk, StandIn(url), database, sentry.dsn(sentry_url))
        day.sentry_url = sentry_url
        clock.of_the_job = day.clock
        day.consumer = day.consumer_with(budget=30, slice_max=Pacing().slice_max)

        def undelayed(params, **_):
            day.clock.advance(params.pop("DelaySeconds", 0))  # nobody sees the message before

        sdk.sqs.meta.events.register("before-parameter-build.sqs.SendMessage", undelayed)
        yield day
        sdk.sqs.meta.events.unregister("before-parameter-build.sqs.SendMessage", undelayed)
        day.lml.close()
        day.close()


def discogs(day, condition, *, seconds=None, after=0):
    """Have Discogs be so, from the request on that comes `after` so many."""
    trouble = {"condition": condition, "seconds": seconds}
    day.lml.fault(path="refresh", skip=after, discogs=trouble)


def stored(day):
    """The artists that LML holds."""
    return set(day.lml.http.get("/_stored").json()["artists"])


def check_ins(day):
    """The statuses of the cron monitor's check-ins, in their order."""
    envelopes = sentry.decode(httpx.get(f"{day.sentry_url}/_envelopes").content)
    return [check_in["status"] for check_in in sentry.check_ins(envelopes)]


def told_as_warmed(day, run_id=RUN):
    totals = day.run(run_id).totals
    return totals.warmed_releases - totals.warmed_without_artists


@pytest.mark.parametrize("condition", DOWN)
def test_with_discogs_down_for_ten_minutes_no_identity_ends_the_day_without_its_artists(day, condition, logged):
    day.start(SCHEDULED)
    discogs(day, condition, seconds=600, after=7)

    day.deliver_all()

    run, expected = day.run(), WORLD.expected(IDS)
    assert run.status == "complete"
    day.assert_balanced()
    assert stored(day) == ARTISTS
    totals = day.totals()
    assert {name: totals[name] for name in expected if name != "discogs_calls"} == {
        name: number for name, number in expected.items() if name != "discogs_calls"
    }
    assert totals["warmed_without_artists"] == len(TOMBSTONES)
    assert 480 <= run.totals.discogs_rest_seconds <= 660, "the totals say what happened"
    assert check_ins(day) == ["in_progress", "ok"]
    lines = logged()
    assert [line["RunCompleted"] for line in lines if "RunCompleted" in line] == [[1]]
    rests = [line for line in lines if line.get("step") == "resting"]
    assert rests
    assert all(f"Discogs is down ({DOWN[condition]})" in line["message"] for line in rests)


def test_with_discogs_down_all_day_the_day_fails_and_nothing_counts_as_warmed(day, logged):
    day.start(SCHEDULED)
    discogs(day, "unauthorized")
    day.clock.advance(day.run().deadline - day.clock.pace() - 3600)  # its last hour is as the others

    day.deliver_all()

    run = day.run()
    day.assert_balanced()
    assert (run.status, told_as_warmed(day)) == ("stopped", 0)
    assert run.totals.not_attempted > 0.9 * run.planned
    assert run.reason.startswith("the run is past its deadline; ")
    assert "Discogs" in run.reason
    assert stored(day) == set()
    assert check_ins(day) == ["in_progress", "error"]
    assert [line["RunCompleted"] for line in logged() if "RunCompleted" in line] == [[0]]


def test_an_outage_that_health_does_not_know_of_raises_the_alarm_s_share_and_is_asked_again(day, logged):
    """An LML without `services`: what it says of Discogs' failures cannot be told from tombstones."""
    day.start(SCHEDULED)
    day.lml.fault(path="health", without=["services"], times=None)
    discogs(day, "unreachable")

    day.deliver_all()

    lost = day.run()
    (line,) = [line for line in logged() if "RunCompleted" in line]
    assert lost.status == "complete"
    assert line["WarmedWithoutArtists"] == line["WarmedReleases"] == [lost.totals.warmed_releases]
    assert 100 * lost.totals.warmed_without_artists / lost.totals.warmed_releases > 30, "WithoutArtistsAlarm"
    day.lml.reset()
    day.lml.http.post("/_discogs", json={"condition": "well"}).raise_for_status()
    with pytest.raises(StartError, match="left nothing to replay"):
        day.start({"replay_of": RUN})

    answer = day.start({"replay_of": RUN, "without_artists": True})
    day.deliver_all()

    again = day.run(answer["run_id"])
    assert answer["planned"] == lost.totals.warmed_without_artists
    assert (again.status, again.totals.warmed_without_artists) == ("complete", len(TOMBSTONES))
    assert stored(day) == ARTISTS
    with pytest.raises(StartError, match="without_artists: says what a replay asks for"):
        day.start({"without_artists": True})


def test_a_day_of_tombstones_is_quiet_and_costs_one_request_more_for_each(day, logged):
    day.start(SCHEDULED)

    day.deliver_all()

    run, lines = day.run(), logged()
    assert 0.03 * len(IDS) <= len(TOMBSTONES) <= 0.1 * len(IDS)
    assert (run.status, run.totals.warmed_without_artists) == ("complete", len(TOMBSTONES))
    assert run.totals.discogs_rest_seconds == 0
    assert day.lml.asked_for() == sorted([*IDS, *TOMBSTONES])
    assert {line["step"] for line in lines if line.get("level") in {"WARNING", "ERROR"}} <= {"plan"}
    kinds = [call[1] for call in day.lml.http.get("/_discogs").json()["calls"]]
    assert kinds.count("refresh") == WORLD.expected(IDS)["discogs_calls"], "what is asked again is remembered"
    assert check_ins(day) == ["in_progress", "ok"]


def test_an_lml_that_has_lost_its_store_ends_the_run_as_failed_and_says_so(day, logged):
    day.start(SCHEDULED)
    day.lml.fault(path="refresh", skip=5, latched=True)

    day.deliver_all()

    run = day.run()
    day.assert_balanced()
    assert run.status == "stopped"
    assert "Entity store is not available; LML says so until it is started again" in run.reason
    assert (run.totals.lml_error, run.totals.not_attempted) == (0, run.planned - run.totals.identities_scanned)
    assert check_ins(day) == ["in_progress", "error"]
    assert [line["RunCompleted"] for line in logged() if "RunCompleted" in line] == [[0]]
    assert day.lml.http.get("/health").json()["status"] == "healthy"
