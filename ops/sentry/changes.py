"""Changes to objects in Sentry, made all together or not at all."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

from ops.sentry.api import Api, Path, SentryError, SentryObject

KEYS: Final[dict[Path, str]] = {"monitors": "slug"}
"""The field by which Sentry addresses an object; for the others it is `id`."""
NAMES: Final[dict[Path, str]] = {"alert-rules": "name", "monitors": "slug", "dashboards": "title"}
"""The field by which an object of ours is found."""
_RESTLESS: Final = frozenset(
    {"id", "dateCreated", "dateModified", "dateUpdated", "dateAdded", "lastVisited", "lastCheckIn", "nextCheckIn"}
    | {"nextCheckInLatest", "environments", "visits"}
)
"""Fields that change by themselves, or when an object is written unchanged."""


class ChangedMeanwhileError(SentryError):
    """Somebody else has changed an object since it was looked at; nothing was written."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """One object, as it is (None: there is none of its name) and as it will be."""

    path: Path
    name: str
    before: SentryObject | None
    after: SentryObject

    @property
    def key(self) -> str | None:
        return None if self.before is None else str(self.before[KEYS.get(self.path, "id")])


def make(api: Api, changes: Sequence[Change]) -> None:
    """Make all changes; if one fails, undo those before it. Raises SentryError with the state of things."""
    for change in changes:
        if _stands(api, change) != steady(change.before):
            raise ChangedMeanwhileError(
                f"{change.path} {change.name!r} was changed meanwhile; nothing was written. Look at the plan again"
            )
    begun: list[Change] = []
    for change in changes:
        begun.append(change)  # before it is made: a request that fails may have done its work
        try:
            if change.key is None:
                api.create(change.path, change.after)
            else:
                api.update(change.path, change.key, change.after)
        except (SentryError, KeyboardInterrupt) as error:
            left = [line for done in reversed(begun) for line in _take_back(api, done)]
            state = "everything is as it was before: put right what is named, then try again"
            if left:
                state = f"NOT put back: {'; '.join(left)}: put it right in Sentry by hand"
            raise SentryError(f"{str(error) or 'interrupted'}\n{state}") from None


def _stands(api: Api, change: Change) -> Any:  # noqa: ANN401 - any JSON
    """Return what there is now, None if nothing."""
    if change.key is not None:
        return steady(api.read(change.path, change.key))
    return next((steady(found) for found in _namesakes(api, change)), None)


def _namesakes(api: Api, change: Change) -> list[SentryObject]:
    name = NAMES[change.path]
    return [found for found in api.all(change.path) if found.get(name) == change.after[name]]


def _take_back(api: Api, change: Change) -> Iterator[str]:
    """Undo a change that was made, or may have been; yields what could not be undone."""
    try:
        if change.before is not None and change.key is not None:
            if _stands(api, change) != steady(change.before):
                api.update(change.path, change.key, change.before)
        else:  # there was none of its name, so that whatever has it now is ours
            for found in _namesakes(api, change):
                api.delete(change.path, str(found[KEYS.get(change.path, "id")]))
    except SentryError as error:
        yield f"{change.path} {change.name!r} ({error})"


def steady(value: Any) -> Any:  # noqa: ANN401 - any JSON
    """Return a copy without what changes by itself."""
    if isinstance(value, dict):
        return {name: steady(inner) for name, inner in value.items() if name not in _RESTLESS}
    return [steady(inner) for inner in value] if isinstance(value, list) else value
