"""The command `rotation`: what an operator may ask for (docs/design/operator.md).

What does it is imported when a command is called, so that help and completion come at once.
"""

import gc
import importlib
import re
from collections.abc import Callable
from math import isnan
from pathlib import Path
from typing import Any, Final, TypeAlias

import click
from click.shell_completion import get_completion_class

from core.environment import shown
from core.settings import FASTEST_PACE, VARIABLES
from ops.loadtest.patterns import IDENTITIES, PACES, PATTERNS

SPEEDS: Final = (0.001, 100_000.0)
"""How many times faster than real time a clock may run: CLOCK_SPEED is a plain number of at most six digits."""
LOG_LEVELS: Final = ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL")
"""Of a log line, the lowest first."""
PREFLIGHT_CHECKS: Final = ("gate", "coverage", "dashboards", "old-job", "concurrency", "secrets", "tokens", "budget")
SHELLS: Final = ("bash", "zsh", "fish")
UNKNOWN_ID: Final = 2_147_483_647
"""The highest integer of PostgreSQL, so that it is no identity of any table."""
WARM_PERCENT: Final = 90
"""Percent of the demo's identities that LML has cached, unless an option sets it."""
NOT_TO_BE_SET: Final = frozenset({"LEDGER_TABLE", "REFRESH_QUEUE_URL", "PARKED_QUEUE_URL", "LOCAL_DEV", "CLOCK_SPEED"})
"""Variables that the demo sets itself, so that `--set` refuses them."""
_ALIASES: Final = {"letters": "dead-letters"}
_SECONDS: Final = {"s": 1, "m": 60, "h": 3600}

Declared: TypeAlias = Callable[..., None]


