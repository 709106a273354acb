"""What a refresh answers and costs (docs/design/lml.md), in virtual time."""

import asyncio
import math
from collections import Counter

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from local.lml.deployment import Deployment
from local.lml.discogs import DiscogsTrouble
from local.lml.limits import Limits
from local.world import World

PATIENT_DISCOGS = Limits(discogs_per_minute=math.inf)


def totals(results):
    """Return the tally of docs/design/counting.md, in the words of `World.expected`."""
    statuses = Counter(result.status for result in results)
    sources = [source for result in results if result.status == "warmed" for source in (result.sources or {}).values()]
    artists = Counter(artist.outcome for source in sources for artist in source.artists)
    return {
        "identities_scanned": len(results),
        "identities_resolved": len(results) - statuses["error"],
        "warmed_releases": sum(source.release_outcome == "success" for source in sources),
        "warmed_artists": artists["success"],
        "not_found": statuses["not_found"],
        "not_implemented": statuses["not_implemented"],
        "lml_error": statuses["error"],
        "artist_errors": artists["error"],
    }


def lml(world, clock, limits=None):
    deployment = Deployment(world, clock, limits or Limits.instant())
    return deployment.workers[0].library, deployment.discogs


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.integers(1, 200), st.integers(0, 1000), st.integers(0, 200))
def test_answers_and_calls_are_what_the_world_expects(in_virtual_time, size, seed, warm):
    world = World.seeded(size, seed).warmed(warm)

    async def work(clock):
        library, discogs = lml(world, clock)
        results = await library.refresh(world.identity_ids())
        return totals(results) | {"discogs_calls": len(discogs.calls)}

    assert in_virtual_time(work) == world.expected(world.identity_ids())


def test_a_second_refresh_says_the_same_and_costs_nothing(in_virtual_time):
    world = World.seeded(40)

    async def work(clock):
        library, discogs = lml(world, clock)
        first = await library.refresh(world.identity_ids())
        calls = len(discogs.calls)
        assert await library.refresh(world.identity_ids()) == first
        return len(discogs.calls) - calls

    assert in_virtual_time(work) == 0


def test_two_requests_for_the_same_ids_share_their_calls(in_virtual_time):
    world = World.seeded(40)
    ids = world.identity_ids()

    async def work(clock):
        library, discogs = lml(world, clock, Limits(per_minute=10_000, discogs_per_minute=10_000))
        await asyncio.gather(library.refresh(ids), library.refresh(ids))
        return len(discogs.calls)

    assert in_virtual_time(work) == world.expected(ids)["discogs_calls"]


def test_results_come_in_request_order_one_for_each_duplicate(in_virtual_time):
    world = World.seeded(40)
    asked = [*reversed(world.identity_ids()[:5]), world.identity_ids()[2], 999_999]

    async def work(clock):
        return await lml(world, clock, Limits())[0].refresh(asked)

    assert [result.identity_id for result in in_virtual_time(work)] == asked


@pytest.mark.parametrize(("ids", "seconds"), [(1, 0.01), (5, 0.01), (6, 0.02), (50, 0.1)])
def test_cached_identities_take_ten_milliseconds_as_many_at_once_as_bulk_permits(in_virtual_time, ids, seconds):
    world = World.seeded(60, warm=True)

    async def work(clock):
        await lml(world, clock, Limits())[0].refresh(world.identity_ids()[:ids])
        return clock.now()

    assert in_virtual_time(work) == pytest.approx(seconds, rel=0.01)


def test_a_cold_request_of_fifty_takes_minutes(in_virtual_time):
    """About 190 calls, 50 of them at once, then 50 a minute: beside other callers it never ends within 300 s."""
    world = World.seeded()

    async def work(clock):
        await lml(world, clock, PATIENT_DISCOGS)[0].refresh(world.identity_ids()[:50])
        return clock.now()

    assert in_virtual_time(work) == pytest.approx(170, abs=30)


def test_a_cold_request_of_fifty_alone_opens_the_breaker(in_virtual_time):
    """The limiter lets 99 calls pass in its first minute; at the 57th Discogs says that 3 are left."""
    world = World.seeded()

    async def work(clock):
        deployment = Deployment(world, clock, Limits())
        await deployment.workers[0].library.refresh(world.identity_ids()[:50])
        return len(deployment.discogs.calls), len(deployment.processes[0].breaker.openings)

    calls, openings = in_virtual_time(work)

    assert 57 <= calls <= 61
    assert openings == 1


def test_what_is_left_of_a_cancelled_request_is_not_finished(in_virtual_time):
    world = World.seeded()

    async def work(clock):
        library, discogs = lml(world, clock, PATIENT_DISCOGS)
        request = asyncio.ensure_future(library.refresh(world.identity_ids()[:50]))
        await clock.sleep(20)
        request.cancel()
        calls = len(discogs.calls)
        await clock.sleep(600)
        return calls, len(discogs.calls)

    before, after = in_virtual_time(work)

    assert before == after
    assert 50 < before < 100


