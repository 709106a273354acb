"""The command `rotation`: what an operator runs (docs/design/operator.md)."""

import importlib
from typing import Final, NamedTuple

import click
from click.shell_completion import CompletionItem


class _Command(NamedTuple):
    """Where a command is, imported when it is asked for, and what the list of commands says of it."""

    module: str
    name: str
    help: str


_COMMANDS: Final = {
    "demo": _Command("ops.demo", "demo", "Run the whole job once on this machine, and check its accounts."),
    "up": _Command("ops.up", "up", "Start the demo's cloud and leave it running."),
    "down": _Command("ops.up", "down", "Stop what `up` or a killed `demo` left running."),
    "run": _Command("ops.runs", "run", "Start a run now."),
    "list": _Command("ops.listing", "list_runs", "List the runs of the last 30 days, the newest first."),
    "status": _Command("ops.status", "status", "Show how a run is getting on, or how it ended."),
    "logs": _Command("ops.logs", "logs", "Show what the functions logged."),
    "stop": _Command("ops.runs", "stop", "Bring a run to its end."),
    "replay": _Command("ops.runs", "replay", "Ask again for the ids of a run that are still open."),
    "dead-letters": _Command("ops.letters", "letters", "List, replay or discard what nobody could work on."),
    "report": _Command("ops.report", "report", "Write a run as one HTML page."),
    "sentry": _Command("ops.sentry", "sentry", "Keep alert rule, monitor and dashboard in Sentry; migrate to them."),
    "preflight": _Command("ops.preflight", "preflight", "Say whether this may be deployed."),
    "smoke": _Command("ops.smoke", "smoke", "Ask an LML for all that the job relies on."),
    "loadtest": _Command("ops.loadtest.cli", "loadtest", "Find what a budget does to a day and to LML's readers."),
    "completion": _Command("ops.completion", "completion", "Print what makes a shell complete these commands."),
}
_ALIASES: Final = {"letters": "dead-letters"}


class _Lazy(click.Group):
    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002 - click's signature
        found = _COMMANDS.get(_ALIASES.get(cmd_name, cmd_name))
        if found is None:
            return None
        command = getattr(importlib.import_module(found.module), found.name)
        assert isinstance(command, click.Command)  # noqa: S101 - the table above
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002 - click's
        with formatter.section("Commands"):
            formatter.write_dl([(name, command.help) for name, command in _COMMANDS.items()])

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        items = [
            CompletionItem(name, help=command.help)
            for name, command in _COMMANDS.items()
            if name.startswith(incomplete)
        ]
        return [*items, *click.Command.shell_complete(self, ctx, incomplete)]


@click.group(cls=_Lazy, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 120})
@click.version_option(package_name="rotation-artist-backfill", message="rotation %(version)s")
def main() -> None:
    """Keep a radio station's music-metadata cache warm, inside an upstream budget that it shares.

    Exit status: 0 if what was asked for was done, 1 if not, 2 for a wrong command line (docs/commands.md).
    """
