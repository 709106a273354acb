"""The settings of the picker's functions, and of a process that serves it (docs/design/settings.md)."""

import re
from collections.abc import Mapping
from typing import Final

import msgspec

from core.environment import shown
from core.settings import Database, Lml, SecretFetcher, Sentry, SettingsReader

LIVE_LOOKBACK: Final = 60  # seconds
_LOOKBACK: Final = "WARM_LIVE_ACTIVITY_LOOKBACK_SECONDS"


class PickerSettings(msgspec.Struct, frozen=True, kw_only=True):
    local_dev: bool
    clock_speed: float
    table: str | None
    """Where the caches have their second level, a table of the picker's own; a process that lives long needs none."""
    lml: Lml
    database: Database
    sentry: Sentry
    live_lookback: int
    """Seconds for which a logged track makes the walk wait; 0 turns that off."""
    live_lookback_refused: str | None
    """What was given in its place and is no such number: the walk warns, and takes the default."""
    warm_releases: bool


def read(environ: Mapping[str, str], fetch: SecretFetcher, *, needs_table: bool = True) -> PickerSettings:
    """Build the settings; raises SettingsError with every problem. On Lambda the second level is mandatory."""
    reader = SettingsReader(environ, fetch)
    table = reader.optional("PICKER_TABLE")
    if table is None and needs_table:
        reader.problem(
            "PICKER_TABLE",
            "is required, as a walk that fills only the memory of an environment warms nobody: set it",
        )
    lookback, refused = _live_lookback(environ.get(_LOOKBACK))
    return reader.checked(
        PickerSettings(
            local_dev=reader.local_dev,
            clock_speed=reader.clock_speed(),
            table=table,
            lml=reader.lml(),
            database=reader.database(),
            sentry=reader.sentry(),
            live_lookback=lookback,
            live_lookback_refused=refused,
            warm_releases=reader.integer("WARM_RELEASES", 0, 1) == 1,
        )
    )


def _live_lookback(value: str | None) -> tuple[int, str | None]:
    """Return seconds, and a value that was refused: the walk is worth more than this setting."""
    if value is None:
        return LIVE_LOOKBACK, None
    return (int(value), None) if re.fullmatch("[0-9]{1,9}", value) else (LIVE_LOOKBACK, shown(value))