class _Group(click.Group):
    """Lists commands in the order in which they are declared, each with its whole first sentence."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        return list(self.commands)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        return super().get_command(ctx, _ALIASES.get(cmd_name, cmd_name))

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002 - click's
        with formatter.section("Commands"):
            formatter.write_dl([(name, it.get_short_help_str(limit=200)) for name, it in self.commands.items()])


class _Text(click.ParamType[str]):
    """A name or an address; an empty one is what a shell makes of a variable that is not set."""

    name = "text"

    def __init__(self, form: str = r"(?s).*\S.*", such_as: str = "") -> None:
        self._form = form
        self._such_as = such_as

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> str:
        if not value.strip():
            self.fail("it is empty: is a variable of the shell not set?", param, ctx)
        if not re.fullmatch(self._form, value):
            self.fail(f"{shown(value)} is not {self._such_as}", param, ctx)
        return value


class _Number(click.FloatRange):
    """A range of numbers that also refuses nan, which no comparison would."""

    def convert(self, value: float, param: click.Parameter | None, ctx: click.Context | None) -> float:
        number = super().convert(value, param, ctx)
        if isnan(number):
            self.fail(f"{value} is not in the range {self._describe_range()}", param, ctx)
        return number


class _Ids(click.ParamType[tuple[int, ...]]):
    name = "ID,ID,..."

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> tuple[int, ...]:
        if not re.fullmatch("[0-9]{1,19}(,[0-9]{1,19})*", value):
            self.fail(f"{shown(value)} is no list of ids such as 17,18", param, ctx)
        return tuple(map(int, value.split(",")))


class _Variable(click.ParamType[tuple[str, str]]):
    name = "NAME=VALUE"

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, str]:
        name, equals, text = value.partition("=")
        known = {variable.name for variable in VARIABLES} - NOT_TO_BE_SET
        if not equals or name not in known:
            self.fail(f"{shown(value)} is not NAME=VALUE with one of: {', '.join(sorted(known))}", param, ctx)
        return name, text


class _Paces(click.ParamType[tuple[int, ...]]):
    name = "calls,..."

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> tuple[int, ...]:
        if isinstance(value, tuple):
            return value
        texts = str(value).split(",")
        if not all(re.fullmatch("[1-9][0-9]?", text) and int(text) <= FASTEST_PACE for text in texts):
            self.fail(
                f"{shown(str(value))} is not a list of calls a minute, each from 1 to {FASTEST_PACE}, such as 6,8,10",
                param,
                ctx,
            )
        return tuple(sorted({int(text) for text in texts}))


class _Duration(click.ParamType[float]):
    name = "duration"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> float:
        if isinstance(value, float):
            return value
        if not (found := re.fullmatch(r"([1-9][0-9]{0,4})([smh])", str(value))):
            self.fail(f"{shown(str(value))} is not a duration such as 60m", param, ctx)
        return float(found[1]) * _SECONDS[found[2]]


def _answer(place: str, **options: object) -> None:
    """Have `module:function` do what a command was asked for, and print its answer; ends the process."""
    gc.set_threshold(100_000)  # what a start makes stays, and most commands end before there is anything to collect
    as_json = bool(options.pop("as_json"))
    _loaded("ops.answer:give")(_loaded(place), options, as_json=as_json)


def _loaded(place: str) -> Callable[..., Any]:
    module, _, name = place.partition(":")
    found: Callable[..., Any] = getattr(importlib.import_module(module), name)
    return found


def _options(*options: Callable[[Declared], Declared]) -> Callable[[Declared], Declared]:
    def declared(command: Declared) -> Declared:
        for option in reversed(options):
            command = option(command)
        return command

    return declared


def _stack(what: str) -> Callable[[Declared], Declared]:
    return _options(
        click.option("--stack-name", type=_Text(), help=what),
        click.option("--region", type=_Text(), help="The stack's region. [default: as your AWS settings say]"),
    )


_json = click.option("--json", "as_json", is_flag=True, help="Print one JSON object, and progress to stderr.")
_target = _options(_stack("A deployed stack. [default: the cloud of `rotation up`]"), _json)
_watch = click.option("--watch", is_flag=True, help="The same, and serve the run on 127.0.0.1 as a page meanwhile.")
_wait = _options(
    click.option("--wait", is_flag=True, help="Watch the run to its end; exit with 0 only if it is complete."), _watch
)
_yes = click.option("--yes", is_flag=True, help="Do not ask whether you mean it.")
_run = click.argument("run_id", metavar="RUN")
_run_or_last = click.argument("run_id", metavar="[RUN]", required=False)
_identities = click.option(
    "--identities", type=click.IntRange(0, 30_000), default=310, show_default=True, help="Active identities."
)
_warm = click.option("--warm", is_flag=True, help="LML has everything cached: a day without news.")
_ID: Final = click.IntRange(1, 2**63 - 1)
_SLUG: Final = _Text("[A-Za-z0-9_-]+", "a slug, as in the address of its page in Sentry")
_FILE: Final = click.Path(exists=True, dir_okay=False, path_type=Path)
_NEW_FILE: Final = click.Path(dir_okay=False, path_type=Path)


@click.group(cls=_Group, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 120})
@click.version_option(package_name="rotation-artist-backfill", message="rotation %(version)s")
def main() -> None:
    """Keep a radio station's music-metadata cache warm, inside an upstream budget that it shares.

    Exit status: 0 if what was asked for was done, 1 if not, 2 for a wrong command line (docs/commands.md).
    """


@main.command()
@_identities
@_warm
@click.option(
    "--cold",
    is_flag=True,
    help=f"LML has nothing cached: a day of hours.  [default: {WARM_PERCENT} % cached, as on a station's days]",
)
@click.option(
    "--speed",
    type=_Number(*SPEEDS),
    help="Times faster than real time; 200, of the picker's walk 25, or 1 with --lml-url, as faster would send many "
    "times the budget, and with --warm, as a fast clock takes this machine's own time for Discogs calls.",
)
@click.option("--lml-url", type=_Text(), help="Ask this LML instead of the stand-in, whose log is then not checked.")
@click.option("--lml-api-key", default="", help="Its bearer token.")
@click.option("--set", "assignments", type=_Variable(), multiple=True, help="A variable for the functions; repeatable.")
@click.option(
    "--picker", is_flag=True, help="Show the picker instead: a cold first open, the walk, the same open again."
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object, and all else to stderr.")
def demo(**options: object) -> None:
    """Run the whole job once on this machine, from the schedule to the totals, and check its accounts.

    PostgreSQL, the AWS emulator, stand-ins for LML and Sentry and the project's own template are started, and stopped
    at the end. Exits with 0 only if the run is complete and every account agrees with all who saw a part of it.
    """
    _loaded("ops.demo:demo")(**options)


@main.command()
@_identities
@_warm
@click.option(
    "--speed",
    type=_Number(*SPEEDS),
    help="Times faster than real time; 100, or 1 with --warm, as a fast clock takes this machine's own time for "
    "Discogs calls.",
)
@_json
def up(**options: object) -> None:
    """Start the demo's cloud and leave it running, for `run`, `status` and the others, and for `sam local invoke`."""
    _answer("ops.up:up", **options)


