"""`rotation sentry`: alert rule, monitor and dashboard kept as files, and the move from the old job's attributes."""

import functools
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Concatenate, ParamSpec

import click
import msgspec

from core.schedule import Schedule
from core.utc import utc_text
from ops.answer import Answer, sure
from ops.output import write_whole
from ops.sentry import changes, keep, migrate
from ops.sentry.api import Api, SentryError, SentryObject
from ops.target import HOME, OperatorError, find

__all__ = ["apply", "migrate_from_the_old_job", "plan"]

P = ParamSpec("P")


def _at_sentry(command: Callable[Concatenate[Api, P], Answer]) -> Callable[..., Answer]:
    """Give a command the organization to talk to, for `url`, `org` and `auth_token`."""

    @functools.wraps(command)
    def connected(url: str, org: str, auth_token: str, *args: P.args, **kwargs: P.kwargs) -> Answer:
        with Api(url, org, auth_token) as api:
            return command(api, *args, **kwargs)

    return connected


def _schedule(stack_name: str | None, region: str | None) -> Schedule:
    if stack_name is None:
        return keep.template_schedule()
    return keep.schedule_in(find(stack_name, region).environment("FanOutFunction"))


@_at_sentry
def plan(
    api: Api, *, project: str, environment: str, stack_name: str | None, region: str | None, output: Path | None
) -> Answer:
    """Show what in Sentry differs from the files."""
    found = keep.plan(api, project, environment, _schedule(stack_name, region))
    if output is not None:
        _write(output, _encoded(found))
    return Answer(_lines(found) or ["nothing to do"], _data(found), status=2 if found else 0)


@_at_sentry
def apply(
    api: Api,
    *,
    project: str,
    environment: str,
    stack_name: str | None,
    region: str | None,
    agreed: Path | None,
    yes: bool,
) -> Answer:
    """Set right what the plan shows, all of it or nothing."""
    kept = None if agreed is None else _plan(agreed)
    found = keep.plan(api, project, environment, _schedule(stack_name, region))
    if kept is not None and kept != _encoded(found):
        raise SentryError(f"Sentry or the files changed since {agreed}; nothing was written. Look at the plan again")
    if found and agreed is None:  # a plan that was kept has been looked at
        click.echo("\n".join(_lines(found)), err=True)
        sure(f"Write {_objects(len(found))} to Sentry?", yes=yes)
    changes.make(api, [change for change, _ in found])
    return Answer([*_lines(found), "done"] if found else ["nothing to do"], _data(found))


@_at_sentry
def migrate_from_the_old_job(api: Api, *, applied: bool, undo: Path | None) -> Answer:
    """Find what uses the old job's attributes; rewrite it, or put it back."""
    if undo is not None:
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
    lines = list(migrate.lines(uses)) or ["nothing uses the old attributes"]
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
        msgspec.json.decode(content, type=list[tuple[str, str, object, SentryObject]])
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
        raise OperatorError(
            f"{path} cannot be written, and nothing was changed in Sentry: {error}\nCall the command again in a folder "
            "of yours"
        ) from None
