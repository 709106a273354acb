"""What every test of whole functions is made of: a table, an LML to give orders to, the settings of a database."""

import os
import signal
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING

import httpx
import psutil

from core import settings
from core.environment import Secret
from core.telemetry import Telemetry
from local.postgres import Postgres
from tests.eventually import eventually

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

TABLE = "ledger"
KEY = "key-of-lml"


def secret(name: str, value: str | None) -> Secret:
    return Secret(name, value, fetch=lambda _arn, _anew: "")


def create_table(dynamodb: "DynamoDBClient", name: str = TABLE) -> None:
    """Make the ledger's table, as the template has it."""
    dynamodb.create_table(
        TableName=name,
        KeySchema=[{"AttributeName": "pk", "KeyType": "HASH"}, {"AttributeName": "sk", "KeyType": "RANGE"}],
        AttributeDefinitions=[
            {"AttributeName": "pk", "AttributeType": "S"},
            {"AttributeName": "sk", "AttributeType": "S"},
        ],
        BillingMode="PAY_PER_REQUEST",
    )


def database_of(server: Postgres) -> settings.Database:
    return settings.Database(
        host=server.host,
        port=server.port,
        name=server.database,
        username=server.user,
        password=secret("DB_PASSWORD", server.password),
        tls=server.tls,
        statement_timeout_ms=60_000,
        schema=server.schema,
    )


def kill_server(server: Postgres) -> None:
    """End an embedded PostgreSQL as a crash of the machine does."""
    pid = int(Path(str(server.home), "data/postmaster.pid").read_text().split()[0])
    os.kill(pid, signal.SIGKILL)
    eventually(lambda: not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE)


def telemetry(sentry_dsn: str | None = None) -> Telemetry:
    dsn = secret("SENTRY_DSN", sentry_dsn)
    return Telemetry(settings.Sentry(dsn=dsn, release=None, environment="test", traces_sample_rate=1.0))


class Context:
    """What Lambda passes beside the event."""

    _ids = count()

    def __init__(self) -> None:
        self.aws_request_id = f"request-{next(self._ids)}"

    def get_remaining_time_in_millis(self) -> int:
        return 900_000


class StandIn:
    """The stand-in LML: what it shall do wrong, see `local.lml.faults`, and a way to its control routes."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.http = httpx.Client(base_url=url)

    def fault(self, **fault: object) -> None:
        self.http.post("/_faults", json=[fault]).raise_for_status()

    def reset(self) -> None:
        self.http.post("/_reset").raise_for_status()

    def close(self) -> None:
        self.http.close()
