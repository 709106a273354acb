"""Warm reads of the picker's server, beside two servers that do nothing but return the same bytes.

Each of them is a process of its own, and they take turns. What a read costs is the processor's time of that process.
DJs ask over sockets that stay open, each as fast as it is answered, with a token and from a page of another origin,
which only the picker looks at.
"""

import json
import shutil
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from statistics import median
from typing import Final
from urllib.parse import urlsplit

import httpx
import jwt
import psutil
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from jwt.algorithms import OKPAlgorithm
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from bench.figures import Figure, compared
from core.picker import api
from local import serve
from local.process import Process, end, listening, spawn
from ops import picker
from ops.picker import StandIns

AT_ONCE: Final = (1, 4, 16)
"""How many DJs read at once."""
READS: Final = 2000
"""Of a turn."""
STARLETTE_LIMIT: Final = 1.3
EXPRESS_LIMIT: Final = 1.0
STARLETTE: Final = "a Starlette `async def` that returns the same bytes"
EXPRESS: Final = "Express that answers from a Map"
_ISSUER: Final = "https://auth.example"
_HERE: Final = Path(__file__).parent
_INSTALL_SECONDS: Final = 180

Turn = tuple[float, float, float, float]
"""Of some reads, milliseconds: the processor's time of a read, the median, the 99th percentile, 1/(reads a second)."""


def reads(there: StandIns, row: int, turns: int) -> list[Figure]:
    """Measure reads of a row that the database beside has."""
    path = api.PATH.format(rotation_id=row)
    with _issuer() as (issuer, token), picker.served(_with_tokens(there, issuer), warm=False) as (ours, url):
        head = (f"GET {path} HTTP/1.1", "Host: picker", f"Origin: {_ISSUER}", f"Authorization: Bearer {token}", "", "")
        asked = "\r\n".join(head).encode()
        body = there.directory / "body.json"
        first = httpx.get(url + path, headers={"Authorization": f"Bearer {token}"}, timeout=60)
        body.write_bytes(first.raise_for_status().content)
        with _baselines(there.directory, body, row) as baselines:
            servers = {"ours": (ours, url), **baselines}
            return [
                figure
                for djs in AT_ONCE
                for figure in _figures(djs, [_round(servers, asked, djs) for _ in range(1 + turns)][1:])
            ]


def _figures(djs: int, rounds: list[dict[str, Turn]]) -> Iterator[Figure]:
    what = f"warm read, served, {djs} at once"
    limits = {STARLETTE: STARLETTE_LIMIT, EXPRESS: EXPRESS_LIMIT}
    for name, limit in limits.items():
        if name in rounds[0]:
            pairs = [(each["ours"][0], each[name][0]) for each in rounds]
            yield compared(f"{what}, CPU", pairs, unit="ms", against=name, limit=limit)
        else:
            yield Figure(what=f"{what}, CPU", unit="ms", ours=_middle(rounds, 0), note=f"{name}: {_why_not()}")
    for at, of in enumerate(("p50", "p99", "1/(reads a second)"), start=1):
        pairs = [(each["ours"][at], each[STARLETTE][at]) for each in rounds]
        yield compared(f"{what}, {of}", pairs, unit="ms", against=STARLETTE)


def _middle(rounds: list[dict[str, Turn]], at: int) -> float:
    return round(median(each["ours"][at] for each in rounds), 3)


def _round(servers: Mapping[str, tuple[Process, str]], asked: bytes, djs: int) -> dict[str, Turn]:
    return {name: _turn(process, url, asked, djs) for name, (process, url) in servers.items()}


def _turn(process: Process, url: str, asked: bytes, djs: int) -> Turn:
    parts = urlsplit(url)
    address, seconds = (parts.hostname or "", parts.port or 0), list[float]()

    def read() -> None:
        with socket.create_connection(address, timeout=60) as sock, sock.makefile("rb") as answers:
            for _ in range(READS // djs):
                began = time.perf_counter()
                sock.sendall(asked)
                length, status = 0, answers.readline()
                while (line := answers.readline()) != b"\r\n":
                    if line[:15].lower() == b"content-length:":
                        length = int(line[15:])
                answers.read(length)
                seconds.append(time.perf_counter() - began)
                assert b" 200 " in status  # noqa: S101 - else the figure is of something else

    measured = psutil.Process(process.pid)
    before, began = measured.cpu_times(), time.perf_counter()
    threads = [threading.Thread(target=read) for _ in range(djs)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    elapsed, after = time.perf_counter() - began, measured.cpu_times()
    count = len(seconds)
    if count < READS // djs * djs:
        raise RuntimeError(f"{url} did not answer each read")
    cpu = after.user + after.system - before.user - before.system
    seconds.sort()
    return 1000 * cpu / count, 1000 * seconds[count // 2], 1000 * seconds[count * 99 // 100], 1000 * elapsed / count


@contextmanager
def _baselines(directory: Path, body: Path, row: int) -> Iterator[dict[str, tuple[Process, str]]]:
    commands = {STARLETTE: [sys.executable, "-m", "bench.bare", str(body)]}
    if _installed(directory):
        shutil.copy(_HERE / "express.js", directory)
        commands[EXPRESS] = [shutil.which("node") or "node", str(directory / "express.js"), str(body)]
    running: dict[str, tuple[Process, str]] = {}
    try:
        for number, (name, command) in enumerate(commands.items()):
            url_file = directory / f"baseline-{number}.url"
            process = spawn([*command, str(url_file), str(row)], directory / f"baseline-{number}.log")
            running[name] = (process, "")
            running[name] = (process, listening(process, name, url_file))
        yield running
    finally:
        end([process for process, _ in running.values()])


def _installed(directory: Path) -> bool:
    """Install Express from npm's registry into a directory; says whether it is there."""
    npm = shutil.which("npm")
    if npm is None:
        return False
    (directory / "package.json").write_text("{}")
    command = [npm, "install", "--no-audit", "--no-fund", "--fetch-retries=0", "express@5"]
    with suppress(subprocess.TimeoutExpired):
        done = subprocess.run(  # noqa: S603 - our own command
            command, cwd=directory, capture_output=True, check=False, timeout=_INSTALL_SECONDS
        )
        return done.returncode == 0
    return False


def _why_not() -> str:
    return "node is not installed" if shutil.which("npm") is None else "npm's registry cannot be reached"


@contextmanager
def _issuer() -> Iterator[tuple[str, str]]:
    """Publish a key; gives where, and a token that it signed."""
    private = Ed25519PrivateKey.generate()
    keys = {"keys": [{**OKPAlgorithm.to_jwk(private.public_key(), as_dict=True), "kid": "bench"}]}
    claims = {"iss": _ISSUER, "aud": _ISSUER, "role": "dj", "exp": int(time.time()) + 86_400}
    token = jwt.encode(claims, private, "EdDSA", {"kid": "bench"})

    async def published(_: Request) -> Response:
        return Response(json.dumps(keys))

    with serve.in_thread(Starlette(routes=[Route("/jwks", published)])) as url:
        yield f"{url}/jwks", token


def _with_tokens(there: StandIns, issuer: str) -> StandIns:
    more = {
        "PICKER_JWKS_URL": issuer,
        "PICKER_JWT_ISSUER": _ISSUER,
        "PICKER_JWT_AUDIENCE": _ISSUER,
        "PICKER_CORS_ORIGINS": _ISSUER,
    }
    return there.with_more(more)
