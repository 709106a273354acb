from local.lml.picker import LOST_EVERY, SHAPES, Catalog, tracklist
from local.world import World

WORLD = World.seeded()


def test_active_rows_of_the_seeded_world_meet_every_tier():
    active = [row for row in WORLD.rows if row.active]
    first = {row.id for row in active if row.discogs_release_id}
    second = {row.id for row in active if row.album_id and WORLD.library.get(row.album_id)} - first
    third = Catalog(WORLD).shapes.keys() & {row.id for row in active}

    assert all((first, second, third))
    assert first | second | third <= {row.id for row in active}
    assert any(row.discogs_release_id % LOST_EVERY == 0 for row in active if row.discogs_release_id)


def test_rows_of_the_third_tier_meet_every_shape_of_answer():
    shapes = Catalog(WORLD).shapes
    active = {row.id for row in WORLD.rows if row.active}

    assert set(shapes.values()) == set(SHAPES)
    assert {shapes[row] for row in shapes.keys() & active} >= set(SHAPES[:10])


def test_some_tracks_name_their_artists_and_some_do_not():
    artists = [tracklist(release)[0]["artists"] for release in range(40)]
    assert None in artists
    assert any(artists)
