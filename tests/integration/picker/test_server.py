"""The long-lived picker as a process: tokens, origins, what it answers to odd requests, how it starts and ends."""

import json
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import httpx
import pytest
from starlette.applications import Starlette
from starlette.responses import Response
from starlette.routing import Route

from core.picker.api import PATH
from local import serve
from local.process import end
from ops import picker as served
from tests.eventually import eventually
from tests.integration.build import KEY
from tests.integration.picking import RELEASE
from tests.signing import SETTINGS, bearer, key_set

ORIGIN = "https://dj.example"


@pytest.fixture
def environment(station, lml):
    return {**station.environment, "LIBRARY_METADATA_URL": lml.url, "LML_API_KEY": KEY, "LOCAL_DEV": "1"}


class Issuer:
    status = 200


@pytest.fixture
def issuer():
    """Publish keys, unless told to be away; gives the issuer, with its URL."""
    there = Issuer()

    async def keys(_):
        return Response(key_set(), there.status)

    with serve.in_thread(Starlette(routes=[Route("/jwks", keys)])) as url:
        there.url = f"{url}/jwks"
        yield there


@pytest.fixture
def tokens(environment, issuer):
    return {
        **environment,
        **SETTINGS,
        "PICKER_JWKS_URL": issuer.url,
        "PICKER_CORS_ORIGINS": f"{ORIGIN},https://b.example",
    }


@pytest.fixture
def start(tmp_path):
    """Start servers; gives a client of each, which knows its process."""
    started = []

    def make(environment, *, warm=False):
        process, url = served.start(environment, tmp_path, warm=warm)
        client = httpx.Client(base_url=url, timeout=30)
        client.process = process
        started.append((process, client))
        return client

    yield make
    for process, client in started:
        client.close()
        end([process])


def tracks_of(row):
    return PATH.format(rotation_id=row)


def log_of(client):
    lines = Path(client.process.log).read_text().splitlines()
    return [json.loads(line) for line in lines if line.startswith("{")]


# Tokens


def test_a_dj_reads_with_a_token_and_nobody_without(start, tokens, station, lml):
    lml.answers("release", RELEASE)
    path, dj = tracks_of(station.row(release=11)), start(tokens)

    assert dj.get(path, headers={"Authorization": bearer()}).json()[0]["title"] == "Opening Balance"
    nobody = dj.get(path)
    assert (nobody.status_code, nobody.json()) == (401, {"message": "Unauthorized"})
    assert nobody.headers["www-authenticate"] == "Bearer"
    refused = dj.get(path, headers={"Authorization": "Bearer x"})
    assert (refused.status_code, refused.headers["www-authenticate"]) == (401, 'Bearer error="invalid_token"')
    forbidden = dj.get(path, headers={"Authorization": bearer(role="listener")})
    assert (forbidden.status_code, forbidden.json()) == (403, {"message": "Forbidden"})
    assert dj.get("/openapi.json").status_code == dj.get("/health").status_code == dj.get("/ready").status_code == 200


def test_an_oversized_token_is_refused_and_an_endless_head_is_hung_up_on(start, tokens):
    dj = start(tokens)

    assert dj.get(tracks_of(7), headers={"Authorization": "Bearer " + "x" * 20_000}).status_code == 401
    with socket.create_connection((dj.base_url.host, dj.base_url.port), timeout=30) as sock:
        sock.sendall(b"GET /health HTTP/1.1\r\nHost: x\r\nX-Long: ")
        with pytest.raises(OSError, match=r".*"):  # noqa: PT012 - as much as it takes
            for _ in range(1000):
                sock.sendall(b"x" * 65_536)
    assert dj.get("/health").status_code == 200


def test_without_keys_it_is_503_and_never_yes(start, tokens, issuer, station):
    issuer.status = 500
    path, dj = tracks_of(station.row(release=11)), start(tokens)

    answer = dj.get(path, headers={"Authorization": bearer()})

    assert (answer.status_code, answer.json().keys()) == (503, {"message"})
    assert int(answer.headers["retry-after"]) > 0
    assert any("no token can be checked" in line["message"] for line in log_of(dj) if "message" in line)


# Origins


def test_a_page_of_a_given_origin_may_ask_and_read(start, tokens):
    dj = start(tokens)
    asks = {"Origin": ORIGIN, "Access-Control-Request-Method": "GET", "Access-Control-Request-Headers": "authorization"}

    preflight = dj.options(tracks_of(7), headers=asks)

    assert (preflight.status_code, preflight.content) == (204, b"")
    assert preflight.headers["access-control-allow-origin"] == ORIGIN
    assert "authorization" in preflight.headers["access-control-allow-headers"].lower()
    refused = dj.get(tracks_of(7), headers={"Origin": ORIGIN})
    assert refused.status_code == 401
    assert refused.headers["access-control-allow-origin"] == ORIGIN, "else the page cannot see why"
    assert "etag" in refused.headers["access-control-expose-headers"].lower()
    assert "Origin" in refused.headers["vary"]


