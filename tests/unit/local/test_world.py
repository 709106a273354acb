import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from local.world import World

SIZES = st.integers(0, 400)
SEEDS = st.integers(0, 2**32)


@settings(max_examples=25, deadline=None)
@given(SIZES, SEEDS)
def test_a_run_would_plan_exactly_the_identities_asked_for(size, seed):
    planned = World.seeded(size, seed).identity_ids()

    assert len(planned) == size
    assert planned == sorted(set(planned))
    assert all(identity > 0 for identity in planned)


@settings(max_examples=25, deadline=None)
@given(SIZES, SEEDS)
def test_the_totals_expected_are_consistent(size, seed):
    world = World.seeded(size, seed)

    totals = world.expected(world.identity_ids())

    assert totals["identities_scanned"] == totals["identities_resolved"] == size
    assert totals["warmed_releases"] + totals["not_found"] + totals["not_implemented"] == size
    assert totals["not_found"] == len(world.stale())
    assert totals["lml_error"] == 0


@settings(max_examples=15, deadline=None)
@given(st.integers(20, 400), SEEDS)
def test_from_twenty_identities_up_every_special_case_is_there(size, seed):
    world = World.seeded(size, seed)
    totals = world.expected(world.identity_ids())
    active = [row for row in world.rows if row.active]
    linked = [row.lml_identity_id for row in active if row.lml_identity_id]

    assert totals["not_found"] >= 1
    assert totals["not_implemented"] >= 1
    assert totals["artist_errors"] >= 1
    assert any(identity.release and identity.release.tombstone for identity in world.identities.values())
    assert len(linked) > len(set(linked)), "no identity is shared"
    assert any(row.lml_identity_id is None for row in active)
    assert {0, -7} <= {row.lml_identity_id for row in active}
    assert {0, 1} <= {row.killed for row in world.rows}, "killed today and killed tomorrow"


@settings(max_examples=15, deadline=None)
@given(st.integers(20, 1000), SEEDS)
def test_the_coverage_of_resolvable_rows_is_enough_for_the_gate(size, seed):
    resolvable = [row for row in World.seeded(size, seed).rows if row.active and row.discogs_release_id is not None]

    assert sum(row.lml_identity_id is not None for row in resolvable) >= 0.99 * len(resolvable)


@settings(max_examples=10, deadline=None)
@given(SIZES, SEEDS)
@example(0, 1)  # the newest row, of today, is one that was taken out
def test_newer_rows_have_higher_ids(size, seed):
    rows = World.seeded(size, seed).rows

    assert [row.id for row in rows] == list(range(1, len(rows) + 1))
    assert [row.added for row in rows] == sorted(row.added for row in rows)
    assert all(row.added <= (row.killed or 0) <= 1 for row in rows)


def test_the_cold_default_world_costs_what_the_load_test_assumes():
    """310 cold identities are about 1,165 Discogs calls."""
    calls = []
    for seed in range(1, 11):
        world = World.seeded(seed=seed)
        calls.append(world.expected(world.identity_ids())["discogs_calls"])

    assert sum(calls) / len(calls) == pytest.approx(1165, rel=0.015)


def test_a_warm_world_costs_no_discogs_call():
    world = World.seeded(warm=True)

    assert world.expected(world.identity_ids())["discogs_calls"] == 0


def test_a_partly_warm_world_costs_only_its_newer_rows():
    world = World.seeded()
    ids = world.identity_ids()

    partly = world.warmed(200)

    assert partly.expected(ids[:200])["discogs_calls"] == 0
    assert 0 < partly.expected(ids)["discogs_calls"] < world.expected(ids)["discogs_calls"] / 2


def test_a_seed_always_gives_the_same_world():
    assert World.seeded(40, seed=7) == World.seeded(40, seed=7)
    assert World.seeded(40, seed=7) != World.seeded(40, seed=8)


def test_a_saved_world_is_the_same_when_loaded(tmp_path):
    world = World.seeded(40, warm=True)

    world.save(tmp_path / "world.json")

    assert World.load(tmp_path / "world.json") == world


def test_a_stale_identity_can_be_named_by_its_rows():
    world = World.seeded()

    rows = [row for identity in world.stale() for row in world.rows_of(identity)]

    assert len(rows) >= 3
    assert all(row.active and row.album_title for row in rows)
