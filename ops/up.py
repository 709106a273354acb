"""`rotation up` and `rotation down`: the demo's cloud, left running on this machine."""

import json
import os
import platform
import shutil
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Final

import msgspec
from rich.console import Console

from local import cloud, deploy, sentry_api, started
from local.cloud import Cloud, Options
from local.deploy import DeployError
from local.postgres import PostgresError
from local.process import Process, ProcessError, listening, spawn
from local.world import World
from ops import picker
from ops.answer import Answer
from ops.target import DESCRIPTION, HOME, OperatorError, Running, Target, home, is_there, local_target, running

SPEED: Final = 100.0
FUNCTIONS: Final = ("FanOutFunction", "RefreshFunction", "DeadLetterFunction")
PICKER_FUNCTIONS: Final = ("RotationTracksFunction", "WarmTracksFunction")
AUTHORIZER: Final = "AuthorizeFunction"
NO_ISSUER: Final = {
    "PICKER_JWKS_URL": "http://127.0.0.1:9/jwks",
    "PICKER_JWT_ISSUER": "https://auth.example",
    "PICKER_JWT_AUDIENCE": "https://api.example",
}
"""The authorizer's settings without an issuer: there is none on this machine, so that no token can be checked."""
SAM_ENVIRONMENT: Final = HOME / "sam-env.json"
SAM_TEMPLATE: Final = HOME / "template.json"
SENTRY_ENVIRONMENT: Final = HOME / "sentry.env"
SAM_CODE: Final = HOME / "sam"
"""Stands for src/ in that template: its Makefile builds the package for this machine's processor."""
NOT_IN_THE_TEMPLATE: Final = ("AWS_ENDPOINT_URL", "CLOCK_SPEED", "LOCAL_DEV")
"""What functions need on this machine only."""


def up(*, identities: int, warm: bool, speed: float | None) -> Answer:
    """Start the demo's cloud and leave it running."""
    folder = home()
    if problem := started.unwritable(folder):
        raise OperatorError(f"{problem}, and the cloud keeps its files there: call `rotation up` in a folder of yours")
    console = Console(stderr=True)
    speed = speed or (1.0 if warm else SPEED)
    options = Options(world=World.seeded(identities, warm=warm), speed=speed)
    with started.ending_on_signals(), _alone(folder):
        if is_there(folder / DESCRIPTION) and any(process.alive for process in _described(folder)):
            raise OperatorError(f"a cloud is running already, of {folder.parent}: `rotation down` stops it")
        _end_everything(folder)
        directory = folder / started.CLOUDS.name / "up"
        try:
            try:
                there = cloud.start(options, directory, lambda it: console.print(it, highlight=False, soft_wrap=True))
                there, picker_url = picker.beside(there, speed)
                there, page_url = _watched_over(there, picker_url)
                _prepare_sam(local_target(there), folder)
                (folder / SENTRY_ENVIRONMENT.name).write_text(_sentry_environment(there))
                description = Running(cloud=there, health_url=page_url, picker_url=picker_url)
                draft = folder / f"{DESCRIPTION}.draft"
                draft.touch(mode=0o600)  # it holds the database's password
                draft.write_bytes(msgspec.json.encode(description))
                draft.replace(folder / DESCRIPTION)
            except BaseException:
                _end_everything(folder)
                raise
        except (DeployError, PostgresError, ProcessError, OSError) as error:
            raise OperatorError(
                f"the cloud did not start, and all of it is stopped again: {error}\nPut right what is named, then "
                "`rotation up`"
            ) from None
    parts = {
        "page_url": f"{page_url}/",
        "health_url": f"{page_url}/health",
        "picker_url": picker_url,
        "aws_url": there.aws_url,
        "lml_url": there.lml_url,
        "sentry_url": there.sentry_url,
    }
    lines = [f"{name.removesuffix('_url')}: {url}" for name, url in parts.items()]
    lines += [
        "`rotation run --wait` starts a run, the page shows it, `rotation down` stops all of it",
        f"`. {SENTRY_ENVIRONMENT}` has `rotation sentry` and `rotation preflight` ask this cloud's Sentry",
    ]
    return Answer(lines, parts)