@pytest.mark.parametrize(("idle", "status"), [(False, "error"), (True, "not_implemented")])
def test_a_release_that_the_breaker_sheds_is_reported_at_its_source_and_hidden_by_one_that_is_not_wired(
    in_virtual_time, idle, status
):
    world = World.seeded(40)
    cold = next(i.id for i in world.identities.values() if i.release and bool(i.idle_sources) == idle)

    async def work(clock):
        deployment = Deployment(world, clock, Limits.instant())
        deployment.processes[0].breaker.force_open(clock.now(), 60)
        return await deployment.workers[0].library.refresh([cold])

    (result,) = in_virtual_time(work)

    assert (result.status, result.message) == (status, None)
    assert result.sources["discogs_release"].release_outcome == "error"
    assert result.sources["discogs_release"].message == "DiscogsBreakerOpenError"


def test_an_artist_that_the_breaker_sheds_does_not_demote_its_release(in_virtual_time):
    world = World.seeded(40)
    cold = next(i.id for i in world.identities.values() if i.release and len(i.release.real_artists) > 3)

    async def work(clock):
        deployment = Deployment(world, clock, Limits())
        refresh = asyncio.ensure_future(deployment.workers[0].library.refresh([cold]))
        while not deployment.discogs.calls:
            await clock.sleep(0.05)
        deployment.processes[0].breaker.force_open(clock.now(), 60)
        return await refresh

    (result,) = in_virtual_time(work)

    assert result.status == "warmed"
    assert {artist.message for artist in result.sources["discogs_release"].artists} == {"DiscogsBreakerOpenError"}


def test_a_release_is_asked_for_first_and_then_its_artists_one_after_another(in_virtual_time):
    world = World.seeded(40)
    cold = next(i.id for i in world.identities.values() if i.release and len(i.release.real_artists) == 4)

    async def work(clock):
        library, discogs = lml(world, clock, Limits(discogs_median_seconds=1, discogs_sigma=0, identity_seconds=0))
        await library.refresh([cold])
        return [call.at for call in discogs.calls]

    assert in_virtual_time(work) == [0, 1, 2, 3, 4]


@pytest.mark.parametrize("condition", ["down", "unauthorized", "unreachable", "slow", "rate-limited"])
def test_every_failure_but_a_shed_reads_as_a_tombstone_and_nothing_is_stored(in_virtual_time, condition):
    world = World.seeded(40)
    cold = next(i.id for i in world.identities.values() if i.release and len(i.release.real_artists) > 3)

    async def work(clock):
        deployment = Deployment(world, clock, Limits.instant())
        deployment.discogs.be(DiscogsTrouble(condition=condition))
        (failed,) = await deployment.workers[0].library.refresh([cold])
        stored = len(deployment.stored.releases)
        deployment.discogs.be(DiscogsTrouble(condition="well"))
        (well,) = await deployment.workers[0].library.refresh([cold])
        return failed, stored, well

    failed, stored, well = in_virtual_time(work)

    source = failed.sources["discogs_release"]
    assert (failed.status, source.release_outcome, source.artists, source.message) == ("warmed", "success", (), None)
    assert stored == 0
    assert len(well.sources["discogs_release"].artists) > 3


def test_a_failed_artist_reads_as_success_and_is_not_stored(in_virtual_time):
    world = World.seeded(40)
    cold = next(i.id for i in world.identities.values() if i.release and len(i.release.real_artists) > 3)

    async def work(clock):
        deployment = Deployment(world, clock, Limits())
        refresh = asyncio.ensure_future(deployment.workers[0].library.refresh([cold]))
        while not deployment.discogs.calls:
            await clock.sleep(0.05)
        deployment.discogs.be(DiscogsTrouble(condition="down"))
        (result,) = await refresh
        return result, len(deployment.stored.releases), len(deployment.stored.artists)

    result, releases, artists = in_virtual_time(work)

    assert {artist.outcome for artist in result.sources["discogs_release"].artists} == {"success"}
    assert (releases, artists) == (1, 0)


def test_bulk_permits_are_shared_by_all_requests(in_virtual_time):
    world = World.seeded(40)
    cold = [identity.id for identity in world.identities.values() if identity.release]
    limits = Limits(bulk_permits=2, refresh_at_once=5, discogs_median_seconds=1, discogs_sigma=0, identity_seconds=0)

    async def work(clock):
        library, discogs = lml(world, clock, limits)
        requests = [asyncio.ensure_future(library.refresh(cold[i : i + 5])) for i in range(0, 15, 5)]
        await clock.sleep(0.5)
        for request in requests:
            request.cancel()
        return len(discogs.calls)

    assert in_virtual_time(work) == 2


def test_a_tombstone_is_warmed_without_artists(in_virtual_time):
    world = World.seeded(40)
    lost = next(i.id for i in world.identities.values() if i.release and i.release.tombstone)

    async def work(clock):
        return await lml(world, clock)[0].refresh([lost])

    (result,) = in_virtual_time(work)

    assert result.status == "warmed"
    assert result.sources["discogs_release"].release_outcome == "success"
    assert result.sources["discogs_release"].artists == ()
    assert result.sources["discogs_release"].message is None
