"""The database as it is outside: behind a pooler, at several addresses, with a password that changes, restarted."""

import pwd
import shutil
import socket
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from msgspec.structs import replace
from pg8000 import native

from core.clock import SystemClock
from core.picker.rows import Rows
from core.rotation import postgres as reached
from core.rotation import table as rotation
from core.rotation.table import DatabaseError
from core.settings import Secret
from local import cluster, postgres
from local.world import World
from tests.eventually import eventually
from tests.integration.build import database_of
from tests.virtual import VirtualClock

WORLD = World.seeded(identities=5)
PGBOUNCER = shutil.which("pgbouncer", path="/usr/sbin:/usr/bin:/usr/local/sbin:/usr/local/bin")


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    started = postgres.start(tmp_path_factory.mktemp("postgres"))
    if started.home is None:
        postgres.stop(started)
        pytest.skip("a borrowed database has its own roles, and is not restarted")
    postgres.load(started, WORLD)
    yield started
    postgres.stop(started)


@pytest.fixture
def database(server):
    return database_of(server)


@pytest.fixture
def open_rows():
    """Open pickers' rows, each with connections of its own; all are closed in the end."""
    opened = []

    def make(database, clock=None):
        opened.append(Rows(database, clock or SystemClock()))
        return opened[-1]

    yield make
    for rows in opened:
        rows.close()


def ids(database):
    with rotation.connect(database) as opened:
        return list(opened.identity_ids())


def as_owner(server, *statements):
    with postgres.connected(server) as owner:
        for statement in statements:
            owner.run(statement)


# Behind a pooler


@pytest.fixture(scope="module", params=["transaction"])
def pooler(server, tmp_path_factory, request) -> Iterator[int]:
    """The port of a PgBouncer in a mode, otherwise with its defaults, with one server connection."""
    if PGBOUNCER is None:
        pytest.skip("pgbouncer is not installed (Debian: apt-get install pgbouncer)")
    home = cluster.home(tmp_path_factory.mktemp("pgbouncer"))
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    (home / "users").write_text(f'"{server.user}" "{server.password}"\n')
    (home / "ini").write_text(
        f"[databases]\n{server.database} = host=127.0.0.1 port={server.port} pool_size=1\n"
        f"[pgbouncer]\nlisten_addr=127.0.0.1\nlisten_port={port}\nunix_socket_dir=\n"
        f"auth_type=scram-sha-256\nauth_file={home}/users\npool_mode={request.param}\n"
    )
    user = pwd.getpwnam(cluster.NOBODY) if Path("/proc/self").stat().st_uid == 0 else None
    bouncer = subprocess.Popen(  # noqa: S603 - Debian's program
        [PGBOUNCER, str(home / "ini")],
        user=user and user.pw_uid,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )

    def answers() -> bool:
        with suppress(OSError), socket.create_connection(("127.0.0.1", port)):
            return True
        return False

    try:
        eventually(answers)
        yield port
    finally:
        bouncer.terminate()
        bouncer.wait(10)
        cluster.remove(home)


def test_fan_out_reads_through_a_pooler_in_transaction_mode(database, pooler):
    assert ids(replace(database, port=pooler)) == ids(database)


@pytest.mark.parametrize("pooler", ["session"], indirect=True)
def test_both_read_through_a_pooler_in_session_mode(database, pooler, open_rows):
    assert ids(replace(database, port=pooler)) == ids(database)
    assert open_rows(replace(database, port=pooler)).row(1) == open_rows(database).row(1)


@pytest.mark.parametrize("pooler", ["statement"], indirect=True)
def test_in_statement_mode_the_picker_reads_and_fan_out_says_which_mode_it_needs(database, pooler, open_rows):
    assert open_rows(replace(database, port=pooler)).row(1) == open_rows(database).row(1)
    with pytest.raises(DatabaseError, match="a pooler in statement mode does so, transaction mode is needed"):
        ids(replace(database, port=pooler))


def test_pickers_share_a_pooler_s_connection_without_meeting_each_other(database, pooler, open_rows):
    one, other = (open_rows(replace(database, port=pooler)) for _ in range(2))

    found = [rows.row(1) for _ in range(5) for rows in (one, other)]

    assert found == [open_rows(database).row(1)] * 10


