"""How a command answers: lines for people, one JSON object for programs, an exit status for both."""

import functools
import json
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
_UNREACHABLE: Final = (exceptions.ConnectionError, exceptions.HTTPClientError)


@dataclass(frozen=True, slots=True)
class Answer:
    """What a command found or did: lines for people, data for programs, and whether it was what was asked for."""

    lines: Sequence[str]
    data: Mapping[str, object]
    ok: bool = True


def answers(command: Callable[P, Answer]) -> Callable[P, None]:
    """Make a command of a function: `--json`, its answer printed, errors in a sentence, the exit status."""

    @click.option("--json", "as_json", is_flag=True, help="Print one JSON object, and progress to stderr.")
    @functools.wraps(command)
    def wrapped(*args: P.args, **kwargs: P.kwargs) -> None:
        as_json = kwargs.pop("as_json")
        try:
            answer = command(*args, **kwargs)
        except (OperatorError, StartError, SettingsError) as error:
            answer = Answer([f"[bold red]no[/]: {escape(str(error))}"], {"error": str(error)}, ok=False)
        except _UNREACHABLE as error:
            lines = [f"[bold red]no[/]: AWS cannot be reached: {escape(str(error))}"]
            answer = Answer(lines, {"error": str(error)}, ok=False)
        except (ClientError, BotoCoreError) as error:
            answer = Answer([f"[bold red]AWS says no[/]: {escape(str(error))}"], {"error": str(error)}, ok=False)
        if as_json:
            click.echo(json.dumps(answer.data))
        else:
            console = Console()
            for line in answer.lines:
                console.print(line, highlight=False, soft_wrap=True)
        raise SystemExit(0 if answer.ok else 1)

    return wrapped


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
