"""The whole cloud on this machine: PostgreSQL, stand-ins for LML and Sentry, and an AWS emulator with the template.

One command may start a cloud and another one may stop it: all that they share is a description of what runs.
"""

import functools
import json
import secrets
import shutil
import socket
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from local import deploy
from local.database import Postgres
from local.process import START_SECONDS, Process, end, spawn
from local.world import World

LOOPBACK: Final = "127.0.0.1"
SCHEDULED_TIME: Final = "<aws.scheduler.scheduled-time>"


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What a local cloud is made of. `settings` reaches every function's environment, `parameters` the template.

    With `lml_url` that LML is used and no stand-in is started; an empty `lml_api_key` is then none. The work of an
    `instant` stand-in takes no time, for tests of load.
    """

    world: World
    speed: float = 100.0
    instant: bool = False
    lml_url: str | None = None
    lml_api_key: str = ""
    settings: Mapping[str, str] = field(default_factory=dict)
    parameters: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Cloud:
    """What runs, as plain data that survives JSON. `names` holds the physical id of each logical id of the template."""

    directory: str
    aws_url: str
    lml_url: str
    sentry_url: str
    database: Postgres
    processes: tuple[Process, ...]
    names: dict[str, str]

    @property
    def stand_in(self) -> str | None:
        """The base URL of the stand-in LML; None beside a real one."""
        return self.lml_url if _url_file(Path(self.directory), "lml").exists() else None

    def client(self, service: deploy.Service) -> Any:  # noqa: ANN401 - boto3 makes its clients' types at run time
        """Return a boto3 client of the emulator."""
        return _client(service, self.aws_url)

    def fire(self, scheduled_time: datetime) -> None:
        """Start a run as the schedule does: with its target, and a real time instead of its placeholder."""
        target = self.client("scheduler").get_schedule(Name=self.names["DailySchedule"])["Target"]
        moment = scheduled_time.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        self.client("lambda").invoke(
            FunctionName=target["Arn"],
            InvocationType="Event",
            Payload=target["Input"].replace(SCHEDULED_TIME, moment),
        )

    def logs(self, function: str) -> Iterator[dict[str, Any]]:
        """Yield the JSON lines that a function printed, EMF among them; they come when its invocation ends."""
        group = self.names[function.removesuffix("Function") + "Logs"]
        for page in self.client("logs").get_paginator("filter_log_events").paginate(logGroupName=group):
            for event in page["events"]:
                if event["message"].startswith("{"):
                    yield json.loads(event["message"])

    def problems(self) -> list[str]:
        """Return the emulator's own errors: only they show that a function cannot be imported."""
        log = Path(self.processes[0].log).read_text(errors="replace")
        return [line for line in log.splitlines() if " ERROR " in line]


def start(options: Options, directory: Path, show: Callable[[str], None]) -> Cloud:
    """Start everything, in a directory that becomes the cloud's own; if that fails or is interrupted, stop it again.

    What is started is written down there first: `local.started` ends it where this process is killed.

    `show` gets a line for each stage, with its duration. Raises ProcessError, PostgresError or DeployError.
    """
    from local import postgres, started  # noqa: PLC0415 - a driver and more, for whoever starts or stops a cloud

    directory = directory.absolute()
    started.begin(directory)
    processes: list[Process] = []
    database: Postgres | None = None
    stage = _Stages(show)
    try:
        # These get ready while this process waits for PostgreSQL.
        aws = _emulator(directory / "aws", processes)
        sentry = _stand_in("sentry", [], directory, processes)
        lml, lml_api_key = None, options.lml_api_key
        if options.lml_url is None:
            lml_api_key = lml_api_key or secrets.token_urlsafe()
            world = directory / "world.json"
            options.world.save(world)
            arguments = ["--world", str(world), "--speed", str(options.speed), f"--token={lml_api_key}"]
            arguments += ["--instant"] if options.instant else []
            lml = _stand_in("lml", arguments, directory, processes)
        database = postgres.start(directory)
        postgres.load(database, options.world)
        stage.done(f"PostgreSQL with the rotation{database.borrowed}")

        aws_url, sentry_url = aws.url(), sentry.url()
        lml_url = lml.url() if lml else str(options.lml_url)
        stage.done("stand-ins and AWS emulator")

        client = functools.partial(_client, url=aws_url)
        parameters, environment = _configuration(options, database, lml_url)
        names = deploy.deploy(client, parameters=parameters, environment=environment)
        for secret, value in (
            ("LmlApiKeySecret", lml_api_key),
            ("DatabasePasswordSecret", database.password),
            ("SentryDsnSecret", sentry_url.replace("://", "://public@") + "/1"),
        ):
            if value:
                client("secretsmanager").put_secret_value(SecretId=names[secret], SecretString=value)
        stage.done("template deployed")
    except BaseException:
        _clear(directory, processes, database)
        raise
    return Cloud(
        directory=str(directory),
        aws_url=aws_url,
        lml_url=lml_url,
        sentry_url=sentry_url,
        database=database,
        processes=tuple(processes),
        names=names,
    )