def down() -> Answer:
    """Stop the cloud of `up` and what a killed `up` or `demo` has left, and delete all that they hold."""
    folder = home()
    if not is_there(folder / DESCRIPTION) and not is_there(folder / started.CLOUDS.name):
        raise OperatorError("nothing runs here that could be stopped: `rotation up` starts a cloud in this directory")
    with _alone(folder):
        stopped = _end_everything(folder)
    return Answer(["stopped"], {"stopped": True, "clouds": stopped})


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Hold the folder against another `up` or `down`; raises OperatorError."""
    try:
        with started.held(folder):
            yield
    except PermissionError as error:
        raise OperatorError(
            f"{error.filename or folder} belongs to another user: run this command as the user who called `rotation up`"
        ) from None
    except started.BusyError:
        raise OperatorError(
            f"another `rotation up` or `rotation down` is at work in {folder.parent}: wait for its end, then try again"
        ) from None


def _described(folder: Path) -> Sequence[Process]:
    try:
        return running().cloud.processes
    except OperatorError:  # nobody can read it: the journal says what runs
        entries = started.entries(folder / started.CLOUDS.name / "up")
        return [entry.process for entry in entries if entry.process is not None]


def _end_everything(folder: Path) -> list[str]:
    """End each cloud of a folder that no living command holds; returns their names. Raises OperatorError."""
    clouds = folder / started.CLOUDS.name
    ended = []
    try:
        for directory in started.leftovers(clouds):
            started.end_all(directory)
            ended.append(directory.name)
    except PostgresError as error:
        raise OperatorError(
            f"its schema in DATABASE_URL's database is still there, all else is stopped: {error}\nCall `rotation down` "
            "again once the database answers"
        ) from None
    with suppress(OSError):
        clouds.rmdir()
    for name in (DESCRIPTION, SAM_ENVIRONMENT.name, SAM_TEMPLATE.name, SENTRY_ENVIRONMENT.name):
        (folder / name).unlink(missing_ok=True)
    shutil.rmtree(folder / SAM_CODE.name, ignore_errors=True)
    return ended


def _watched_over(there: Cloud, picker_url: str) -> tuple[Cloud, str]:
    """Start the process that serves the page and `/health`; returns the cloud with it, and the base URL."""
    directory = Path(there.directory)
    url_file = directory / "page.url"
    command = [sys.executable, "-m", "ops.report.live", "--url-file", str(url_file)]
    # LML's own /health is not asked: that costs a Discogs call.
    parts = {"aws": there.aws_url, "lml": there.lml_url, "sentry": there.sentry_url, "postgresql": there.database.url}
    for name, url in (parts | {"picker": picker_url}).items():
        command += ["--part", name, url]
    process = spawn(command, directory / "page.log")
    return replace(there, processes=(*there.processes, process)), listening(process, "the run's page", url_file)


def sam_environments(target: Target) -> dict[str, dict[str, str]]:
    """What `sam local invoke --env-vars` takes: each function's variables, and where AWS is."""
    aws = {
        "AWS_ENDPOINT_URL": str(target.endpoint_url),
        "AWS_DEFAULT_REGION": deploy.REGION,
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
    }
    environments = {name: target.environment(name) | aws for name in FUNCTIONS}
    # The picker is served by a process of its own here, and has no table: by hand it takes what fan-out has.
    picker = environments["FanOutFunction"] | {"PICKER_TABLE": environments["FanOutFunction"]["LEDGER_TABLE"]}
    picked = {name: _picked(name, picker) for name in PICKER_FUNCTIONS}
    return environments | picked | {AUTHORIZER: aws | {"LOCAL_DEV": "1"} | NO_ISSUER | _issuer()}


def _issuer() -> dict[str, str]:
    """The issuer of tokens that the operator's own environment names, if it names one."""
    return {name: os.environ[name] for name in NO_ISSUER if os.environ.get(name)}


def _picked(function: str, environment: dict[str, str]) -> dict[str, str]:
    """The variables that the template names for a function, and those of this machine."""
    template = deploy.read()
    everywhere = template["Globals"]["Function"]["Environment"]["Variables"]
    own = template["Resources"][function]["Properties"]["Environment"]["Variables"]
    named = {*everywhere, *own, *NOT_IN_THE_TEMPLATE}
    return {name: value for name, value in environment.items() if name in named or name.startswith("AWS_")}


def _sentry_environment(there: Cloud) -> str:
    """Return what a shell reads so that commands ask the stand-in's web API."""
    values = {
        "SENTRY_URL": there.sentry_url,
        "SENTRY_ORG": sentry_api.ORGANIZATION,
        "SENTRY_PROJECT": sentry_api.PROJECT,
        "SENTRY_AUTH_TOKEN": sentry_api.TOKEN,
    }
    return "".join(f"export {name}={value}\n" for name, value in values.items())


def _prepare_sam(target: Target, folder: Path) -> None:
    """Write what `sam build` and `sam local invoke` need to run a function against this cloud."""
    environments = sam_environments(target)
    (folder / SAM_ENVIRONMENT.name).write_text(json.dumps(environments, indent=1))
    template = deploy.read()
    # sam passes on the variables that its template names for a function, and no others.
    template["Globals"]["Function"]["Environment"] = {"Variables": {}}
    for properties in deploy.functions_with_code(template):
        properties["CodeUri"] = SAM_CODE.name
    for name, environment in environments.items():
        template["Resources"][name]["Properties"]["Environment"] = {"Variables": dict.fromkeys(environment, "")}
    here = "arm64" if platform.machine() in {"arm64", "aarch64"} else "x86_64"
    template["Parameters"]["Architecture"]["Default"] = here  # a container of another processor would be emulated
    (folder / SAM_TEMPLATE.name).write_text(json.dumps(template, indent=1))
    code = folder / SAM_CODE.name
    code.mkdir(exist_ok=True)
    (code / "Makefile").write_text(f"ARCHITECTURE := {here}\ninclude {deploy.ROOT / 'src' / 'Makefile'}\n")
