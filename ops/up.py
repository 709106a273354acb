"""`rotation up` and `rotation down`: the demo's cloud, left running on this machine."""

import json
import platform
import shutil
import sys
from dataclasses import replace
from pathlib import Path
from typing import Final

import click
import msgspec
from rich.console import Console

from local import cloud, deploy
from local.cloud import Cloud, Options
from local.deploy import DeployError
from local.postgres import PostgresError
from local.process import ProcessError, listening, spawn
from local.world import World
from ops import picker
from ops.answer import Answer, answers
from ops.target import DESCRIPTION, HOME, OperatorError, Running, Target, local_target, running

FUNCTIONS: Final = ("FanOutFunction", "RefreshFunction", "DeadLetterFunction")
PICKER_FUNCTIONS: Final = ("RotationTracksFunction", "WarmTracksFunction")
SAM_ENVIRONMENT: Final = HOME / "sam-env.json"
SAM_TEMPLATE: Final = HOME / "template.json"
SAM_CODE: Final = HOME / "sam"
"""Stands for src/ in that template: its Makefile builds the package for this machine's processor."""
NOT_IN_THE_TEMPLATE: Final = ("AWS_ENDPOINT_URL", "CLOCK_SPEED", "LOCAL_DEV")
"""What functions need on this machine only."""


@click.command()
@click.option("--identities", type=click.IntRange(0, 30_000), default=310, show_default=True, help="Active identities.")
@click.option("--warm", is_flag=True, help="LML has everything cached: a day without news.")
@click.option(
    "--speed",
    type=click.FloatRange(*cloud.SPEEDS),
    default=100.0,
    show_default=True,
    help="Times faster than real time.",
)
@answers
def up(*, identities: int, warm: bool, speed: float) -> Answer:
    """Start the demo's cloud and leave it running, for `run`, `status` and the others, and for `sam local invoke`."""
    if DESCRIPTION.exists():
        if any(process.alive for process in running().cloud.processes):
            raise OperatorError("a cloud is running already; `rotation down` stops it")
        _clear(running())
    console = Console(stderr=True)
    options = Options(world=World.seeded(identities, warm=warm), speed=speed)
    directory = HOME.resolve() / "cloud"
    shutil.rmtree(directory, ignore_errors=True)  # of an `up` that was killed
    try:
        there = cloud.start(options, directory, lambda line: console.print(line, highlight=False, soft_wrap=True))
        try:
            there, picker_url = picker.beside(there, speed)
            there, health_url = _watched_over(there, picker_url)
            _prepare_sam(local_target(there))
            description = Running(cloud=there, health_url=health_url, picker_url=picker_url)
            DESCRIPTION.touch(mode=0o600)  # it holds the database's password
            DESCRIPTION.write_bytes(msgspec.json.encode(description))
        except BaseException:
            cloud.stop(there)
            raise
    except (DeployError, PostgresError, ProcessError) as error:
        raise OperatorError(f"the cloud did not start: {error}") from None
    parts = {
        "health_url": f"{health_url}/health",
        "picker_url": picker_url,
        "aws_url": there.aws_url,
        "lml_url": there.lml_url,
        "sentry_url": there.sentry_url,
    }
    lines = [f"{name.removesuffix('_url')}: {url}" for name, url in parts.items()]
    return Answer([*lines, "`rotation run --wait` starts a run, `rotation down` stops all of it"], parts)


@click.command()
@answers
def down() -> Answer:
    """Stop the cloud of `rotation up`, and delete all that it holds."""
    if not DESCRIPTION.exists():
        raise OperatorError("no cloud: `rotation up` starts one in this directory")
    _clear(running())
    return Answer(["stopped"], {"stopped": True})


def _clear(there: Running) -> None:
    try:
        cloud.stop(there.cloud)
    except PostgresError as error:  # its server, or this machine, was stopped some other way
        raise OperatorError(f"PostgreSQL could not be stopped, the rest is: {error}") from None
    finally:
        for path in (DESCRIPTION, SAM_ENVIRONMENT, SAM_TEMPLATE):
            path.unlink(missing_ok=True)


def _watched_over(there: Cloud, picker_url: str) -> tuple[Cloud, str]:
    """Start what answers `/health`, as one more process of the cloud; returns the cloud and the base URL."""
    directory = Path(there.directory)
    url_file = directory / "health.url"
    command = [sys.executable, "-m", "local.health", "--url-file", str(url_file)]
    database = f"postgresql://{there.database.host}:{there.database.port}"
    # LML's own /health is not asked: that costs a Discogs call.
    parts = {"aws": there.aws_url, "lml": there.lml_url, "sentry": there.sentry_url, "postgresql": database}
    for name, url in (parts | {"picker": picker_url}).items():
        command += ["--part", name, url]
    process = spawn(command, directory / "health.log")
    return replace(there, processes=(*there.processes, process)), listening(process, "what answers /health", url_file)


def sam_environments(target: Target) -> dict[str, dict[str, str]]:
    """What `sam local invoke --env-vars` takes: each function's variables, and where AWS is."""
    aws = {
        "AWS_ENDPOINT_URL": str(target.endpoint_url),
        "AWS_DEFAULT_REGION": deploy.REGION,
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
    }
    environments = {name: target.environment(name) | aws for name in FUNCTIONS}
    # The picker is served by a process of its own here; by hand it takes what fan-out has.
    return environments | {name: _picked(name, environments["FanOutFunction"]) for name in PICKER_FUNCTIONS}


def _picked(function: str, environment: dict[str, str]) -> dict[str, str]:
    """The variables that the template names for a function, and those of this machine."""
    template = deploy.read()
    everywhere = template["Globals"]["Function"]["Environment"]["Variables"]
    own = template["Resources"][function]["Properties"]["Environment"]["Variables"]
    named = {*everywhere, *own, *NOT_IN_THE_TEMPLATE}
    return {name: value for name, value in environment.items() if name in named or name.startswith("AWS_")}


def _prepare_sam(target: Target) -> None:
    """Write what `sam build` and `sam local invoke` need to run a function against this cloud."""
    environments = sam_environments(target)
    SAM_ENVIRONMENT.write_text(json.dumps(environments, indent=1))
    template = deploy.read()
    # sam passes on the variables that its template names for a function, and no others.
    template["Globals"]["Function"]["Environment"] = {"Variables": {}}
    for properties in deploy.functions_with_code(template):
        properties["CodeUri"] = SAM_CODE.name
    for name, environment in environments.items():
        template["Resources"][name]["Properties"]["Environment"] = {"Variables": dict.fromkeys(environment, "")}
    here = "arm64" if platform.machine() in {"arm64", "aarch64"} else "x86_64"
    template["Parameters"]["Architecture"]["Default"] = here  # a container of another processor would be emulated
    SAM_TEMPLATE.write_text(json.dumps(template, indent=1))
    SAM_CODE.mkdir(exist_ok=True)
    (SAM_CODE / "Makefile").write_text(f"ARCHITECTURE := {here}\ninclude {deploy.ROOT / 'src' / 'Makefile'}\n")
