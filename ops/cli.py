"""The command `rotation`: what an operator runs (DESIGN §11)."""

import importlib
from typing import Final

import click

_COMMANDS: Final = {
    "demo": "ops.demo",
    "up": "ops.up",
    "down": "ops.up",
    "run": "ops.runs",
    "status": "ops.status",
    "stop": "ops.runs",
    "replay": "ops.runs",
    "letters": "ops.letters",
    "report": "ops.report",
    "sentry": "ops.sentry",
    "loadtest": "ops.loadtest.cli",
    "preflight": "ops.preflight",
    "smoke": "ops.smoke",
}
"""Each command and the module that holds it, imported when it is asked for."""


class _Lazy(click.Group):
    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002 - click's signature
        if cmd_name not in _COMMANDS:
            return None
        command = getattr(importlib.import_module(_COMMANDS[cmd_name]), cmd_name)
        assert isinstance(command, click.Command)  # noqa: S101 - the table above
        return command


@click.group(cls=_Lazy, context_settings={"help_option_names": ["-h", "--help"]})
def main() -> None:
    """Keep a radio station's music-metadata cache warm, inside an upstream budget that it shares."""
