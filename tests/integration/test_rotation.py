"""The rotation table as fan-out reads it, from a real PostgreSQL, also when that misbehaves."""

import os
import socket
import ssl
import threading
import traceback
from contextlib import contextmanager, suppress

import pytest
from pg8000 import native

from core.rotation import postgres as connections
from core.rotation import table as rotation
from core.rotation.table import Coverage, DatabaseError
from core.settings import Database, Secret
from local import postgres
from local.world import World
from tests.wire import self_signed

TABLE = """
CREATE TABLE rotation (id serial PRIMARY KEY, kill_date date, discogs_release_id integer, lml_identity_id integer)
"""


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    started = postgres.start(tmp_path_factory.mktemp("postgres"))
    yield started
    postgres.stop(started)


@contextmanager
def owner(server, schema):
    with postgres.connected(server) as connection:
        connection.run(f"SET search_path TO {native.identifier(schema)}")
        yield connection


@pytest.fixture
def schema(server):
    """Make schemas with an empty rotation table that the functions' role may read, and drop them afterwards."""
    made = []

    def make(name="rotation_test", *, readable=True):
        quoted = native.identifier(name)
        with owner(server, name) as connection:
            connection.run(f"CREATE SCHEMA {quoted}")
            made.append(quoted)
            connection.run(TABLE)
            connection.run(f"GRANT USAGE ON SCHEMA {quoted} TO {native.identifier(server.user)}")
            if readable:
                connection.run(f"GRANT SELECT ON rotation TO {native.identifier(server.user)}")
        return name

    yield make
    with owner(server, "public") as connection:
        for quoted in made:
            connection.run(f"DROP SCHEMA {quoted} CASCADE")


def database(server, schema, **changes):
    password = changes.pop("password", server.password)
    values = {
        "host": server.host,
        "port": server.port,
        "name": server.database,
        "username": server.user,
        "password": Secret("DB_PASSWORD", password, fetch=lambda _arn, _force: ""),
        "tls": server.tls,
        "statement_timeout_ms": 60_000,
        "schema": schema,
    }
    return Database(**values | changes)


def fill(server, schema, *rows):
    """Insert rows of (identity, Discogs release, days until it is killed)."""
    with owner(server, schema) as connection:
        for identity, release, days in rows:
            connection.run(
                "INSERT INTO rotation (lml_identity_id, discogs_release_id, kill_date) "
                "VALUES (:identity, :release, CURRENT_DATE + cast(:days AS integer))",
                identity=identity,
                release=release,
                days=days,
            )


def ids(server, schema):
    with rotation.connect(database(server, schema)) as opened:
        return list(opened.identity_ids())


def refusal(settings):
    with pytest.raises(DatabaseError) as caught, rotation.connect(settings) as opened:
        list(opened.identity_ids())
    return caught.value


def test_active_identities_come_once_and_ascending(server, schema):
    name = schema()
    fill(server, name, (9, None, None), (2, 20, None), (9, 90, None), (5, None, 30))

    assert ids(server, name) == [2, 5, 9]


def test_a_row_is_active_until_the_day_it_is_killed(server, schema):
    name = schema()
    fill(server, name, (1, None, -1), (2, None, 0), (3, None, 1), (4, None, None))

    assert ids(server, name) == [3, 4]


def test_ids_that_lml_would_skip_are_counted_and_left_out(server, schema):
    name = schema()
    fill(
        server,
        name,
        (-3, None, None),
        (0, None, None),
        (0, None, None),
        (-1, None, 0),
        (None, None, None),
        (7, 1, None),
    )

    with rotation.connect(database(server, name)) as opened:
        assert opened.unusable_ids() == 3
        assert list(opened.identity_ids()) == [7]


def test_an_empty_table_has_no_ids(server, schema):
    assert ids(server, schema()) == []


def test_many_pages_give_each_id_once(server, schema):
    name = schema()
    with owner(server, name) as connection:
        connection.run(
            "INSERT INTO rotation (lml_identity_id) "
            "SELECT id FROM generate_series(1, 25000) AS id, generate_series(1, 2) ORDER BY random()"
        )

    assert ids(server, name) == list(range(1, 25_001))


def test_a_page_that_is_just_full_is_not_the_last(server, schema, monkeypatch):
    monkeypatch.setattr(rotation, "PAGE_SIZE", 3)
    name = schema()
    fill(server, name, *((identity, None, None) for identity in range(1, 7)))

    assert ids(server, name) == [1, 2, 3, 4, 5, 6]


def test_the_highest_id_of_the_column_is_read(server, schema):
    name = schema()
    fill(server, name, (2_147_483_647, None, None))

    assert ids(server, name) == [2_147_483_647]