@main.command()
@_json
def down(**options: object) -> None:
    """Stop the cloud of `up` and what a killed `up` or `demo` has left, and delete all that they hold."""
    _answer("ops.up:down", **options)


@main.command()
@click.option("--dry-run", is_flag=True, help="Count what a run would plan; ask LML for nothing.")
@click.option("--ids", type=_Ids(), help="Only these identities, as a run of their own.")
@click.option(
    "--force", is_flag=True, help="Even if today's run is complete, or another one holds the lock: it is ended."
)
@_wait
@_yes
@_target
def run(**options: object) -> None:
    """Start a run now: today's full one, or one of some identities.

    A full run is the day's, whether the schedule or a person has started it: starting it twice is starting it once.
    """
    _answer("ops.runs:run", **options)


@main.command("list")
@click.option("-n", "--limit", type=click.IntRange(1, 1000), default=20, show_default=True, help="Runs at most.")
@_target
def list_runs(**options: object) -> None:
    """List the runs of the last 30 days, the newest first: status, totals, who started each, and whose replay it is."""
    _answer("ops.listing:list_runs", **options)


@main.command()
@_run_or_last
@click.option("--follow", is_flag=True, help="Stay until the run has ended; exit with 0 only if it is complete.")
@_watch
@_target
def status(**options: object) -> None:
    """Show how RUN is getting on, or how it ended; the last one by default.

    Of a run whose start died, the messages that were not sent are sent.
    """
    _answer("ops.status:status", **options)


@main.command()
@_run_or_last
@click.option("--tail", is_flag=True, help="Stay, and show new lines as they come; Ctrl-C ends it, with exit status 0.")
@click.option(
    "--level",
    type=click.Choice(LOG_LEVELS, case_sensitive=False),
    default="INFO",
    show_default=True,
    help="The lowest to show.",
)
@_target
def logs(**options: object) -> None:
    """Show the log lines of RUN, or without RUN of everything in the last hour, the oldest first.

    A function's lines come when its invocation has ended, and CloudWatch shows them some seconds later.
    """
    if options["tail"] and options["as_json"]:
        raise click.UsageError("--tail has no end, and --json prints one object at the end: leave one of them out")
    _answer("ops.logs:logs", **options)


@main.command()
@_run_or_last
@click.option("--now", is_flag=True, help="End it at once: what has no verdict yet is not attempted.")
@click.option("--wait", is_flag=True, help="Watch the run to its end.")
@_target
def stop(**options: object) -> None:
    """Bring RUN, or without RUN the last one that goes on, to its end: what LML has not been asked is not attempted.

    What LML is working on still counts. A run that is past its deadline, or has not begun to send, ends at once, and is
    not started again. Messages that its start has not sent are sent, so that they can be accounted for. Of a run that
    has ended without a word the totals are reported.
    """
    _answer("ops.runs:stop", **options)


@main.command()
@_run
@click.option("--without-artists", is_flag=True, help="Also the ids whose release came without any artist.")
@_wait
@_target
def replay(**options: object) -> None:
    """Ask LML once more for the ids of RUN that are still open, as a new run that names RUN.

    Open are those that failed or were not attempted, but for those that an earlier replay of RUN has resolved.
    """
    _answer("ops.runs:replay", **options)


@main.command("dead-letters")
@click.argument("ids", metavar="[ID]...", nargs=-1)
@click.option("--replay", is_flag=True, help="Send them on their way again.")
@click.option("--discard", is_flag=True, help="Throw them away, for good.")
@_yes
@_target
def letters(**options: object) -> None:
    """List what waits for a person, or replay or discard it: the messages of these IDs, or all.

    A parked message is replayed by hand, its ids without a run; one of the dead-letter queue goes back to the refresh
    queue as it is; a start goes to fan-out. What the dead-letter function has accounted for already is part of
    its run: `rotation replay RUN`.
    """
    if options["replay"] and options["discard"]:
        raise click.UsageError("--replay or --discard: a message that was thrown away cannot be sent")
    _answer("ops.letters:letters", **options)


