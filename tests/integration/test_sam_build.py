"""What `sam build` makes of the template: a package that needs nothing beside it, for each event of events/."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from local import deploy

pytestmark = pytest.mark.long

ROOT = Path(__file__).parents[2]
EVENTS = dict(re.findall(r"^\| `events/([a-z-]+)\.json` \| `(\w+)` \|", (ROOT / "README.md").read_text(), re.MULTILINE))
FUNCTIONS = sorted(set(EVENTS.values()))
SAM = ROOT / ".venv-sam/bin/sam"
RUN = "import sys; sys.path[:] = [p for p in sys.path if 'site-packages' not in p]; sys.path.insert(0, {!r}); import {}"


def python_of_lambda() -> str | None:
    """A Python 3.13 that runs: one that a version manager only has a name for is none."""
    named = sys.executable if sys.version_info[:2] == (3, 13) else shutil.which("python3.13")
    if named and subprocess.run([named, "-c", ""], capture_output=True, check=False).returncode == 0:  # noqa: S603
        return named
    return None


@pytest.fixture(scope="module")
def checkout(tmp_path_factory):
    """A clean checkout: what git would give, and nothing that somebody made in it."""
    clean = tmp_path_factory.mktemp("clean") / "checkout"
    files = subprocess.run(
        ["git", "ls-files", "-co", "--exclude-standard"],  # noqa: S607
        cwd=ROOT, capture_output=True, text=True, check=True,
    ).stdout.splitlines()  # fmt: skip
    for name in files:
        if (ROOT / name).is_file():
            (clean / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, clean / name)
    return clean


@pytest.fixture(scope="module")
def built(checkout):
    """The directory of each function; by sam, or where it is not installed by the target that sam calls."""
    machine = "arm64" if os.uname().machine in {"arm64", "aarch64"} else "x86_64"
    path = {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}", "ARCHITECTURE": machine}
    environment = os.environ | path | {"SAM_CLI_TELEMETRY": "0", "AWS_DEFAULT_REGION": "us-east-1"}
    there = checkout / ".aws-sam" / "build"
    if SAM.exists():
        commands = [[str(SAM), "build", "--parameter-overrides", f"Architecture={machine}"]]
    else:
        commands = [
            ["make", "-f", "src/Makefile", f"build-{name}", f"ARTIFACTS_DIR={there / name}"] for name in FUNCTIONS
        ]
    for command in commands:
        done = subprocess.run(  # noqa: S603 - what the README has people type
            command, cwd=checkout, env=environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
    return there


@pytest.mark.parametrize("event", EVENTS)
def test_the_package_of_an_event_s_function_imports_its_handler_with_nothing_else_on_the_path(built, event):
    function = EVENTS[event]
    handler = deploy.read()["Resources"][function]["Properties"]["Handler"].rpartition(".")[0]
    if (python := python_of_lambda()) is None:
        pytest.skip("no python3.13 is here to run a package of Lambda's version")

    done = subprocess.run(  # noqa: S603 - our own code
        [python, "-I", "-S", "-B", "-c", RUN.format(str(built / function), handler)],
        env={}, cwd="/", capture_output=True, text=True, check=False,
    )  # fmt: skip

    assert done.returncode == 0, done.stderr


def test_what_sam_makes_is_ignored_by_git(checkout):
    ignored = (checkout / ".gitignore").read_text().splitlines()
    assert {".aws-sam/", ".local/"} <= set(ignored)