def test_pages_and_counts_belong_to_one_snapshot(server, schema, monkeypatch):
    """The backend writes while a run is planned."""
    monkeypatch.setattr(rotation, "PAGE_SIZE", 1)
    name = schema()
    fill(server, name, (1, 10, None), (2, 20, None))

    with rotation.connect(database(server, name)) as opened:
        pages = opened.identity_ids()
        first = next(pages)
        fill(server, name, (3, 30, None))

        assert [first, *pages] == [1, 2]
        assert opened.coverage().active == 2


def test_coverage_counts_the_active_rows(server, schema):
    name = schema()
    fill(server, name, (1, 10, None), (None, 20, None), (3, 30, 1), (4, None, None), (None, None, None), (6, 60, 0))

    with rotation.connect(database(server, name)) as opened:
        coverage = opened.coverage()

    assert coverage == Coverage(resolvable=3, resolvable_with_identity=2, active=5, active_with_identity=3)
    assert coverage.percent == pytest.approx(66.67, abs=0.01)


def test_coverage_of_nothing_is_unknown(server, schema):
    name = schema()
    fill(server, name, (4, None, None))

    with rotation.connect(database(server, name)) as opened:
        assert opened.coverage().percent is None


def test_a_seeded_world_is_read_as_it_was_written(server):
    world = World.seeded(40)
    postgres.load(server, world)

    expected = {row.lml_identity_id for row in world.rows if row.active and (row.lml_identity_id or 0) > 0}
    assert ids(server, server.schema) == sorted(expected)


def test_the_rows_of_stale_identities_can_be_named(server):
    world = World.seeded(40)
    postgres.load(server, world)
    stale = [row for row in world.rows if row.active and row.lml_identity_id in world.stale()]

    with rotation.connect(database(server, server.schema)) as opened:
        rows = opened.rows_of(sorted(world.stale()))

    assert [(row.id, row.artist_name, row.album_title) for row in rows] == [
        (row.id, row.artist_name, row.album_title) for row in sorted(stale, key=lambda row: row.id)
    ]
    assert rows
    assert f"identity {rows[0].lml_identity_id}" in str(rows[0])


@pytest.mark.parametrize("name", ['a"; DROP TABLE rotation; --', "Großes :after $1 {schema} '", "select"])
def test_a_schema_is_a_name_and_never_sql(server, schema, name):
    schema(name)
    fill(server, name, (7, None, None))

    assert ids(server, name) == [7]


def test_the_connection_can_only_read_and_says_who_it_is(server, schema):
    settings = database(server, schema(), statement_timeout_ms=12_345)

    with rotation.connect(settings) as opened:
        assert opened._connection.run("SHOW transaction_read_only") == [["on"]]
        assert opened._connection.run("SHOW transaction_isolation") == [["repeatable read"]]
        assert opened._connection.run("SHOW application_name") == [["rotation-artist-backfill"]]
        assert opened._connection.run("SHOW statement_timeout") == [["12345ms"]]


def test_a_statement_is_given_up_at_its_limit(server, schema):
    name = schema()
    with owner(server, name) as somebody:
        somebody.run("BEGIN")
        somebody.run("LOCK TABLE rotation IN ACCESS EXCLUSIVE MODE")

        error = refusal(database(server, name, statement_timeout_ms=100))

    assert "57014" in str(error)
    assert "DB_STATEMENT_TIMEOUT_MS" in str(error)


def test_a_missing_column_is_named(server, schema):
    name = schema()
    with owner(server, name) as connection:
        connection.run("ALTER TABLE rotation DROP COLUMN kill_date")

    error = refusal(database(server, name))

    assert "kill_date" in str(error)
    assert "migrations" in str(error)


def test_a_missing_schema_points_at_its_variable(server):
    error = refusal(database(server, "no_such_schema"))

    assert "no_such_schema.rotation" in str(error)
    assert "WXYC_SCHEMA_NAME" in str(error)


def test_a_missing_grant_says_which(server, schema):
    if server.user == server.owner:
        pytest.skip("in a borrowed database the functions' role owns the tables")

    error = refusal(database(server, schema(readable=False)))

    assert "permission denied for table rotation" in str(error)
    assert "SELECT" in str(error)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        pytest.param({"username": "nobody_knows"}, "nobody_knows", id="role"),
        pytest.param({"name": "no_such_database"}, "no_such_database", id="database"),
        pytest.param({"port": 1}, "127.0.0.1:1", id="port"),
        pytest.param({"host": "database.invalid"}, "database.invalid", id="host"),
        pytest.param({"host": "x" * 64}, "x" * 64, id="no-possible-host"),
        pytest.param({"tls": "verify"}, "SSL", id="server-without-tls"),
        pytest.param({"password": "wrong"}, "DB_PASSWORD", id="password"),
        pytest.param({"password": None}, "DB_PASSWORD", id="no-password"),
    ],
)
def test_no_connection_says_where_and_why(server, changes, reason):
    if server.home is None:
        pytest.skip("a borrowed database may let anybody in")

    error = refusal(database(server, server.schema, **changes))

    assert str(error).startswith("PostgreSQL at ")
    assert reason in str(error)


