"""The cloud that a command talks to: the one that `rotation up` left running here, or a deployed stack."""

import functools
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import msgspec
from botocore.config import Config
from botocore.exceptions import (
    ClientError,
    NoCredentialsError,
    NoRegionError,
    PartialCredentialsError,
    ProfileNotFound,
)
from botocore.session import Session

from core import settings
from core.aws import secrets
from core.clock import SystemClock
from core.runs.ledger import OPEN, Ledger, Run, open_ledger
from local import deploy
from local.cloud import Cloud
from ops.session import local_session, session_in

HOME: Final = Path(".local")
"""The folder that `rotation up` makes in the directory in which it was called."""
DESCRIPTION: Final = "cloud.json"
PACKAGE: Final = "/var/task/"  # where Lambda unpacks it
# Fan-out may take all of its time-out, and a repeat by the SDK would be a second start.
_PATIENT_ONCE: Final = Config(read_timeout=930, retries={"total_max_attempts": 1})
# What runs on this machine answers at once, or never.
_NEARBY: Final = Config(connect_timeout=3, retries={"total_max_attempts": 3})


class OperatorError(Exception):
    """What a command could not do, and what to do about it."""


class NoRunError(OperatorError):
    """The ledger holds no run, or not the one that was named."""


class NoStackError(OperatorError):
    """There is no stack of that name in that account and region."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Running:
    """What `rotation up` started, as `.local/cloud.json` holds it."""

    cloud: Cloud
    health_url: str
    picker_url: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """One deployed template. `names` holds the physical id of each logical id."""

    title: str
    names: Mapping[str, str]
    session: Session
    endpoint_url: str | None = None
    options: str = ""
    """What a command needs to talk to it, with a blank before it."""
    stand_in: str | None = None
    """The base URL of its stand-in LML; None beside a real one."""

    def client(self, service: deploy.Service) -> Any:  # noqa: ANN401 - botocore makes its clients' types at run time
        return _client(self.session, service, self.endpoint_url)

    @property
    def ledger(self) -> Ledger:
        return open_ledger(self.client("dynamodb"), self.names["LedgerTable"])

    def refresh_settings(self) -> settings.RefreshSettings:
        """Read the refresh function's settings, once a command: its clock and its budget are what a run goes by."""
        return _refresh_settings(self.session, self.endpoint_url, self.names["RefreshFunction"])

    def clock(self) -> SystemClock:
        return SystemClock(self.refresh_settings().clock_speed)

    def environment(self, function: str) -> dict[str, str]:
        """Return the variables that a function has."""
        return _environment(self.client("lambda"), self.names[function])

    def secret(self, arn: str, _anew: bool) -> str:
        """Fetch a secret as the functions do; raises SecretUnavailableError."""
        return secrets.fetch(self.client("secretsmanager"), arn)

    def run(self, run_id: str | None) -> Run:
        """Return a run, by default the last one; raises OperatorError where there is none.

        A start that came to nothing does not stand before a run that is open.
        """
        found = next((last for _, last in self.runs_begun()), None) if run_id is None else run_id
        run = None if found is None else self.ledger.runs.read(found)
        if run_id is None and run is not None and run.status in {"refused", "failed"}:
            run = next(filter(None, map(self.ledger.runs.read, self.runs_open())), run)
        if run is None:
            kept = f"in the ledger of {self.title}, which keeps runs for 30 days"
            if run_id is None:
                raise NoRunError(f"there is no run {kept}: `rotation run` starts one")
            raise NoRunError(f"run {run_id} is not {kept}: `rotation list` shows those that are")
        return run

    def runs_begun(self) -> list[tuple[str, str]]:
        """Return (start, run id) of every run of the last 30 days, the newest first."""
        return [(started_at, run_id) for started_at, run_id, _ in self._runs()]

    def runs_open(self) -> list[str]:
        """Return the ids of the runs whose messages are worked on, the newest first."""
        return [run_id for _, run_id, status in self._runs() if status in OPEN]

    def _runs(self) -> list[tuple[str, str, str]]:
        # All items of 30 days, a megabyte a request: rare, and cheaper than an index that nothing else needs.
        pages = self.client("dynamodb").get_paginator("scan")
        begun = [
            (item["started_at"]["S"], item["pk"]["S"].removeprefix("RUN#"), item["status"]["S"])
            for page in pages.paginate(
                TableName=self.names["LedgerTable"],
                FilterExpression="sk = :run",
                ExpressionAttributeValues={":run": {"S": "RUN"}},
                ProjectionExpression="pk, started_at, #status",
                ExpressionAttributeNames={"#status": "status"},
            )
            for item in page["Items"]
        ]
        return sorted(begun, reverse=True)


