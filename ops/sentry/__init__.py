"""`rotation sentry`: alert rule, monitor and dashboard kept as files, and the move from the old job's attributes."""

import functools
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Concatenate, Final, ParamSpec

import click
import msgspec
from rich.markup import escape

from core.schedule import Schedule
from core.utc import utc_text
from ops.answer import Answer, answers, sure, yes_option
from ops.output import write_whole
from ops.sentry import changes, keep, migrate
from ops.sentry.api import Api, Object, SentryError
from ops.target import HOME, OperatorError, find

__all__ = ["sentry"]

P = ParamSpec("P")
_URL: Final = "https://sentry.io"


@click.group()
def sentry() -> None:
    """Keep what stands in Sentry as the files under ops/sentry say, and migrate from the old job."""


def _at_sentry(command: Callable[Concatenate[Api, P], Answer]) -> Callable[P, None]:
    """`answers` for a command whose first argument is the organization to talk to."""

    @click.option("--url", envvar="SENTRY_URL", default=_URL, show_default=True, help="Sentry. [env: SENTRY_URL]")
    @click.option("--org", envvar="SENTRY_ORG", required=True, help="Organization, its slug. [env: SENTRY_ORG]")
    @click.option("--auth-token", envvar="SENTRY_AUTH_TOKEN", required=True, help="Better from SENTRY_AUTH_TOKEN.")
    @functools.wraps(command)
    def connected(*args: P.args, **kwargs: P.kwargs) -> Answer:
        url, org, token = (str(kwargs.pop(name)) for name in ("url", "org", "auth_token"))
        with Api(url, org, token) as api:
            return command(api, *args, **kwargs)

    return answers(connected)


def _of_a_project(command: Callable[P, None]) -> Callable[P, None]:
    project = click.option(
        "--project", envvar="SENTRY_PROJECT", required=True, help="Project, its slug. [env: SENTRY_PROJECT]"
    )
    environment = click.option(
        "--environment",
        envvar="SENTRY_ENVIRONMENT",
        default="production",
        show_default=True,
        help="The environment that is watched.",
    )

    stack = click.option(
        "--stack-name", help="The stack whose schedule the monitor follows. [default: the template's own]"
    )
    region = click.option("--region", help="The stack's region. [default: as your AWS settings say]")
    return project(environment(stack(region(command))))


def _schedule(stack_name: str | None, region: str | None) -> Schedule:
    if stack_name is None:
        return keep.template_schedule()
    return keep.schedule_in(find(stack_name, region).environment("FanOutFunction"))


@sentry.command("plan")
@_of_a_project
@click.option("-o", "--output", type=click.Path(dir_okay=False, path_type=Path), help="Keep the plan for apply --plan.")
@_at_sentry
def plan_command(
    api: Api, *, project: str, environment: str, stack_name: str | None, region: str | None, output: Path | None
) -> Answer:
    """Show what in Sentry differs from the files; writes nothing there. Exits with 2 if something differs."""
    found = keep.plan(api, project, environment, _schedule(stack_name, region))
    if output is not None:
        _write(output, _encoded(found))
    return Answer(_lines(found) or ["nothing to do"], _data(found), status=2 if found else 0)


@sentry.command("apply")
@_of_a_project
@click.option(
    "--plan",
    "agreed",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Only if the plan is still this one, from plan -o.",
)
@yes_option
@_at_sentry
def apply_command(
    api: Api,
    *,
    project: str,
    environment: str,
    stack_name: str | None,
    region: str | None,
    agreed: Path | None,
    yes: bool,
) -> Answer:
    """Set right what the plan shows, all of it or nothing; does nothing the second time."""
    plan = None if agreed is None else _plan(agreed)
    found = keep.plan(api, project, environment, _schedule(stack_name, region))
    if plan is not None and plan != _encoded(found):
        raise SentryError(f"Sentry or the files changed since {agreed}; nothing was written. Look at the plan again")
    if found and agreed is None:  # a plan that was kept has been looked at
        click.echo("\n".join(_plain(found)), err=True)
        sure(f"Write {_objects(len(found))} to Sentry?", yes=yes)
    changes.make(api, [change for change, _ in found])
    return Answer([*_lines(found), "done"] if found else ["nothing to do"], _data(found))


@sentry.command("migrate")
@click.option("--apply", "applied", is_flag=True, help="Rewrite what was found, after saving it to a file.")
@click.option(
    "--undo",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Put everything back from the file that --apply saved.",
)
@_at_sentry
def migrate_command(api: Api, *, applied: bool, undo: Path | None) -> Answer:
    """Find saved queries, alert rules and dashboards with the old job's attributes, and where each attribute goes.

    Attributes without a successor, and formulas that hold one, are left for a person.
    """
    if undo is not None:
        if applied:
            raise OperatorError("--apply and --undo are opposites")
        back = migrate.way_back(api, undo.read_bytes())
        changes.make(api, back)
        if not back:
            return Answer(
                [f"nothing to put back: all that {undo} holds is in Sentry as it was before the migration"],
                {"put_back": []},
            )
        return Answer(
            [f"put back as before the migration: {_objects(len(back))}"], {"put_back": [it.name for it in back]}
        )
    uses = migrate.inventory(api)
    saved: Path | None = None
    to_write = [use.change for use in uses if use.rewritten]
    if applied and to_write:
        saved = HOME / f"sentry-before-{utc_text(datetime.now(UTC)).replace(':', '-')}.json"
        _write(saved, migrate.kept(uses))
        changes.make(api, to_write)
    lines = [escape(line) for line in migrate.lines(uses)] or ["nothing uses the old attributes"]
    if saved is not None:
        lines.append(f"rewritten: {_objects(len(to_write))}; `rotation sentry migrate --undo {saved}` puts them back")
    return Answer(
        lines,
        {
            "found": [
                {"in": use.change.path, "name": use.change.name, "rewritten": use.rewritten, "by_hand": use.by_hand}
                for use in uses
            ],
            "applied": saved is not None,
            "saved": None if saved is None else str(saved),
        },
    )


Found = list[tuple[changes.Change, list[str]]]


def _lines(found: Found) -> list[str]:
    return [escape(line) for line in _plain(found)]


def _plain(found: Found) -> list[str]:
    return [
        line
        for change, differences in found
        for line in (
            f"{change.path} {change.name!r}",
            *(f"  {difference}" for difference in differences),
            *(f"  note: {note}" for note in _notes(change)),
        )
    ]


def _data(found: Found) -> dict[str, object]:
    return {
        "changes": [
            {"in": change.path, "name": change.name, "differences": lines, "notes": _notes(change)}
            for change, lines in found
        ]
    }


def _notes(change: changes.Change) -> list[str]:
    return [keep.NOTES[change.path]] if change.path in keep.NOTES else []


def _encoded(found: Found) -> bytes:
    steady = [(change.path, change.name, changes.steady(change.before), change.after) for change, _ in found]
    return msgspec.json.format(msgspec.json.encode(steady))


def _plan(path: Path) -> bytes:
    """Return what `plan -o` wrote; raises OperatorError for anything else."""
    content = path.read_bytes()
    try:
        msgspec.json.decode(content, type=list[tuple[str, str, object, Object]])
    except (msgspec.DecodeError, UnicodeDecodeError):
        raise OperatorError(f"{path} is no plan: `rotation sentry plan -o FILE` writes one") from None
    return content


def _objects(count: int) -> str:
    return f"{count} object{'' if count == 1 else 's'}"


def _write(path: Path, content: bytes) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(path, content)
    except OSError as error:
        raise OperatorError(f"{path} cannot be written, and nothing was changed in Sentry: {error}") from None