def test_the_password_is_in_no_message_and_in_no_frame(server):
    """Sentry sends the local variables of every frame."""
    settings = database(server, server.schema, username="nobody_knows", password="password-of-reader")

    error = refusal(settings)

    reason = "".join(traceback.TracebackException.from_exception(error, capture_locals=True).format())
    assert "password-of-reader" not in reason


def test_a_server_that_does_not_answer_is_given_up(server, monkeypatch):
    monkeypatch.setattr("core.rotation.postgres._CONNECT_TIMEOUT", 0.1)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        error = refusal(database(server, server.schema, port=silent.getsockname()[1]))

    assert "TimeoutError" in str(error)


def test_a_connection_that_ends_mid_page_is_an_error(server, schema, monkeypatch):
    monkeypatch.setattr(rotation, "PAGE_SIZE", 1)
    name = schema()
    fill(server, name, (1, None, None), (2, None, None))

    with rotation.connect(database(server, name)) as opened:
        pages = opened.identity_ids()
        next(pages)
        with owner(server, name) as connection:
            connection.run(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                "WHERE application_name = 'rotation-artist-backfill' AND datname = current_database()"
            )
        with pytest.raises(DatabaseError, match="identity page"):
            list(pages)


def test_a_server_that_stops_is_an_error_and_no_end_of_the_table(monkeypatch, tmp_path):
    """Ending early would look like a table with fewer rows."""
    monkeypatch.setattr(rotation, "PAGE_SIZE", 10)
    monkeypatch.delenv("DATABASE_URL", raising=False)
    own = postgres.start(tmp_path)
    running = True
    try:
        postgres.load(own, World.seeded(40))
        with rotation.connect(database(own, own.schema)) as opened:
            pages = opened.identity_ids()
            next(pages)
            postgres.stop(own)
            running = False
            with pytest.raises(DatabaseError):
                list(pages)
        assert "Connection refused" in str(refusal(database(own, own.schema)))
    finally:
        if running:
            postgres.stop(own)


@contextmanager
def tls_front(server, context):
    """Serve PostgreSQL's TLS in front of a server that was built without."""

    def pump(source, sink):
        with suppress(OSError):
            while data := source.recv(65_536):
                sink.sendall(data)
        with suppress(OSError):
            sink.shutdown(socket.SHUT_RDWR)

    def serve():
        with suppress(OSError):
            client, _ = listener.accept()
            client.recv(8)
            client.sendall(b"S")
            with (
                context.wrap_socket(client, server_side=True) as inside,
                socket.create_connection((server.host, server.port)) as outside,
            ):
                back = threading.Thread(target=pump, args=(outside, inside), daemon=True)
                back.start()
                pump(inside, outside)
                back.join(10)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        try:
            yield listener.getsockname()[1]
        finally:
            thread.join(10)


@pytest.mark.parametrize("trusted", [True, False])
def test_only_a_certificate_that_somebody_vouches_for_is_accepted(server, schema, tmp_path, trusted):
    name = schema()
    fill(server, name, (7, None, None))
    pem = self_signed(tmp_path)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pem)

    with tls_front(server, context) as port:
        settings = database(server, name, port=port, tls=str(pem) if trusted else "verify")
        if trusted:
            with rotation.connect(settings) as opened:
                assert list(opened.identity_ids()) == [7]
        else:
            assert "CERTIFICATE_VERIFY_FAILED" in str(refusal(settings))


def test_a_bundle_of_authorities_is_read_once_and_anew_when_its_file_has_changed(server, tmp_path):
    bundle = tmp_path / "bundle.pem"
    bundle.write_bytes(self_signed(tmp_path).read_bytes())
    settings = database(server, "public", tls=str(bundle))

    first, again = connections._tls_context(settings), connections._tls_context(settings)
    os.utime(bundle, ns=(0, 0))

    assert again is first
    assert connections._tls_context(settings) is not first


def test_a_bundle_that_cannot_be_read_is_no_error_before_a_connection_is_opened(server, tmp_path):
    settings = database(server, "public", tls=str(tmp_path / "absent.pem"))

    connections.read_authorities(settings)

    assert "No such file" in str(refusal(settings))
