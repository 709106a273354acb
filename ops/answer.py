"""How a command answers: lines for people, one JSON object for programs, an exit status for both."""

import functools
import json
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Concatenate, Final, NoReturn, ParamSpec

import click
from botocore import exceptions
from botocore.exceptions import BotoCoreError, ClientError

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


_NOT_SHOWN: Final = re.compile("\x1b(?!\\[[0-9;]*m)|[\x07\x08\x0b-\x0d]")
"""What moves a terminal's cursor, in a text that somebody else wrote: styles are all that may stay."""
BOLD: Final = functools.partial(click.style, bold=True)
ALARM: Final = functools.partial(click.style, fg="red", bold=True)
GOOD: Final = functools.partial(click.style, fg="green", bold=True)


@dataclass(frozen=True, slots=True)
class Answer:
    """What a command found or did: lines for people, data for programs, and whether it was what was asked for."""

    lines: Sequence[str]
    """May be styled (`click.style`): where no terminal is, the style is left out."""
    data: Mapping[str, object]
    ok: bool = True
    status: int | None = None
    """The exit status where it is not 0 for ok and 1 for not."""


def give(command: Callable[..., Answer], options: Mapping[str, object], *, as_json: bool) -> NoReturn:
    """Do what was asked for and print its answer, errors in a sentence; ends the process with the exit status."""
    try:
        answer = command(**options)
    except (OperatorError, StartError) as error:
        answer = _not_done(str(error))
    except SettingsError as error:
        answer = _not_done(f"{error}\nCorrect what is named, in the function's environment or in what you gave")
    except _UNREACHABLE as error:
        answer = _not_done(f"AWS cannot be reached: {error}; look at the network and the region, then try again")
    except (ClientError, BotoCoreError) as error:
        what = "AWS says no" if isinstance(error, ClientError) else "AWS was not asked"
        answer = _not_done(f"{what}: {error}; {advice_of(error)}")
    if as_json:
        click.echo(json.dumps(answer.data))
    else:
        for line in answer.lines:
            print_line(line)
    raise SystemExit((0 if answer.ok else 1) if answer.status is None else answer.status)


def print_line(line: str, *, err: bool = False) -> None:
    """Print a line for a person, with its styles and without anything that would move a terminal's cursor."""
    click.echo(_NOT_SHOWN.sub("", line), err=err)


def sure(question: str, *, yes: bool) -> None:
    """Ask a person before something that cannot be taken back; raises OperatorError without a yes."""
    if yes:
        return
    if not sys.stdin.isatty():
        raise OperatorError(f"{question} Nobody can be asked here: repeat the command with --yes if you mean it")
    if not click.confirm(question, err=True):
        raise OperatorError("nothing was done, as you said no")


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
    return Answer([f"{ALARM('not done')}: {problem}"], {"error": problem}, ok=False)


def at_a_target(command: Callable[Concatenate[Target, P], Answer]) -> Callable[..., Answer]:
    """Give a command the cloud to talk to, for `stack_name` and `region`."""

    @functools.wraps(command)
    def resolved(stack_name: str | None, region: str | None, *args: P.args, **kwargs: P.kwargs) -> Answer:
        target = find(stack_name, region)
        try:
            return command(target, *args, **kwargs)
        except _UNREACHABLE:
            if target.endpoint_url is None:
                raise
            raise OperatorError("the local cloud does not answer: `rotation down`, then `rotation up`") from None

    return resolved
