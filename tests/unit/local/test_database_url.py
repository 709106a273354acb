"""`DATABASE_URL` as libpq reads it (PostgreSQL's manual, 34.1.1.2), and errors that say what to write instead."""

import getpass

import pytest

from local.cluster import PostgresError
from local.database_url import parse

SECRET = "s3cret"


@pytest.mark.parametrize(
    ("url", "hosts", "user", "password", "database"),
    [
        ("postgresql://dj:pw@db:6000/station", (("db", 6000),), "dj", "pw", "station"),
        ("postgres://dj@db", (("db", 5432),), "dj", "", "dj"),
        ("postgresql://dj:p%40s%2Fs+1@db/a%20b", (("db", 5432),), "dj", "p@s/s+1", "a b"),
        ("postgresql://dj:a@b@db/station", (("db", 5432),), "dj", "a@b", "station"),
        ("postgresql://dj@[::1]:6000/station", (("::1", 6000),), "dj", "", "station"),
        ("postgresql://dj@one:1,two/station", (("one", 1), ("two", 5432)), "dj", "", "station"),
        ("postgresql://dj@%2Fvar%2Frun/station", (("/var/run", 5432),), "dj", "", "station"),
        ("postgresql:///station?host=/run/pg&port=6000&user=dj", (("/run/pg", 6000),), "dj", "", "station"),
        ("postgresql://?host=a,b&port=6000&dbname=station&user=dj", (("a", 6000), ("b", 6000)), "dj", "", "station"),
        ("postgresql://dj@db/station?password=pw&application_name=x", (("db", 5432),), "dj", "pw", "station"),
    ],
)
def test_it_is_read_as_libpq_reads_it(url, hosts, user, password, database):
    read = parse(url)
    assert (read.hosts, read.user, read.password, read.database) == (hosts, user, password, database)


def test_who_names_no_user_is_the_one_of_this_machine_as_for_libpq():
    assert (parse("postgresql://db").user, parse("postgresql://db").database) == (getpass.getuser(),) * 2


@pytest.mark.parametrize(
    ("query", "tls"),
    [
        ("", "disable"),
        ("?sslmode=prefer", "disable"),
        ("?sslmode=require", "verify"),
        ("?ssl=true", "verify"),
        ("?sslmode=verify-full&sslrootcert=/etc/bundle.pem", "/etc/bundle.pem"),
    ],
)
def test_its_sslmode_becomes_ours(query, tls):
    assert parse(f"postgresql://dj@db/station{query}").tls == tls


def test_options_are_kept_for_the_connections_of_this_machine():
    assert parse("postgresql://dj@db/x?options=-c%20statement_timeout%3D5s").options == "-c statement_timeout=5s"


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        (f"mysql://dj:{SECRET}@db/station", "has the scheme mysql://: write postgresql://"),
        (f"postgresql+psycopg://dj:{SECRET}@db/station", "has the scheme postgresql+psycopg://"),
        (f"host=db password={SECRET}", "is no URI: write postgresql://"),
        (f"postgresql://dj:{SECRET}/1@db/station", "a / or @ in the password as %2F or %40"),
        (f"postgresql://dj:{SECRET}@db:port/station", "port is no number from 1 to 65535"),
        (f"postgresql://dj:{SECRET}@db:70000/station", "port is no number from 1 to 65535"),
        (f"postgresql://dj:{SECRET}%zz@db/station", "write a % itself as %25"),
        (f"postgresql://dj:{SECRET}@[::1/station", "is none: write postgresql://"),
        (f"postgresql://dj:{SECRET}@db/station?sslmode=on", "sslmode is 'on': write one of"),
        (f"postgresql://dj:{SECRET}@db/station?colour=red", "'colour', which is none of libpq's: leave it out"),
        (f"postgresql://dj:{SECRET}@a,b,c:1/x?port=1,2", "names 3 hosts and 2 ports"),
    ],
)
def test_what_is_none_is_refused_with_what_to_write_and_without_its_password(url, reason):
    with pytest.raises(PostgresError) as refused:
        parse(url)

    assert reason in str(refused.value)
    assert SECRET not in str(refused.value)
