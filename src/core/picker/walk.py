"""One walk over the active rows, which opens each before a DJ does (docs/design/picker.md); seconds are paced."""

import threading
from array import array
from collections.abc import Callable, Sequence
from datetime import timedelta
from math import inf
from typing import TYPE_CHECKING, Final, TypeVar

import msgspec

from core.picker.caches import CLAIM_SECONDS, ENTRIES
from core.picker.limiter import YieldError
from core.picker.lookup import LOOKUP_SECONDS, RELEASE_SECONDS
from core.picker.resolver import Resolver, TrackSource
from core.picker.rows import DatabaseError

if TYPE_CHECKING:
    from core.clock import Clock
    from core.telemetry import Telemetry

SUBSYSTEM: Final = "rotation-tracks-cache-warm"
WALK_SECONDS: Final = 1800.0
"""A walk's budget; what it waits for live shows is not in it."""
ROW_PAUSE_SECONDS: Final = 600.0
PAUSE_SECONDS: Final = 30.0
PROGRESS_ROWS: Final = 50
PLAN_ROWS: Final = 30_000
"""A hand-over carries the rows that are left, and an event of Lambda holds 256 kB: 160 of them are these."""
HAND_OVER_SECONDS: Final = PAUSE_SECONDS + 2 * CLAIM_SECONDS + LOOKUP_SECONDS + RELEASE_SECONDS + 15
"""Wall seconds that a row may need: a pause, two waits for others' claims, a lookup, a release fetch, the database."""
TAGS: Final = {"subsystem": SUBSYSTEM}
_T = TypeVar("_T")


class WarmCounters(msgspec.Struct, rename="camel"):
    """What became of the active rows; `active = scanned + budget_skipped`, and `scanned` is the sum of the next four.

    In logs and in a hand-over the names are camelCase.
    """

    scanned: int = 0
    pre_resolved: int = 0
    lml_positive: int = 0
    lml_negative: int = 0
    errors: int = 0
    release_fetch_positive: int = 0
    release_fetch_negative: int = 0
    release_fetch_already_warm: int = 0
    release_fetch_errors: int = 0
    budget_skipped: int = 0
    live_activity_pause_count: int = 0
    live_activity_pause_ms: int = 0
    elapsed_ms: int = 0


class Cursor(msgspec.Struct, forbid_unknown_fields=True):
    """How far a walk is, for the invocation that goes on with it."""

    left: bytes
    """The rows that are left in their order, four bytes each."""
    started: float
    counters: WarmCounters
    probe_failed: bool = False


class _SkippedError(Exception):
    """A budget has ended before the row was opened."""


class _HandOverError(Exception):
    """This invocation has no time left for the row."""


class StoppedError(Exception):
    """The process ends, and the walk with it."""


