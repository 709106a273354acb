"""How a command answers: lines for people, one JSON object for programs, an exit status for both."""

import functools
import json
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Concatenate, Final, ParamSpec

import click
from botocore import exceptions
from botocore.exceptions import BotoCoreError, ClientError
from rich.console import Console
from rich.markup import escape

from core.runs.request import StartError
from core.settings import SettingsError
from ops.target import OperatorError, Target, find

P = ParamSpec("P")
_LOG_IN: Final = "log in to AWS anew"
_ADVICE: Final = {
    "AccessDenied": "give this role the permission that AWS names",
    "AccessDeniedException": "give this role the permission that AWS names",
    "ExpiredToken": _LOG_IN,
    "ExpiredTokenException": _LOG_IN,
    "InvalidClientTokenId": _LOG_IN,
    "UnrecognizedClientException": _LOG_IN,
}
_UNREACHABLE: Final = (exceptions.ConnectionError, exceptions.HTTPClientError)


@dataclass(frozen=True, slots=True)
class Answer:
    """What a command found or did: lines for people, data for programs, and whether it was what was asked for."""

    lines: Sequence[str]
    data: Mapping[str, object]
    ok: bool = True
    status: int | None = None
    """The exit status where it is not 0 for ok and 1 for not."""


def answers(command: Callable[P, Answer]) -> Callable[P, None]:
    """Make a command of a function: `--json`, its answer printed, errors in a sentence, the exit status."""

    @click.option("--json", "as_json", is_flag=True, help="Print one JSON object, and progress to stderr.")
    @functools.wraps(command)
    def wrapped(*args: P.args, **kwargs: P.kwargs) -> None:
        as_json = kwargs.pop("as_json")
        try:
            answer = command(*args, **kwargs)
        except (OperatorError, StartError) as error:
            answer = _not_done(str(error))
        except SettingsError as error:
            answer = _not_done(f"{error}\nCorrect what is named, in the function's environment or in what you gave")
        except _UNREACHABLE as error:
            answer = _not_done(f"AWS cannot be reached: {error}; look at the network and the region, then try again")
        except (ClientError, BotoCoreError) as error:
            answer = _not_done(f"AWS says no: {error}; {advice_of(error)}")
        if as_json:
            click.echo(json.dumps(answer.data))
        else:
            console = Console()
            for line in answer.lines:
                console.print(line, highlight=False, soft_wrap=True)
        raise SystemExit((0 if answer.ok else 1) if answer.status is None else answer.status)

    return wrapped


def sure(question: str, *, yes: bool) -> None:
    """Ask a person before something that cannot be taken back; raises OperatorError without a yes."""
    if yes:
        return
    if not sys.stdin.isatty():
        raise OperatorError(f"{question} Nobody can be asked here: repeat the command with --yes if you mean it")
    if not click.confirm(question, err=True):
        raise OperatorError("nothing was done, as you said no")


yes_option = click.option("--yes", is_flag=True, help="Do not ask whether you mean it.")


def advice_of(error: Exception) -> str:
    """Return what to do about an error that AWS, or its SDK, has raised."""
    match error:
        case ClientError(response={"Error": {"Code": str(code)}}):
            return _ADVICE.get(code, "look at the name, the account and the region")
        case exceptions.NoCredentialsError() | exceptions.NoRegionError():
            return "set AWS_PROFILE, and the region by --region or AWS_REGION"
        case _:
            return "look at the network, the login and the region"


def _not_done(problem: str) -> Answer:
    return Answer([f"[bold red]not done[/]: {escape(problem)}"], {"error": problem}, ok=False)


def at_a_target(command: Callable[Concatenate[Target, P], Answer]) -> Callable[P, None]:
    """`answers` for a command whose first argument is the cloud to talk to."""

    @click.option("--stack-name", help="A deployed stack. [default: the cloud of `rotation up`]")
    @click.option("--region", help="The stack's region. [default: as your AWS settings say]")
    @functools.wraps(command)
    def resolved(*args: P.args, **kwargs: P.kwargs) -> Answer:
        stack_name, region = kwargs.pop("stack_name"), kwargs.pop("region")
        target = find(_text(stack_name), _text(region))
        try:
            return command(target, *args, **kwargs)
        except _UNREACHABLE:
            if target.endpoint_url is None:
                raise
            raise OperatorError("the local cloud does not answer: `rotation down`, then `rotation up`") from None

    return answers(resolved)


def _text(value: object) -> str | None:
    return None if value is None else str(value)
