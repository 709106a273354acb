"""How soon a command answers: what its help, and the list of commands, may not wait for."""

import json
import subprocess
import sys

import click
import pytest

from ops.cli import main

HEAVY = {"boto3", "botocore", "httpx", "pg8000", "psutil", "sentry_sdk", "starlette", "pygal", "asyncio", "rich"}
ASK = """
import json, sys
from ops.cli import main
try:
    main(json.loads(sys.argv[1]))
except SystemExit as ended:
    print("\\n" + json.dumps([ended.code, *sys.modules]))
"""


def commands(group, *words):
    yield words
    for name, command in group.commands.items():
        yield from commands(command, *words, name) if isinstance(command, click.Group) else [(*words, name)]


def modules_of(*words):
    """The exit status of a command in a process of its own, and the modules that it has loaded."""
    done = subprocess.run(  # noqa: S603 - our own command
        [sys.executable, "-c", ASK, json.dumps(words)], capture_output=True, text=True, check=True
    )
    code, *modules = json.loads(done.stdout.splitlines()[-1])
    return code, set(modules)


@pytest.mark.parametrize("words", [pytest.param(it, id=" ".join(it) or "rotation") for it in commands(main)])
def test_help_loads_nothing_of_what_the_command_needs_to_do_its_work(words):
    code, modules = modules_of(*words, "--help")

    assert code == 0
    assert modules & HEAVY == set()


def test_completion_and_the_version_load_nothing_of_it_either():
    for words in (["completion", "bash"], ["--version"]):
        assert modules_of(*words)[1] & HEAVY == set()


@pytest.mark.parametrize("command", ["ops.status", "ops.listing"])
def test_a_look_at_runs_loads_no_more_of_libraries_than_what_asks_aws(command):
    script = f"import json, sys, ops.answer, {command}; print(json.dumps(list(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)  # noqa: S603 - our own

    assert set(json.loads(done.stdout)) & (HEAVY - {"botocore"}) == set()
