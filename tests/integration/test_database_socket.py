"""A `DATABASE_URL` that names a socket, with a port and options: the whole cloud works on it."""

import json
import tempfile
from pathlib import Path
from urllib.parse import quote

import httpx
import pytest

from local import cluster, postgres
from tests.integration.operating import Operator


@pytest.fixture
def server(monkeypatch, tmp_path):
    """A server that listens on a socket too, in a folder with a short path that its user can write to."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o777)
        monkeypatch.setitem(cluster.SERVER, "unix_socket_directories", folder)
        monkeypatch.delenv("DATABASE_URL", raising=False)
        started = postgres.start(tmp_path / "server")
        account = f"postgres:{quote(started.owner_password)}"
        where = f"host={quote(folder, safe='')}&port={started.port}&options=-c%20statement_timeout%3D30s"
        monkeypatch.setenv("DATABASE_URL", f"postgresql://{account}@/postgres?{where}")
        yield started
        postgres.stop(started)


@pytest.mark.long
def test_a_cloud_lives_in_a_database_behind_a_socket_and_leaves_it_as_it_was(server, tmp_path):
    operator = Operator(tmp_path / "operator")
    operator.directory.mkdir()
    up = operator.data("up", "--identities", "5", "--speed", "400")
    try:
        health = httpx.get(up["health_url"])
        ended = operator.data("run", "--wait")
        looked = {it["check"]: it["status"] for it in operator.data("smoke")["checks"]}
    finally:
        operator.data("down")

    assert (health.status_code, health.json()["parts"]["postgresql"]) == (200, "ok"), json.dumps(health.json())
    assert (ended["status"], ended["identities_scanned"]) == ("complete", 5)
    assert set(looked.values()) == {"ok"}
    with postgres.connected(server) as connection:
        assert connection.run("SELECT nspname FROM pg_namespace WHERE nspname LIKE 'wxyc%'") == [["wxyc_schema"]]
