"""docs/commands.schema.json, and what an operator reads of it."""

import json

import pytest
from click.testing import CliRunner

from ops import shapes
from ops.cli import main


def test_every_command_that_has_json_has_a_shape():
    named = {name.split(" ")[0] for name in shapes.SHAPES}
    assert named == main.commands.keys() - {"completion"}


@pytest.mark.parametrize("command", main.commands)
def test_every_command_prints_its_help(command):
    done = CliRunner().invoke(main, [command, "--help"])
    assert done.exit_code == 0
    assert done.stdout.startswith("Usage: ")


def test_the_list_of_commands_names_each_with_what_it_does():
    printed = CliRunner().invoke(main, ["--help"]).stdout
    assert [name for name in main.commands if f"\n  {name} " not in printed] == []


def test_an_old_name_is_still_one():
    assert "dead-letters" not in CliRunner().invoke(main, ["letters", "--help"]).stderr
    assert CliRunner().invoke(main, ["letters", "--help"]).exit_code == 0


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_a_shell_s_completion_names_the_command(shell):
    assert "_ROTATION_COMPLETE" in CliRunner().invoke(main, ["completion", shell]).stdout


@pytest.mark.parametrize(
    ("words", "printed"),
    [
        (["up", "--identities", "many"], "many"),
        (["up", "--identities", "-1"], "0<=x<=30000"),
        (["up", "--speed", "0"], "0.001"),
        (["up", "--speed", "fast"], "fast"),
        (["run", "--ids", "1,,2"], "is no list of ids such as 17,18"),
        (["run", "--ids", "a"], "is no list of ids such as 17,18"),
        (["list", "-n", "0"], "1<=x<=1000"),
        (["logs", "--level", "loud"], "loud"),
        (["replay"], "Missing argument 'RUN'"),
        (["report", "-o", "/"], "is a directory"),
        (["smoke", "--identity-id", "0"], "1<=x"),
        (["demo", "--set", "X"], "is not NAME=VALUE"),
        (["demo", "--picker", "--warm"], "has no use for --warm"),
        (["sentry", "migrate", "--undo", "/no/such"], "does not exist"),
        (["completion", "tcsh"], "tcsh"),
        (["walk"], "No such command 'walk'"),
    ],
)
def test_a_wrong_value_is_named_and_nothing_is_done(words, printed, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("URL", "ORG", "PROJECT", "AUTH_TOKEN"):
        monkeypatch.setenv(f"SENTRY_{name}", "https://127.0.0.1:1")

    done = CliRunner().invoke(main, words)

    assert done.exit_code == 2
    assert printed in " ".join(done.stderr.split())
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "words",
    [["status"], ["list"], ["run"], ["stop"], ["replay", "x"], ["logs"], ["dead-letters"], ["report"], ["down"]],
)
def test_without_a_cloud_every_command_says_what_starts_one(words, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    done = CliRunner().invoke(main, [*words, "--json"])

    assert done.exit_code == 1
    assert "`rotation up`" in json.loads(done.stdout)["error"]
    assert "no: no" not in CliRunner().invoke(main, words).stdout