@main.command()
@_run_or_last
@click.option("-o", "--output", type=_NEW_FILE, help="[default: .local/reports/RUN.html]")
@_target
def report(**options: object) -> None:
    """Write RUN's page: verdicts, pace, slots, stale and failed ids, the last runs; the last run by default."""
    _answer("ops.report:report", **options)


@main.group(cls=_Group)
def sentry() -> None:
    """Keep what stands in Sentry as the files under ops/sentry say, and migrate from the old job."""


_at_sentry = _options(
    click.option(
        "--url", envvar="SENTRY_URL", default="https://sentry.io", show_default=True, help="Sentry. [env: SENTRY_URL]"
    ),
    click.option(
        "--org", type=_SLUG, envvar="SENTRY_ORG", required=True, help="Organization, its slug. [env: SENTRY_ORG]"
    ),
    click.option("--auth-token", envvar="SENTRY_AUTH_TOKEN", required=True, help="Better from SENTRY_AUTH_TOKEN."),
    _json,
)
_of_a_project = _options(
    click.option(
        "--project", type=_SLUG, envvar="SENTRY_PROJECT", required=True, help="Project, its slug. [env: SENTRY_PROJECT]"
    ),
    click.option(
        "--environment",
        envvar="SENTRY_ENVIRONMENT",
        default="production",
        show_default=True,
        help="The environment that is watched.",
    ),
    _stack("The stack whose schedule the monitor follows. [default: the template's own]"),
)


@sentry.command("plan")
@_of_a_project
@click.option("-o", "--output", type=_NEW_FILE, help="Keep the plan for apply --plan.")
@_at_sentry
def sentry_plan(**options: object) -> None:
    """Show what in Sentry differs from the files; writes nothing there. Exits with 2 if something differs."""
    _answer("ops.sentry:plan", **options)


@sentry.command("apply")
@_of_a_project
@click.option("--plan", "agreed", type=_FILE, help="Only if the plan is still this one, from plan -o.")
@_yes
@_at_sentry
def sentry_apply(**options: object) -> None:
    """Set right what the plan shows, all of it or nothing; does nothing the second time."""
    _answer("ops.sentry:apply", **options)


@sentry.command("migrate")
@click.option("--apply", "applied", is_flag=True, help="Rewrite what was found, after saving it to a file.")
@click.option("--undo", type=_FILE, help="Put everything back from the file that --apply saved.")
@_at_sentry
def sentry_migrate(**options: object) -> None:
    """Find saved queries, alert rules and dashboards with the old job's attributes, and where each attribute goes.

    Attributes without a successor, and formulas that hold one, are left for a person.
    """
    if options["applied"] and options["undo"]:
        raise click.UsageError("--apply and --undo are opposites: give one of them")
    _answer("ops.sentry:migrate_from_the_old_job", **options)


@main.command()
@_stack("The stack to deploy to. [default: the cloud of `rotation up`]")
@click.option(
    "--config-env", type=_Text(), metavar="NAME", help="Stack, region and parameters of this section of samconfig.toml."
)
@click.option("--config-file", type=_FILE, help="Another samconfig.toml.")
@click.option(
    "--parameter", "given", metavar="NAME=VALUE", multiple=True, help="A parameter to be deployed; repeatable."
)
@click.option("--database-env", is_flag=True, help="Reach the database by DB_HOST, DB_PORT, ... of this shell.")
@click.option(
    "--skip",
    "skipped",
    type=click.Choice(PREFLIGHT_CHECKS),
    multiple=True,
    help="Do not look, and say so; repeatable.",
)
@click.option("--token", help="A DJ's bearer token, to see what the picker would answer to it.")
@click.option("--sentry-url", envvar="SENTRY_URL", default="https://sentry.io", help="[env: SENTRY_URL]")
@click.option("--sentry-org", type=_SLUG, envvar="SENTRY_ORG", help="Organization, its slug. [env: SENTRY_ORG]")
@click.option(
    "--sentry-project",
    type=_SLUG,
    envvar="SENTRY_PROJECT",
    help="Where the old job's spans went. [env: SENTRY_PROJECT]",
)
@_json
def preflight(**options: object) -> None:
    """May this be deployed? Exits with 1 if a check fails or cannot be made; nothing is changed anywhere.

    What is looked at is this checkout's template with the stack's parameters, over them those of --config-env, over
    them --parameter. Sentry's token is taken from SENTRY_AUTH_TOKEN. The run in staging is asked for where the
    parameter SentryEnvironment is production.
    """
    _answer("ops.preflight:preflight", **options)