def test_a_statement_is_given_up_at_its_limit_behind_a_pooler_too(server, database, pooler, open_rows):
    """And the limit stays with the query: the pooler gives its connection to others afterwards."""
    behind = replace(database, port=pooler)
    with postgres.connected(server) as somebody:
        somebody.run("BEGIN")
        somebody.run("LOCK TABLE wxyc_schema.rotation IN ACCESS EXCLUSIVE MODE")
        with pytest.raises(DatabaseError, match="57014"):
            open_rows(replace(behind, statement_timeout_ms=100)).row(1)
        with pytest.raises(DatabaseError, match="57014"):
            ids(replace(behind, statement_timeout_ms=100))

    plain = reached.connect(behind)
    assert plain.run("SHOW statement_timeout") == [["0"]]
    reached.disconnect(plain)


# Making a connection


class Name:
    """A name that stands for several addresses, as a resolver would answer it."""

    def __init__(self, monkeypatch, *addresses, seconds=0.0):
        ended, ask = threading.Event(), socket.getaddrinfo

        def answer(host, *args, **hints):
            if host != "db.example":
                return ask(host, *args, **hints)
            ended.wait(seconds)
            return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", address) for address in addresses]

        monkeypatch.setattr(socket, "getaddrinfo", answer)
        self.end = ended.set


@pytest.fixture
def swallow():
    """Make addresses at which nobody answers: a queue of connections that is full."""
    held = []

    def make():
        listener = socket.socket()
        held.append(listener)
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        for _ in range(4):
            waiting = socket.socket()
            held.append(waiting)
            waiting.setblocking(False)
            waiting.connect_ex(listener.getsockname())
        return listener.getsockname()

    yield make
    for each in held:
        each.close()


def seconds_of(database):
    """How long a connection is tried, and what is said then."""
    begun = time.monotonic()
    with pytest.raises(DatabaseError) as refused, reached.translated(database, "connecting"):
        reached.connect(database)
    return time.monotonic() - begun, str(refused.value)


def test_one_limit_holds_for_all_addresses_of_a_name(database, swallow, monkeypatch):
    monkeypatch.setattr(reached, "_CONNECT_TIMEOUT", 0.5)
    Name(monkeypatch, *(swallow() for _ in range(3)))

    seconds, reason = seconds_of(replace(database, host="db.example"))

    assert seconds < 1
    assert "TimeoutError: no connection within 0.5 s" in reason


def test_an_address_that_swallows_leaves_time_for_the_next(server, database, swallow, monkeypatch):
    monkeypatch.setattr(reached, "_CONNECT_TIMEOUT", 2)
    Name(monkeypatch, swallow(), (server.host, server.port))

    assert ids(replace(database, host="db.example")) == ids(database)


def test_the_limit_holds_while_the_name_is_being_looked_up(database, monkeypatch):
    monkeypatch.setattr(reached, "_CONNECT_TIMEOUT", 0.2)
    name = Name(monkeypatch, seconds=30)

    seconds, reason = seconds_of(replace(database, host="db.example"))
    name.end()

    assert seconds < 2
    assert "TimeoutError: no connection within 0.2 s" in reason


@pytest.mark.parametrize("over_tls", [False, True])
def test_the_limit_holds_for_a_server_that_sends_a_byte_now_and_then(database, monkeypatch, over_tls):
    monkeypatch.setattr(reached, "_CONNECT_TIMEOUT", 0.5)
    enough = threading.Event()

    def drip(listener):
        with suppress(OSError):
            peer, _ = listener.accept()
            with peer:
                peer.sendall(b"S" if over_tls else b"N\0\0\x0f\xff")  # TLS comes; or a notice of 4095 bytes
                while not enough.wait(0.05):
                    peer.sendall(b"\x16" if over_tls else b"x")

    with socket.create_server(("127.0.0.1", 0)) as listener:
        threading.Thread(target=drip, args=(listener,), daemon=True).start()
        tls = "verify" if over_tls else "disable"
        seconds, reason = seconds_of(replace(database, port=listener.getsockname()[1], tls=tls))
    enough.set()

    assert seconds < 1.5
    assert over_tls or "no connection within 0.5 s" in reason


