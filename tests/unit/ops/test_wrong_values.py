"""Every option of every command with a wrong value: a sentence that names it, exit status 2, and nothing is done."""

import click
import pytest
from click.testing import CliRunner

from ops.cli import main

FITTING = {"shell": "bash", "run_id": "a-run"}
"""What a command needs beside the option that is wrong."""
SENTRY = {f"SENTRY_{name}": "x" for name in ("URL", "ORG", "PROJECT", "AUTH_TOKEN")}
FREE = {
    "--auth-token", "--lml-api-key", "--parameter", "--sentry-url", "--token", "--url", "--environment",
    "--output", "-o",
}  # fmt: skip
"""Of these the command itself says what is wrong with them, or any text will do."""


def commands(group, *words):
    for name, command in group.commands.items():
        if isinstance(command, click.Group):
            yield from commands(command, *words, name)
        else:
            yield (*words, name), command


def wrong(parameter):
    """Values that an option must refuse."""
    if parameter.is_flag:
        return ["x"]
    match parameter.type:
        case click.Choice():
            return ["nobody", ""]
        case click.FloatRange():
            return ["many", "nan", "", str(parameter.type.min - 1), str(parameter.type.max + 1)]
        case click.IntRange():
            return ["many", "1.5", "", str(parameter.type.min - 1), str(parameter.type.max + 1)]
        case click.Path():
            return ["/no/such/file", "/"] if parameter.type.exists else ["/dev/null"] * (not parameter.type.file_okay)
        case _:
            return ["", " "]


CASES = [
    pytest.param(words, command, parameter.opts[0], value, id=f"{' '.join(words)} {parameter.opts[0]} {value[:12]!r}")
    for words, command in commands(main)
    for parameter in command.params
    if isinstance(parameter, click.Option) and parameter.opts[0] not in FREE
    for value in wrong(parameter)
]


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize(("words", "command", "option", "value"), CASES)
def test_a_wrong_value_is_named_before_anything_is_done(words, command, option, value, folder):
    arguments = [FITTING[it.name] for it in command.params if isinstance(it, click.Argument) and it.name in FITTING]

    done = CliRunner(env=SENTRY).invoke(main, [*words, f"{option}={value}", *arguments])

    assert done.exit_code == 2, done.output
    printed = " ".join(done.stderr.split())
    assert option in printed
    assert list(folder.iterdir()) == []


def test_every_option_that_takes_a_value_of_a_form_is_tried():
    tried = {(param.values[0], param.values[2]) for param in CASES}
    all_of_them = {
        (words, it.opts[0])
        for words, command in commands(main)
        for it in command.params
        if isinstance(it, click.Option)
    }

    assert {option for _, option in all_of_them - tried} <= FREE


@pytest.mark.parametrize(
    ("words", "printed"),
    [
        (["sentry", "migrate", "--apply", "--undo", __file__], "--apply and --undo are opposites"),
        (["logs", "--tail", "--json"], "leave one of them out"),
        (["dead-letters", "--replay", "--discard"], "a message that was thrown away cannot be sent"),
        (["smoke", "--lml-url", "https://x", "--stack-name", "x"], "not both"),
        (["demo", "--warm", "--cold"], "exclude each other"),
        (["sentry", "plan", "--org", "a/../b"], "'a/../b' is not a slug"),
        (["loadtest", "--measure-runtime", "0m"], "is not a duration such as 60m"),
        (["loadtest", "--measure-runtime", f"{'9' * 400}h"], "is not a duration such as 60m"),
        (["run", "extra"], "unexpected extra argument"),
    ],
)
def test_what_contradicts_itself_is_refused(words, printed):
    done = CliRunner(env=SENTRY).invoke(main, words)

    assert done.exit_code == 2, done.output
    assert printed in " ".join(done.stderr.split())
