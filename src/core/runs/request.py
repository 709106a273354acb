"""What starts a run: the schedule's input or a person's, checked whole, and the run's name (docs/design/formats.md)."""

import secrets
from collections.abc import Mapping
from datetime import UTC, date, datetime
from difflib import get_close_matches
from typing import Annotated, Final, cast

import msgspec

from core.aws import events
from core.runs.plan import IdentityId
from core.utc import utc_text


class StartError(ValueError):
    """The input cannot start a run; one problem a line, each naming its key."""


class Start(msgspec.Struct, frozen=True, kw_only=True):
    """A checked start; the empty one is today's full run."""

    scheduled_time: datetime | None = None
    """When the schedule fired, in UTC."""
    placeholder: str | None = None
    """What stood in its place when nobody filled it in."""
    dry_run: bool = False
    force: bool = False
    identity_ids: tuple[int, ...] | None = None
    replay_of: str | None = None
    without_artists: bool = False
    """A replay asks again for releases that came without artists, too."""

    @property
    def is_full(self) -> bool:
        """Whether this is the one run that everything planned goes through: it is locked, and alarms watch it."""
        return not self.dry_run and self.identity_ids is None and self.replay_of is None

    def scheduled_id(self, now: datetime) -> str:
        """Name the full run of a firing, or of a day when the firing's time is not known: twice is once."""
        if self.scheduled_time is None:
            return day_id(now.astimezone(UTC).date())
        return f"scheduled-{utc_text(self.scheduled_time)}"


def day_id(day: date) -> str:
    """Name the full run that a person asks for on a day, in UTC."""
    return f"scheduled-{day.isoformat()}"


def manual_id(now: datetime) -> str:
    """Name a run that a person asked for."""
    return f"manual-{utc_text(now)}-{secrets.token_hex(2)}"


_KEYS: Final[Mapping[str, object]] = {
    "scheduled_time": str,
    "dry_run": bool,
    "force": bool,
    "identity_ids": Annotated[tuple[IdentityId, ...], msgspec.Meta(min_length=1)],
    "replay_of": Annotated[str, msgspec.Meta(min_length=1, max_length=128)],
    "without_artists": bool,
}

KEYS: Final = ", ".join(_KEYS)
"""The keys of a start, for a message."""
_FORMS: Final = {
    "scheduled_time": "a text like 2026-02-03T04:30:00Z",
    "dry_run": "true or false",
    "force": "true or false",
    "identity_ids": "a list of one or more ids, each a whole number of at least 1",
    "replay_of": "the id of a run, a text of 1 to 128 characters",
}


_JSON: Final = {"NoneType": "null", "list": "a list", "str": "a text", "bool": "true or false"}
"""What JSON calls a value, by its type in Python."""
_TYPING_ERROR: Final = 0.8
"""Likeness from which a key is taken for one of ours that somebody has mistyped: `dryrun`, `identityIds`."""


def is_start(event: object) -> bool:
    """True if an event is meant to start a run; else it is a test of the console, or a ping.

    The schedule's and a rule's events do, an empty object, and one with a key of a start, mistyped ones too.
    """
    if not isinstance(event, dict):
        return False
    if "detail-type" in event:
        return events.is_of_eventbridge(event)
    return not event or any(get_close_matches(str(key).lower(), _KEYS, 1, _TYPING_ERROR) for key in event)


def read_start(event: object) -> Start:
    """Check an event, or take the `time` of an EventBridge rule's; raises `StartError` with every problem."""
    if not isinstance(event, dict):
        raise StartError(f"a start is a JSON object such as {{}}, not {_JSON.get(type(event).__name__, 'a number')}")
    if "detail-type" in event:
        event = {"scheduled_time": event.get("time")}
    problems = [f"{key[:40]!r}: no such key; there are {KEYS}" for key in event.keys() - _KEYS.keys()]
    fields: dict[str, object] = {}
    for key in _KEYS.keys() & event.keys():
        try:
            fields[key] = msgspec.convert(event[key], cast("type[object]", _KEYS[key]))
        except msgspec.ValidationError:
            problems.append(f"{key}: it must be {_FORMS[key]}")
    problems += _contradictions(fields)
    fields |= _time(fields.pop("scheduled_time", None), problems)
    if problems:
        raise StartError("\n".join(sorted(problems)))
    return msgspec.convert(fields, Start)


def _contradictions(fields: Mapping[str, object]) -> list[str]:
    problems = []
    ids = cast("tuple[int, ...]", fields.get("identity_ids", ()))
    if len(set(ids)) != len(ids):
        problems.append("identity_ids: repeats an id; name each once")
    if ids and "replay_of" in fields:
        problems.append("replay_of: a replay takes its ids from the run's ledger, so leave identity_ids out")
    if fields.get("without_artists") and "replay_of" not in fields:
        problems.append("without_artists: says what a replay asks for, so replay_of must name the run")
    return problems


def _time(text: object, problems: list[str]) -> dict[str, object]:
    if not isinstance(text, str):
        return {}
    if text.startswith("<"):
        return {"placeholder": text}
    try:
        when = datetime.fromisoformat(text)
        return {"scheduled_time": when.replace(tzinfo=when.tzinfo or UTC).astimezone(UTC)}
    except (ValueError, OverflowError):  # an offset may lead out of the calendar
        problems.append(f"scheduled_time: {text[:40]!r} is no time like 2026-02-03T04:30:00Z")
        return {}