def test_a_host_that_begins_with_a_slash_is_the_directory_of_a_socket(server, database, tmp_path):
    def pump(source, sink):
        with suppress(OSError):
            while data := source.recv(65_536):
                sink.sendall(data)

    def serve(listener):
        inside, _ = listener.accept()
        with inside, socket.create_connection((server.host, server.port)) as outside:
            threading.Thread(target=pump, args=(outside, inside), daemon=True).start()
            pump(inside, outside)

    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / ".s.PGSQL.5432"))
        listener.listen()
        threading.Thread(target=serve, args=(listener,), daemon=True).start()

        assert ids(replace(database, host=str(tmp_path), port=5432, tls="verify")) == ids(database)


# Passwords


class Vault:
    """What Secrets Manager holds, and how often it was asked."""

    def __init__(self, text):
        self.text, self.asked = text, 0

    def __call__(self, _arn, _anew):
        self.asked += 1
        return self.text

    def secret(self):
        return Secret("DB_PASSWORD", arn="arn:it", fetch=self)


@pytest.fixture
def rotated(server):
    """Give the role another password and end its connections, as a rotation does; in the end it has its own again."""

    def rotate(password, user=server.user):
        terminate = f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = '{server.user}'"  # noqa: S608
        as_owner(server, f"ALTER ROLE {user} PASSWORD {native.literal(password)}", terminate)

    yield rotate
    rotate(server.password)


def test_a_rotated_password_is_fetched_anew_by_fan_out_and_the_picker(server, database, open_rows, rotated):
    vault = Vault(server.password)
    database = replace(database, password=vault.secret())
    rows = open_rows(database)
    before = ids(database), rows.row(1)

    rotated("another password")
    vault.text = "another password"

    assert (ids(database), rows.row(1)) == before
    assert vault.asked == 2


def test_a_password_that_is_refused_is_fetched_anew_once(database):
    vault = Vault("not the password")

    with pytest.raises(DatabaseError, match="28P01; check DB_USERNAME and DB_PASSWORD"):
        ids(replace(database, password=vault.secret()))

    assert vault.asked == 2


def test_a_rotation_that_alternates_between_two_users_is_followed(server, database, rotated):
    """As Secrets Manager's strategy for alternating users does: the secret names the one that is good now."""
    vault = Vault(f'{{"username": "{server.user}", "password": "{server.password}", "engine": "postgres"}}')
    database = replace(database, password=vault.secret())
    before = ids(database)
    as_owner(server, f"CREATE ROLE reader_clone LOGIN PASSWORD 'clone' IN ROLE {server.user}")
    try:
        rotated("gone")
        vault.text = '{"username": "reader_clone", "password": "clone"}'

        assert ids(database) == before
    finally:
        as_owner(server, "DROP ROLE reader_clone")


@pytest.mark.parametrize(
    "password",
    [
        pytest.param("pässw€rd", id="not ASCII"),
        pytest.param("é", id="decomposed"),
        pytest.param("ﬁve", id="ligature"),
        pytest.param("\u00a0in\u00a0side\u00a0", id="no-break spaces"),
        pytest.param(" blanks ", id="blanks"),
        pytest.param("soft\u00adhyphen", id="mapped to nothing"),
        pytest.param("lock \U0001f512", id="unassigned in Unicode 3.2"),
        pytest.param("bell\x07", id="control character"),
        pytest.param("\u0627\u0031", id="malformed direction"),
        pytest.param("quote'\"\\%{}:x", id="quotes"),
        pytest.param("x" * 500, id="long"),
    ],
)
def test_any_password_that_postgresql_takes_lets_in(database, rotated, password):
    rotated(password)

    assert ids(replace(database, password=Secret("DB_PASSWORD", password, fetch=Vault("")))) == WORLD.identity_ids()


# Between two queries


def test_a_migration_between_two_reads_costs_no_answer(server, database, open_rows):
    rows = open_rows(database)
    before = rows.row(1)
    column = "ALTER TABLE wxyc_schema.rotation ALTER COLUMN artist_name TYPE"

    as_owner(server, f"{column} text")
    try:
        assert rows.row(1) == before
    finally:
        as_owner(server, f"{column} varchar(128)")
    assert rows.row(1) == before


def test_a_restart_between_two_reads_costs_no_answer(server, database, open_rows):
    rows = open_rows(database)
    with ThreadPoolExecutor(4) as djs:
        before = list(djs.map(rows.row, [1] * 4))

    home = Path(server.home)
    options = ["-D", str(home / "data"), "-w", "-m", "fast", "-l", str(home / "log"), "-o", f"-p {server.port}"]
    cluster.run([f"{server.binaries}/pg_ctl", "restart", *options], home)

    assert [rows.row(1) for _ in range(5)] == [before[0]] * 5


