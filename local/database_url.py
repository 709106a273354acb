"""`DATABASE_URL` read as libpq reads a connection URI (PostgreSQL's manual, 34.1.1.2 and 34.1.2)."""

import getpass
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from urllib.parse import unquote

from local.cluster import PostgresError

SCHEMES: Final = ("postgresql://", "postgres://")
FORM: Final = "postgresql://user:password@host:port/database"
SOCKETS: Final = ("/var/run/postgresql", "/tmp")  # noqa: S108 - where distributions and PostgreSQL itself put them
PLAIN: Final = frozenset({"disable", "allow", "prefer"})
VERIFIED: Final = frozenset({"require", "verify-ca", "verify-full"})
_USED: Final = frozenset(
    {"host", "hostaddr", "port", "user", "password", "dbname", "sslmode", "sslrootcert", "options"}
)
_IGNORED: Final = frozenset(
    {"application_name", "fallback_application_name", "connect_timeout", "client_encoding", "gssencmode", "krbsrvname"}
    | {"keepalives", "keepalives_idle", "keepalives_interval", "keepalives_count", "tcp_user_timeout", "gsslib"}
    | {"target_session_attrs", "channel_binding", "load_balance_hosts", "sslsni", "sslcompression", "sslnegotiation"}
    | {"ssl_min_protocol_version", "ssl_max_protocol_version", "require_auth", "passfile"}
)
"""Parameters of libpq that change nothing here."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Address:
    """The parts of a URI; `hosts` are tried in their order, and one that begins with / is a socket's directory."""

    hosts: tuple[tuple[str, int], ...]
    database: str
    user: str
    password: str
    tls: str
    """The value of DB_TLS."""
    options: str


def parse(url: str) -> Address:
    """Read a URI; raises PostgresError, whose sentence holds no part of the password."""
    scheme = next((it for it in SCHEMES if url.startswith(it)), None)
    if scheme is None:
        named = re.match(r"([A-Za-z][\w+.-]*)://", url)
        what = f"has the scheme {named[1]}://" if named else "is no URI"
        raise PostgresError(f"DATABASE_URL {what}: write {FORM}, or unset it for a database of its own")
    # libpq ends the user's part at the first @ or /, so that a password must have its / and @ encoded.
    rest = url.removeprefix(scheme)
    end = min((at for at in (rest.find("/"), rest.find("?")) if at >= 0), default=len(rest))
    authority, slash, path = rest[:end], rest[end : end + 1] == "/", rest[end:].removeprefix("/")
    if slash and "@" not in authority and "@" in path.partition("?")[0]:
        raise PostgresError(
            f"DATABASE_URL has an @ after a /: write {FORM}, with a / or @ in the password as %2F or %40"
        )
    named_database, _, query = path.partition("?")
    if not slash and path.startswith("?"):
        named_database, query = "", path[1:]
    user_part, _, host_part = authority.rpartition("@")
    user, colon, password = user_part.partition(":")
    given = _parameters(query)
    hosts, ports = _split(host_part)
    if listed := given.get("hostaddr") or given.get("host"):
        hosts = listed.split(",")
    if "port" in given:
        ports = given["port"].split(",")
    if len(ports) not in {1, len(hosts)}:
        raise PostgresError(
            f"DATABASE_URL names {len(hosts)} hosts and {len(ports)} ports: write one port, or one for each"
        )
    numbers = [_port(port) for port in (ports if len(ports) == len(hosts) else ports * len(hosts))]
    chosen = given.get("user") or _decoded(user) or getpass.getuser()
    return Address(
        hosts=tuple((host or _default(port), port) for host, port in zip(hosts, numbers, strict=True)),
        user=chosen,
        password=given.get("password", _decoded(password) if colon else ""),
        database=given.get("dbname") or _decoded(named_database) or chosen,
        tls=_tls(given),
        options=given.get("options", ""),
    )


def _parameters(query: str) -> dict[str, str]:
    given = {}
    for pair in filter(None, query.split("&")):
        name, equals, value = pair.partition("=")
        name = _decoded(name)
        if name == "ssl" and value == "true":  # as JDBC has it; libpq takes it for sslmode=require
            name, value = "sslmode", "require"
        if not equals or name not in _USED | _IGNORED:
            raise PostgresError(f"DATABASE_URL has the parameter {name!r}, which is none of libpq's: leave it out")
        given[name] = _decoded(value)
    return given


def _split(part: str) -> tuple[list[str], list[str]]:
    """Split host:port,host:port; an IPv6 address is in brackets."""
    hosts, ports = [], []
    for spec in part.split(","):
        found = re.fullmatch(r"(\[[^\]]*\]|[^:\[\]]*)(?::(.*))?", spec)
        if found is None:
            raise PostgresError(f"DATABASE_URL's host {spec!r} is none: write {FORM}, an IPv6 address as [::1]")
        hosts.append(_decoded(found[1].strip("[]")))
        ports.append(found[2] or "")
    return hosts, ports


def _port(text: str) -> int:
    if not text:
        return 5432
    if not re.fullmatch("[0-9]{1,5}", text) or not 1 <= int(text) <= 65_535:
        # What stands there may be a password with a colon or an @ in it.
        raise PostgresError(
            f"DATABASE_URL's port is no number from 1 to 65535: write {FORM}, special characters as %XX"
        )
    return int(text)


def _decoded(text: str) -> str:
    if re.search("%(?![0-9A-Fa-f]{2})", text) or "\0" in (decoded := unquote(text, errors="surrogateescape")):
        raise PostgresError("DATABASE_URL has a % that two hexadecimal digits must follow: write a % itself as %25")
    return decoded


def _default(port: int) -> str:
    """Return where a server without a host is, as libpq looks for it: its socket, or this machine."""
    return next((it for it in SOCKETS if Path(it, f".s.PGSQL.{port}").exists()), "localhost")


def _tls(given: dict[str, str]) -> str:
    mode, bundle = given.get("sslmode", "prefer"), given.get("sslrootcert", "system")
    if mode not in PLAIN | VERIFIED:
        known = ", ".join(sorted(PLAIN | VERIFIED))
        raise PostgresError(f"DATABASE_URL's sslmode is {mode!r}: write one of {known}")
    return "disable" if mode in PLAIN else "verify" if bundle == "system" else bundle