@main.command()
@click.option(
    "--lml-url",
    type=_Text(),
    help="This LML, with the key in LML_API_KEY. [default: the target's, with the target's key]",
)
@_stack("A deployed stack. [default: the cloud of `rotation up`]")
@click.option("--identity-id", type=_ID, help="The id to refresh. [default: the target's first active one]")
@click.option("--stale-id", type=_ID, default=UNKNOWN_ID, show_default=True, help="One LML does not know.")
@_json
def smoke(**options: object) -> None:
    """Ask an LML what the job will ask: the gate, an empty list, 51 ids, one id, a stale id.

    The one id is really refreshed: if it is cold, that is about four Discogs calls. Exits with 1 if an answer is not
    as it must be.
    """
    if options["lml_url"] is not None and (options["stack_name"] or options["region"]):
        raise click.UsageError("--lml-url, or a stack with its own LML: not both")
    _answer("ops.smoke:smoke", **options)


@main.command()
@click.option(
    "--pattern",
    "names",
    type=click.Choice(list(PATTERNS)),
    multiple=True,
    help="Readers beside the job.  [default: all]",
)
@click.option(
    "--runtime-per-minute",
    "readers",
    type=_Number(0, 200),
    help="Readers that make so many Discogs calls a minute, instead of --pattern.",
)
@click.option("--calls", type=click.IntRange(1, 100), default=5, show_default=True, help="Calls of a reader's lookup.")
@click.option("--at-once", type=click.IntRange(1, 100), default=1, show_default=True, help="Of these, side by side.")
@click.option("--identities", type=click.IntRange(1, 5000), default=IDENTITIES, show_default=True)
@click.option(
    "--warm", type=click.IntRange(0, 100), default=0, show_default=True, help="Percent that LML has at the start."
)
@click.option(
    "--pace",
    "paces",
    type=_Paces(),
    help=f"DISCOGS_BUDGET_PER_MINUTE to try beside the one in use.  [default: {','.join(map(str, PACES))}]",
)
@click.option(
    "--days", type=click.IntRange(1, 1000), default=2, show_default=True, help="Days of each kind, seeds 1 to N."
)
@click.option(
    "--lines", "check", is_flag=True, help="Also check every line that has to hold; exit status 1 if one is broken."
)
@click.option("--stand-in", is_flag=True, help="Over HTTP against the stand-in, and in the model.")
@click.option(
    "--lml-url", type=_Text(), help="Over HTTP against this LML, with LML_API_KEY; really refreshes the ids of --ids."
)
@click.option("--ids", "ids_file", type=_FILE, help="Identity ids for --lml-url, one a line.")
@click.option(
    "--speed",
    type=_Number(0.1, 50),
    help="Paced seconds in a second, over HTTP.  [default: 10 for the stand-in, else 1]",
)
@click.option(
    "--measure-runtime",
    "measured_for",
    type=_Duration(),
    help="Only watch the LML of --lml-url, say for 60m, and say how many calls others make.",
)
@click.option(
    "-o",
    "directory",
    type=click.Path(file_okay=False, path_type=Path),
    help="Write an HTML page, its SVG plots and the tables of docs/load-test.md there.",
)
@_json
def loadtest(**options: object) -> None:
    """Run whole days of the job beside readers, in a model of LML or over HTTP, and say what harm they did.

    The model runs the job's own code against LML's rules in virtual time, a cold day in about a second, and the same
    day without the job beside it.
    """
    _answer("ops.loadtest.days:loadtest", **options)


@main.command()
@click.argument("shell", type=click.Choice(SHELLS))
def completion(shell: str) -> None:
    """Print SHELL's completion: `source <(rotation completion bash)`, or `rotation completion fish | source`."""
    found = get_completion_class(shell)
    assert found is not None  # noqa: S101 - click has the three
    click.echo(found(main, {}, "rotation", "_ROTATION_COMPLETE").source())