def stop(cloud: Cloud) -> None:
    """End everything that `start` started, and delete its directory; what is gone already is fine."""
    _clear(Path(cloud.directory), cloud.processes, cloud.database)


def _clear(directory: Path, processes: Sequence[Process], database: Postgres | None) -> None:
    with ExitStack() as left:
        left.callback(shutil.rmtree, directory, ignore_errors=True)
        if database:
            from local import postgres  # noqa: PLC0415 - as in `start`

            left.callback(postgres.stop, database)
        end(processes)


def _configuration(options: Options, database: Postgres, lml_url: str) -> tuple[dict[str, str], dict[str, str]]:
    """Return the template's parameters, and what every function's environment holds beside what the template sets."""
    parameters = {
        "LibraryMetadataUrl": lml_url,
        "DatabaseHost": database.host,
        "DatabasePort": str(database.port),
        "DatabaseName": database.database,
        "DatabaseUsername": database.user,
        "DatabaseSchema": database.schema,
        "DatabaseTls": database.tls,
        "SentryDsnSecretArn": "create",
        "SentryEnvironment": "local",
    }
    if not database.password:
        parameters["DatabasePasswordSecretArn"] = "none"
    environment = {"LOCAL_DEV": "1", "CLOCK_SPEED": f"{options.speed:g}"}
    if options.lml_url and not options.lml_api_key:
        environment["LML_API_KEY_SECRET_ARN"] = ""  # the template always makes that secret, and here it stays empty
    return {**parameters, **options.parameters}, {**environment, **options.settings}


@dataclass(frozen=True, slots=True)
class _Starting:
    """A process on its way. `ready` gives its base URL, None until it listens."""

    what: str
    process: Process
    ready: Callable[[], str | None]

    def url(self) -> str:
        """Wait for the base URL; raises ProcessError if the process ends or takes too long."""
        deadline = time.monotonic() + START_SECONDS
        while (url := self.ready()) is None:
            if not self.process.alive:
                raise self.process.failure(f"{self.what} ended")
            if time.monotonic() > deadline:
                raise self.process.failure(f"{self.what} was not ready in {START_SECONDS:.0f} s")
            time.sleep(0.02)
        return url


def _emulator(directory: Path, processes: list[Process]) -> _Starting:
    """Start ministack (docs/design/local.md) in a clean environment, since functions inherit it."""
    for folder in ("home", "tmp", "state", "s3"):
        (directory / folder).mkdir(parents=True)
    url = f"http://{LOOPBACK}:{_free_port()}"
    environment = {
        "PATH": "/usr/bin:/bin",
        "HOME": str(directory / "home"),
        "TMPDIR": str(directory / "tmp"),
        "STATE_DIR": str(directory / "state"),
        "S3_DATA_DIR": str(directory / "s3"),
        "BIND_HOST": LOOPBACK,
        "GATEWAY_PORT": url.rpartition(":")[2],
        "MINISTACK_REGION": deploy.REGION,
        "AWS_DEFAULT_REGION": deploy.REGION,
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "IOT_MTLS_ENABLED": "0",  # else it takes port 8883, and two clouds cannot run side by side
    }
    processes.append(spawn([sys.executable, "-m", "ministack"], directory.with_name("ministack.log"), environment))

    import httpx  # noqa: PLC0415 - 0.1 s that commands need not wait which only read where a cloud is

    def ready() -> str | None:
        try:
            return url if httpx.get(f"{url}/_ministack/health").is_success else None
        except httpx.TransportError:
            return None

    return _Starting("the AWS emulator", processes[-1], ready)


def _stand_in(name: str, arguments: Sequence[str], directory: Path, processes: list[Process]) -> _Starting:
    url_file = _url_file(directory, name)
    command = [sys.executable, "-m", f"local.{name}", "--url-file", str(url_file), *arguments]
    processes.append(spawn(command, directory / f"{name}.log"))
    return _Starting(f"the stand-in {name}", processes[-1], lambda: url_file.read_text() if url_file.exists() else None)


def _url_file(directory: Path, name: str) -> Path:
    return directory / f"{name}.url"


def _free_port() -> int:
    with socket.create_server((LOOPBACK, 0)) as listener:
        port: int = listener.getsockname()[1]
        return port


@functools.cache
def _client(service: deploy.Service, url: str) -> Any:  # noqa: ANN401 - boto3 makes its clients' types at run time
    import boto3  # noqa: PLC0415 - 0.3 s that most commands need not wait

    return boto3.client(
        service,
        endpoint_url=url,
        region_name=deploy.REGION,
        aws_access_key_id="test",
        aws_secret_access_key="test",  # noqa: S106 - the emulator takes any
    )


class _Stages:
    def __init__(self, show: Callable[[str], None]) -> None:
        self._show = show
        self._began = time.monotonic()

    def done(self, what: str) -> None:
        now = time.monotonic()
        self._show(f"{what}: {now - self._began:.1f} s")
        self._began = now
