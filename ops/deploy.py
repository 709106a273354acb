"""`python -m ops.deploy`, which is `make deploy`: `sam deploy` of what `make build` made, with the commit as release.

sam takes overrides of its command line instead of samconfig.toml's, so that adding one means repeating them all.
"""

import os
import subprocess
import sys
from argparse import ArgumentParser
from pathlib import Path
from typing import Final

from local import deploy
from ops.preflight.planned import SAMCONFIG, configured
from ops.target import OperatorError

SAM: Final = deploy.ROOT / ".venv-sam" / "bin" / "sam"


def command(config_env: str, release: str, more: list[str], config: Path = SAMCONFIG) -> list[str]:
    """Return the arguments of sam; raises OperatorError where samconfig.toml has no such section."""
    parameters = configured(config, config_env).parameters | {"SentryRelease": release}
    overrides = [f'{name}="{value}"' for name, value in parameters.items()]
    return ["deploy", "--config-env", config_env, *more, "--parameter-overrides", *overrides]


def release() -> str:
    """Return the commit that is checked out, and whether there is more than it has."""
    describe = ["git", "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"]
    return subprocess.run(  # noqa: S603 - our own command
        describe, cwd=deploy.ROOT, capture_output=True, text=True, check=True
    ).stdout.strip()


def main() -> None:
    parser = ArgumentParser(prog="python -m ops.deploy", description=__doc__)
    parser.add_argument("config_env", help="a section of samconfig.toml")
    known, more = parser.parse_known_args()
    try:
        arguments = command(known.config_env, release(), more)
    except OperatorError as error:
        sys.exit(f"deploy: {error}")
    os.execv(SAM, [str(SAM), *arguments])  # noqa: S606 - sam asks questions, and its exit status is ours


if __name__ == "__main__":
    main()
