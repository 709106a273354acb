"""The picker's parts, put together once a process: with a table that others share, or with this memory alone."""

import msgspec

from core.aws.table import Table
from core.clock import SystemClock
from core.picker import api
from core.picker.config import PickerSettings
from core.picker.limiter import Limiter, OwnMeter
from core.picker.lookup import LookupClient
from core.picker.resolver import PATIENCE, Resolver
from core.picker.rows import Rows
from core.picker.shared import SharedAnswers, SharedMeter, SharedTurns
from core.picker.tracks import Pick, ReleaseTracks, TrackList
from core.picker.warm import Warmer
from core.telemetry import Telemetry

FLUSH_SECONDS = 0.3
"""How long a DJ may wait for Sentry."""


class Picker(msgspec.Struct, frozen=True):
    resolver: Resolver
    warmer: Warmer
    telemetry: Telemetry
    local_dev: bool = False
    """Whether functions answer without an authorizer before them."""

    def reply_to(
        self, rotation_id: str, if_none_match: str | None = None, *, patience: float = PATIENCE
    ) -> api.ApiReply:
        """Answer a DJ's request within so many seconds; what goes wrong is reported to Sentry and the log."""
        return api.reply_to(
            rotation_id, lambda row: self._answer(row, patience), self._report, if_none_match=if_none_match
        )

    def close(self) -> None:
        self.resolver.close()

    def _answer(self, rotation_id: int, patience: float) -> TrackList:
        return self.resolver.remembered(rotation_id) or self.resolver.answer(rotation_id, patience=patience)

    def _report(self, error: Exception) -> None:
        self.telemetry.error("picker", str(error), error=type(error).__name__)
        self.telemetry.exception(error, step="picker")
        self.telemetry.flush(FLUSH_SECONDS)


def build(config: PickerSettings, telemetry: Telemetry, table: Table | None = None) -> Picker:
    """Wire a picker; makes no request."""
    clock = SystemClock(config.clock_speed)

    def warn(error: Exception) -> None:
        telemetry.warning("picker", str(error), error=type(error).__name__)

    resolver = Resolver(
        Rows(config.database, clock),
        LookupClient(config.lml, clock),
        Limiter(OwnMeter() if table is None else SharedMeter(table), clock),
        clock,
        warn,
        shared_picks=None if table is None else SharedAnswers(table, "PICK", Pick, clock, warn),
        shared_releases=None if table is None else SharedAnswers(table, "RELEASE", ReleaseTracks, clock, warn),
        shared_turns=None if table is None else SharedTurns(table, clock, warn),
    )
    warmer = Warmer(
        resolver,
        clock,
        telemetry,
        live_lookback=config.live_lookback,
        live_lookback_refused=config.live_lookback_refused,
        releases=config.warm_releases,
    )
    return Picker(resolver, warmer, telemetry, config.local_dev)