class Walker:
    """Walks the rows one at a time, the way a DJ's request takes, and gives way to DJs and to live shows."""

    def __init__(
        self,
        resolver: Resolver,
        clock: "Clock",
        telemetry: "Telemetry",
        *,
        live_lookback: int,
        live_lookback_refused: str | None = None,
        releases: bool = True,
    ) -> None:
        self._resolver = resolver
        self._rows = resolver.rows
        self._clock = clock
        self._telemetry = telemetry
        self._lookback = live_lookback
        self._lookback_refused = live_lookback_refused
        self._releases = releases
        self._stopping = threading.Event()
        self._active = 0
        self._counters = WarmCounters()

    def warm_rotation_tracks_cache(self) -> WarmCounters:
        """Walk every active row once; raises DatabaseError when the database is away, nothing for a row."""
        cursor = self.begin()
        self.walk(cursor)
        return cursor.counters

    def begin(self) -> Cursor:
        """Plan a walk that begins now, and return its cursor; raises DatabaseError, and the SDK's errors."""
        if self._lookback_refused is not None:
            self._telemetry.warning(
                "warm",
                f"WARM_LIVE_ACTIVITY_LOOKBACK_SECONDS is {self._lookback_refused}, no whole number of seconds: "
                f"{self._lookback} is used",
            )
        plan = self._resolver.plan(releases=self._releases)
        if plan.left_out:
            self._telemetry.info("warm", f"the caches hold {ENTRIES} entries: {plan.left_out} rows are left out")
        beyond = max(0, len(plan.rows) - PLAN_ROWS)
        self._counters = WarmCounters(budget_skipped=plan.left_out + beyond)
        self._active = len(plan.rows) + plan.left_out
        return Cursor(_packed(plan.rows[:PLAN_ROWS]), self._clock.pace(), self._counters)

    def walk(self, cursor: Cursor, time_left: Callable[[], float] = lambda: inf) -> bool:
        """Go on from a cursor, which moves along; False when the time left (wall seconds) ends before the rows.

        Raises DatabaseError when the database is away.
        """
        counters, rows, visited = cursor.counters, array("I", cursor.left), 0

        def check() -> None:
            if self._stopping.is_set():
                raise StoppedError
            if self._budget_is_spent(cursor):
                raise _SkippedError
            if visited and time_left() < HAND_OVER_SECONDS:  # one row at least, or it never ends
                raise _HandOverError

        for rotation_id in rows:
            if self._budget_is_spent(cursor):
                counters.budget_skipped += len(rows) - visited
                break
            try:
                self._visit(rotation_id, cursor, check)
            except _SkippedError:
                counters.budget_skipped += 1
            except _HandOverError:
                cursor.left = _packed(rows[visited:])
                return False
            visited += 1
            counters.elapsed_ms = int(self._elapsed(cursor) * 1000)
            if (counters.scanned + counters.budget_skipped) % PROGRESS_ROWS == 0:
                self.log("the warm-up goes on", counters)
        self.log("the warm-up has ended", counters)
        return True

    def _visit(self, rotation_id: int, cursor: Cursor, check: Callable[[], None]) -> None:
        """Open a row as a DJ would, and count how it was resolved; `check` raises when it is too late."""
        check()
        self._give_way_to_a_show(cursor, check)
        source = self._resolved(rotation_id, check)
        counters = cursor.counters
        counters.scanned += 1
        match source.how:
            case "lml_positive":
                counters.lml_positive += 1
            case "lml_negative":
                counters.lml_negative += 1
            case "failed" | "no_row":
                counters.errors += 1
                self._report(source.error or LookupError(f"rotation row {rotation_id} is gone"), rotation_id)
            case _:
                counters.pre_resolved += 1
        asked = source.how in _ASKED
        if self._releases and source.release_id is not None and not source.tracks:
            asked = self._open_release(rotation_id, source.release_id, counters, check) or asked
        if asked:
            self._resolver.note_turn(rotation_id)

    def _resolved(self, rotation_id: int, check: Callable[[], None]) -> TrackSource:
        try:
            return self._patiently(lambda: self._resolver.resolve_rotation_source(rotation_id, walk=True), check)
        except (_SkippedError, _HandOverError, StoppedError):
            raise
        except Exception as error:  # noqa: BLE001 - one row's failure must not stop its siblings
            if isinstance(error, DatabaseError):
                self._rows.ping()  # raises when it is the database that is away, and no fault of this row
            return TrackSource(how="failed", error=error)

    def _open_release(
        self, rotation_id: int, release_id: int, counters: WarmCounters, check: Callable[[], None]
    ) -> bool:
        """Fetch a row's release as a DJ would, and count what came; returns whether LML was asked."""
        try:
            release, origin = self._patiently(lambda: self._resolver.release(release_id, walk=True), check)
        except (_SkippedError, _HandOverError):  # the row is counted; its release stays as it is
            counters.release_fetch_errors += 1
            return False
        except StoppedError:
            raise
        except Exception as error:  # noqa: BLE001 - one row's failure must not stop its siblings
            counters.release_fetch_errors += 1
            self._report(error, rotation_id, phase="release_fetch", release_id=release_id)
            return True
        if origin != "fetched":
            counters.release_fetch_already_warm += 1
        elif release.found:
            counters.release_fetch_positive += 1
        else:
            counters.release_fetch_negative += 1
        return origin == "fetched"

    def _patiently(self, work: Callable[[], _T], check: Callable[[], None]) -> _T:
        """Do the work as soon as DJs leave room for it, and return its result."""
        while True:
            try:
                return work()
            except YieldError as error:
                self._clock.sleep(error.wait)
                check()

    def _give_way_to_a_show(self, cursor: Cursor, check: Callable[[], None]) -> None:
        paused = 0.0
        while self._show_is_live(cursor):
            if paused >= ROW_PAUSE_SECONDS:
                raise _SkippedError
            self._clock.sleep(PAUSE_SECONDS)
            paused += PAUSE_SECONDS
            cursor.counters.live_activity_pause_count += 1
            cursor.counters.live_activity_pause_ms += int(PAUSE_SECONDS * 1000)
            check()

    def _show_is_live(self, cursor: Cursor) -> bool:
        """Look whether a track was logged just now; a look that fails counts as quiet and is reported once a walk."""
        if self._lookback == 0:
            return False
        since = self._clock.utc() - timedelta(seconds=self._clock.wall(self._lookback))
        try:
            return self._rows.live_activity(since)
        except DatabaseError as error:
            if not cursor.probe_failed:
                cursor.probe_failed = True
                self._report(error, phase="live_activity")
            return False

    def _budget_is_spent(self, cursor: Cursor) -> bool:
        return self._elapsed(cursor) - cursor.counters.live_activity_pause_ms / 1000 >= WALK_SECONDS

    def _elapsed(self, cursor: Cursor) -> float:
        return max(0.0, self._clock.pace() - cursor.started)

    def _report(self, error: Exception, rotation_id: int | None = None, **extra: object) -> None:
        extra = extra if rotation_id is None else {"rotation_id": rotation_id, **extra}
        self._telemetry.warning("warm", str(error), error=type(error).__name__, **extra)
        self._telemetry.exception(error, step="warm", tags=TAGS, **extra)

    def log(self, what: str, counters: WarmCounters) -> None:
        self._telemetry.info("warm", what, **msgspec.to_builtins(counters))


_ASKED: Final = frozenset({"lml_positive", "lml_negative", "failed"})
"""How a row was resolved where LML was asked, or should have been."""


def _packed(rows: Sequence[int]) -> bytes:
    return array("I", rows).tobytes()