def test_a_page_of_another_origin_may_not(start, tokens):
    dj = start(tokens)
    asks = {"Origin": "https://evil.example", "Access-Control-Request-Method": "GET"}

    answer = dj.options(tracks_of(7), headers=asks)

    assert (answer.status_code, answer.json().keys()) == (400, {"message"})
    assert "access-control-allow-origin" not in answer.headers
    assert "access-control-allow-origin" not in dj.get(tracks_of(7), headers={"Origin": "https://evil.example"}).headers


def test_a_warm_read_is_answered_with_the_same_headers_as_a_cold_one(start, tokens, station, lml):
    """It does not go through what makes them for a cold one."""
    lml.answers("release", RELEASE)
    path, dj = tracks_of(station.row(release=11)), start(tokens)
    asks = {"Authorization": bearer(), "Origin": ORIGIN}

    def answered(**more):
        answer = dj.get(path, headers=asks | more)
        return answer.status_code, answer.content, {k: v for k, v in answer.headers.items() if k != "date"}

    cold, warm = answered(), answered()

    assert cold == warm
    assert warm[2]["access-control-allow-origin"] == ORIGIN
    assert answered(Authorization="Bearer x")[0] == answered(Authorization="")[0] == 401
    assert "access-control-allow-origin" not in answered(Origin="https://evil.example")[2]


# Odd requests


@pytest.mark.parametrize(
    "rotation_id",
    ["0", "-1", "+1", "1.5", "1e3", "%D9%A3", "%EF%BC%91", "%0A1", "1%0A", "%201", "2147483648", "9" * 5000],
)
def test_what_is_no_id_is_told_so(open_url, rotation_id):
    answer = open_url.get(tracks_of(rotation_id))
    assert (answer.status_code, answer.json()) == (400, {"message": "rotation_id must be a positive integer"})


@pytest.fixture(scope="module")
def open_url(station_server, lml_server, tmp_path_factory):
    """A server that everybody may read from, for requests that change nothing."""
    given = {**station_server.environment, "LIBRARY_METADATA_URL": lml_server.url, "LML_API_KEY": KEY, "LOCAL_DEV": "1"}
    process, url = served.start(given, tmp_path_factory.mktemp("open"), warm=False)
    with httpx.Client(base_url=url, timeout=30) as client:
        yield client
    end([process])


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/", 404),
        ("GET", "/library/rotation//tracks", 404),
        ("GET", "/library/rotation/7/tracks/", 404),
        ("GET", "/library/rotation/1%2F2/tracks", 404),
        ("GET", "/library/../etc/passwd", 404),
        ("POST", "/library/rotation/7/tracks", 405),
        ("DELETE", "/library/rotation/7/tracks", 405),
        ("OPTIONS", "/library/rotation/7/tracks", 405),
        ("PROPFIND", "/library/rotation/7/tracks", 405),
        ("PUT", "/openapi.json", 405),
    ],
)
def test_unknown_paths_and_methods_are_answered_as_all_else(open_url, method, path, status):
    answer = open_url.request(method, path)

    assert (answer.status_code, answer.json().keys()) == (status, {"message"})
    assert answer.headers["content-type"] == "application/json"
    assert ("GET" in answer.headers.get("allow", "")) == (status == 405)


@pytest.mark.parametrize(
    "sent",
    [
        pytest.param(b"no HTTP\r\n\r\n", id="words"),
        pytest.param(b"\x16\x03\x01\x00\xf8\x01\x00\x00\xf4", id="TLS"),
        pytest.param(b"GET /\xff\xfe HTTP/9.9\r\n\r\n", id="a version that is none"),
        pytest.param(b"GET / HTTP/1.1\r\n a\r\n\r\n", id="a header that is none"),
    ],
)
def test_what_is_no_http_is_answered_as_all_else(open_url, sent):
    at = open_url.base_url
    with socket.create_connection((at.host, at.port), timeout=30) as sock:
        sock.sendall(sent)
        head, _, body = b"".join(iter(lambda: sock.recv(65536), b"")).partition(b"\r\n\r\n")

    assert head.startswith(b"HTTP/1.1 400 ")
    assert b"content-type: application/json" in head
    assert json.loads(body) == {"message": "Invalid HTTP request received."}


def test_a_head_is_a_get_without_its_body(open_url):
    head, get = open_url.head(tracks_of(7)), open_url.get(tracks_of(7))
    assert (head.status_code, head.content) == (get.status_code, b"")
    assert head.headers["content-type"] == get.headers["content-type"]
    assert head.headers["content-length"] == get.headers["content-length"]