def test_no_more_than_five_connections_are_open_at_once_and_waiting_ends(server, database, open_rows, monkeypatch):
    monkeypatch.setattr(reached, "_WAIT_FOR_ONE", 0.1)
    rows = open_rows(database)
    with ThreadPoolExecutor(5) as djs:
        with postgres.connected(server) as somebody:
            somebody.run("BEGIN")
            somebody.run("LOCK TABLE wxyc_schema.rotation IN ACCESS EXCLUSIVE MODE")
            reads = [djs.submit(rows.row, 1) for _ in range(5)]
            waiting = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'"
            with postgres.connected(server) as another:  # a transaction sees the activity of its first look
                eventually(lambda: another.run(waiting) == [[5]])
            with pytest.raises(DatabaseError, match="all 5 connections are in use"):
                rows.row(1)
        assert len({read.result() for read in reads}) == 1


# Time stamps


@pytest.mark.parametrize(
    ("marker", "expected"),
    [
        ("infinity", datetime.max.replace(tzinfo=UTC)),
        ("-infinity", datetime.min.replace(tzinfo=UTC)),
        ("4713-01-01 00:00:00+00 BC", datetime.min.replace(tzinfo=UTC)),
        ("294276-12-31 00:00:00+00", datetime.max.replace(tzinfo=UTC)),
        ("2026-02-03 04:30:00.25+00", datetime(2026, 2, 3, 4, 30, 0, 250_000, tzinfo=UTC)),
        ("0800-01-01 00:00:00+00", datetime(800, 1, 1, tzinfo=UTC)),
    ],
)
def test_a_marker_is_read_as_what_it_means(server, database, open_rows, marker, expected):
    mark = "UPDATE wxyc_schema.rotation SET tracklist_lookup_attempted_at = '{}' WHERE id = 1"
    as_owner(server, mark.format(marker))

    attempted_at = open_rows(database, VirtualClock()).row(1).attempted_at

    assert attempted_at == expected
    assert datetime.now(UTC) - attempted_at < timedelta.max  # can be reckoned with


# Certificates


def chain_without_identifiers(directory):
    """Write a server's key and certificate, and its authority, without the identifiers that RFC 5280 asks for."""
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "authority")])
    now = datetime.now(UTC)
    keys = [ec.generate_private_key(ec.SECP256R1()) for _ in range(2)]

    def certificate(subject, key, extension):
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - timedelta(days=1))
            .not_valid_after(now + timedelta(days=1))
            .add_extension(extension, critical=True)
            .sign(keys[0], hashes.SHA256())
            .public_bytes(serialization.Encoding.PEM)
        )

    private = keys[1].private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    authority = certificate(name, keys[0], x509.BasicConstraints(ca=True, path_length=None))
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "db")])
    served = certificate(subject, keys[1], x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]))
    (directory / "server.pem").write_bytes(private + served)
    (directory / "authority.pem").write_bytes(authority)


@contextmanager
def tls_server(pem):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pem)

    def serve(listener):
        with suppress(OSError):
            peer, _ = listener.accept()
            with peer:
                peer.recv(8)
                peer.sendall(b"S")
                context.wrap_socket(peer, server_side=True).close()

    with socket.create_server(("127.0.0.1", 0)) as listener:
        threading.Thread(target=serve, args=(listener,), daemon=True).start()
        yield listener.getsockname()[1]


def test_a_certificate_that_strict_checking_refuses_is_refused_with_that_reason(database, tmp_path, monkeypatch):
    chain_without_identifiers(tmp_path)
    if sys.version_info < (3, 13):  # what later versions do by default
        make = ssl.create_default_context

        def strict(**how):
            context = make(**how)
            context.verify_flags |= ssl.VERIFY_X509_STRICT
            return context

        monkeypatch.setattr(ssl, "create_default_context", strict)

    with tls_server(tmp_path / "server.pem") as port:
        _, reason = seconds_of(replace(database, port=port, tls=str(tmp_path / "authority.pem")))

    assert "Python 3.13 and later refuse such a certificate" in reason
    assert "runbook" in reason