@functools.cache  # a client takes as long to make as two requests
def _client(session: Session, service: deploy.Service, endpoint_url: str | None) -> Any:  # noqa: ANN401 - as above
    config = _PATIENT_ONCE if service == "lambda" else _NEARBY if endpoint_url else None
    return session.create_client(service, endpoint_url=endpoint_url, config=config)


@functools.cache
def _refresh_settings(session: Session, endpoint_url: str | None, function: str) -> settings.RefreshSettings:
    return settings.refresh(_environment(_client(session, "lambda", endpoint_url), function), no_secret)


def _environment(functions: Any, function: str) -> dict[str, str]:  # noqa: ANN401 - as above
    variables: dict[str, str] = functions.get_function_configuration(FunctionName=function)["Environment"]["Variables"]
    return variables


def find(stack_name: str | None, region: str | None) -> Target:
    """Return the stack of that name, or the cloud of `rotation up`; raises OperatorError where there is none."""
    if stack_name is None:
        return local_target(running().cloud)
    try:
        session = session_in(region)
        pages = session.create_client("cloudformation").get_paginator("list_stack_resources")
        rows = [row for page in pages.paginate(StackName=stack_name) for row in page["StackResourceSummaries"]]
    except NoRegionError:
        raise OperatorError(f"in which region is stack {stack_name}? --region or AWS_DEFAULT_REGION names it") from None
    except (NoCredentialsError, PartialCredentialsError, ProfileNotFound) as error:
        raise OperatorError(
            f"no AWS credentials to look for stack {stack_name} with: {error}; `aws sts get-caller-identity` must work"
        ) from None
    except ClientError as error:
        if error.response["Error"]["Code"] != "ValidationError":
            raise
        raise NoStackError(
            f"there is no {in_its_region(stack_name, session)}: `aws cloudformation list-stacks` shows those that are, "
            "--region looks in another region"
        ) from None
    names = {row["LogicalResourceId"]: row.get("PhysicalResourceId", "") for row in rows}
    title = in_its_region(stack_name, session)
    if not {"FanOutFunction", "RefreshFunction", "LedgerTable", "RefreshQueue"} <= names.keys():
        raise OperatorError(
            f"{title} was not made from this project's template: name the stack that `sam deploy` made by --stack-name"
        )
    options = f" --stack-name {shlex.quote(stack_name)} --region {session.get_config_variable('region')}"
    return Target(title=title, names=names, session=session, options=options)


def in_its_region(stack_name: str, session: Session) -> str:
    """Return a stack's name for a sentence."""
    return f"stack {stack_name} in {session.get_config_variable('region')}"


def local_target(cloud: Cloud) -> Target:
    return Target(
        title="the local cloud",
        names=cloud.names,
        session=local_session(),
        endpoint_url=cloud.aws_url,
        stand_in=cloud.stand_in,
    )


def home() -> Path:
    """Return `.local` of the cloud that runs here or in the nearest folder above; without one, of this directory."""
    here = Path.cwd()
    return next((it / HOME for it in (here, *here.parents) if is_there(it / HOME / DESCRIPTION)), here / HOME)


def is_there(path: Path) -> bool:
    """True if a file is there, also where this user may not look: opening it then raises the error."""
    try:
        return path.exists()
    except PermissionError:
        return True


def running() -> Running:
    """Return what `rotation up` left here or in a folder above; raises OperatorError where nothing was."""
    description = home() / DESCRIPTION
    try:
        return msgspec.json.decode(description.read_bytes(), type=Running)
    except (FileNotFoundError, NotADirectoryError):
        raise OperatorError(
            "no cloud runs on this machine for this folder: start one with `rotation up`, or name a deployed stack by "
            "--stack-name"
        ) from None
    except PermissionError:
        raise OperatorError(
            f"{description} belongs to another user: run this command as the user who called `rotation up`"
        ) from None
    except msgspec.DecodeError:
        raise OperatorError(
            f"{description} is not what `rotation up` of this version writes: call `rotation down`, which ends what "
            "was started here and removes it, then `rotation up`"
        ) from None


def database_of(environment: Mapping[str, str], fetch: settings.SecretFetcher) -> settings.Database:
    """Read a function's database settings, with paths in its package replaced by those of this checkout.

    Raises SettingsError.
    """
    tls = environment.get("DB_TLS", "")
    if tls.startswith(PACKAGE):
        environment = {**environment, "DB_TLS": str(deploy.ROOT / tls.removeprefix(PACKAGE))}
    read = settings.SettingsReader(environment, fetch)
    return read.checked(read.database())


def no_secret(arn: str, _anew: bool) -> str:
    """The `SecretFetcher` of settings whose secrets are not needed: it fetches none."""
    raise LookupError(arn)