def test_a_warm_row_needs_neither_database_nor_lml_and_a_known_tag_no_body(start, environment, station, lml):
    lml.answers("release", RELEASE)
    path, dj = tracks_of(station.row(release=11)), start(environment)
    first = dj.get(path)
    station.empty()  # whoever asks the database now finds nothing

    again = dj.get(path)
    known = dj.get(path, headers={"If-None-Match": first.headers["etag"]})

    assert again.content == first.content != b"[]"
    assert again.headers["cache-control"] == "private, max-age=30"
    assert (known.status_code, known.content, known.headers["etag"]) == (304, b"", first.headers["etag"])
    assert len(lml.asked()) == 1


# Alive, ready


def test_it_is_ready_while_its_database_is_reachable(start, environment):
    ready = start(environment, warm=True).get("/ready")

    assert ready.status_code == 200
    assert ready.json()["status"] == "ready"
    assert {"state", "walks", "active", "counters"} <= ready.json()["walk"].keys()


def test_it_is_alive_but_not_ready_while_its_database_is_away(start, environment):
    there = start(environment | {"DB_PORT": "1"}, warm=True)

    ready = there.get("/ready")

    assert (ready.status_code, ready.json()["status"]) == (503, "not ready")
    assert "127.0.0.1" not in ready.text, "where the database is, is nobody's business"
    eventually(lambda: there.get("/ready").json()["walk"]["state"] == "failed")
    assert there.get("/ready").json()["walk"]["nextInSeconds"] <= 60
    assert there.get("/health").json() == {"status": "healthy"}


# Start and end


def test_every_request_is_in_the_access_log_without_what_is_secret(start, tokens, station):
    dj = start(tokens)
    path = tracks_of(station.row(release=11))
    dj.get(path, params={"token": "secret"}, headers={"Authorization": "Bearer secret"})
    dj.get("/nowhere")

    eventually(lambda: len([line for line in log_of(dj) if line.get("step") == "access"]) == 2)

    first, second = (line for line in log_of(dj) if line.get("step") == "access")
    assert (first["method"], first["path"], first["status"]) == ("GET", path, 401)
    assert (second["path"], second["status"]) == ("/nowhere", 404)
    assert first["millis"] > 0
    assert first["bytes"] == len('{"message":"Unauthorized"}')
    assert "secret" not in Path(dj.process.log).read_text()


def test_a_request_under_way_is_answered_before_the_end(start, environment, station, lml):
    lml.answers("release", RELEASE, hold=True)
    dj = start(environment)
    path = tracks_of(station.row(release=11))
    with socket.create_connection((dj.base_url.host, dj.base_url.port), timeout=30) as sock:
        sock.sendall(f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        eventually(lambda: lml.held() == 1)
        os.kill(dj.process.pid, signal.SIGTERM)
        eventually(lambda: refuses(dj))
        lml.let_go()
        answer = sock.makefile("rb").read()

    assert answer.startswith(b"HTTP/1.1 200")
    assert b"Opening Balance" in answer
    eventually(lambda: not dj.process.alive)
    assert [line["message"] for line in log_of(dj) if "message" in line][-1] == "ended"


def refuses(dj):
    """Whether it takes no connection any more."""
    try:
        socket.create_connection((dj.base_url.host, dj.base_url.port), timeout=5).close()
    except OSError:
        return True
    return False


def launch(environment):
    return subprocess.run(
        [sys.executable, "-m", "server"],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_wrong_settings_are_reported_all_at_once(environment):
    given = environment | {"LOCAL_DEV": "0", "PORT": "x", "DB_NAME": "", "PICKER_CORS_ORIGINS": "https://a.example/,*"}
    done = launch(given)

    assert done.returncode == 1
    for name in (
        "PICKER_JWKS_URL",
        "PICKER_JWT_ISSUER",
        "PICKER_JWT_AUDIENCE",
        "PORT",
        "DB_NAME",
        "PICKER_CORS_ORIGINS",
    ):
        assert done.stderr.count(f"{name} ") == 1, done.stderr
    assert "Traceback" not in done.stderr


def test_half_of_the_token_settings_is_not_none(environment):
    """On a developer's machine too: who sets an issuer does not mean that everybody may read."""
    assert "PICKER_JWKS_URL is required" in launch(environment | {"PICKER_JWT_ISSUER": "https://a.example"}).stderr


def test_an_address_that_is_taken_is_reported(environment):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        done = launch(environment | {"PORT": str(taken.getsockname()[1])})
    assert done.returncode == 1
    assert "cannot be listened on" in done.stderr
    assert "Traceback" not in done.stderr
