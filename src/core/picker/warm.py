"""The walk that opens every active row before a DJ does (PICKER.md, "The warm-up"); seconds are paced."""

import threading
from collections.abc import Callable
from datetime import timedelta
from math import inf
from typing import TYPE_CHECKING, Final, TypeVar

import msgspec

from core.picker.limiter import YieldError
from core.picker.resolver import Resolver, Source
from core.picker.rows import DatabaseError

if TYPE_CHECKING:
    from core.clock import Clock
    from core.telemetry import Telemetry

SUBSYSTEM: Final = "rotation-tracks-cache-warm"
WALK_SECONDS: Final = 1800.0
ROW_PAUSE_SECONDS: Final = 600.0
PAUSE_SECONDS: Final = 30.0
PROGRESS_ROWS: Final = 50
HAND_OVER_SECONDS: Final = 90.0
"""Wall seconds that a row may need: a pause, a wait for another environment's claim, a lookup and a release fetch."""

_TAGS: Final = {"subsystem": SUBSYSTEM}
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

    after: int
    started: float
    counters: WarmCounters
    probe_failed: bool = False


class _SkippedError(Exception):
    """A budget has ended before the row was opened."""


class _HandOverError(Exception):
    """This invocation has no time left for the row."""


class Warmer:
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
        self._clock = clock
        self._telemetry = telemetry
        self._lookback = live_lookback
        self._lookback_refused = live_lookback_refused
        self._releases = releases

    def warm_rotation_tracks_cache(self) -> WarmCounters:
        """Walk every active row once; raises DatabaseError when the database is away, nothing for a row."""
        cursor = self.begin()
        self.walk(cursor)
        return cursor.counters

    def start_rotation_tracks_cache_warm(self) -> None:
        """Start the walk in a thread of its own and return at once; nothing that goes wrong in it gets out."""
        try:
            threading.Thread(target=self._guarded, name=SUBSYSTEM, daemon=True).start()
        except RuntimeError as error:  # no thread to be had
            self._tell_failure(error)

    def invocation(
        self, event: object, *, time_left: Callable[[], float], hand_over: Callable[[bytes], None]
    ) -> dict[str, object]:
        """Walk as one invocation of Lambda, from the beginning or from the cursor that an earlier one left.

        Returns the counters so far and whether that was all. `hand_over` gets the next invocation's event. What the
        walk raises is told to Sentry and raised again, so that Lambda tries once more.
        """
        self._telemetry.bind(run_id=None)
        try:
            handed = event.get("cursor") if isinstance(event, dict) else None
            cursor = self.begin() if handed is None else msgspec.convert(handed, Cursor)
            done = self.walk(cursor, time_left)
            if not done:
                hand_over(msgspec.json.encode({"cursor": cursor}))
                self._tell("the warm-up goes on in the next invocation", cursor.counters)
        except Exception as error:
            self._tell_failure(error)
            raise
        finally:
            self._telemetry.flush()
        return {"done": done, "counters": msgspec.to_builtins(cursor.counters)}

    def begin(self) -> Cursor:
        """Return the cursor of a walk that begins now."""
        if self._lookback_refused is not None:
            self._telemetry.warning(
                "warm",
                f"WARM_LIVE_ACTIVITY_LOOKBACK_SECONDS is {self._lookback_refused}, no whole number of seconds: "
                f"{self._lookback} is used",
            )
        return Cursor(after=0, started=self._clock.pace(), counters=WarmCounters())

    def walk(self, cursor: Cursor, time_left: Callable[[], float] = lambda: inf) -> bool:
        """Go on from a cursor, which moves along; False when the time left (wall seconds) ends before the rows.

        Raises DatabaseError when the database is away.
        """
        counters, begun_after = cursor.counters, cursor.after

        def check() -> None:
            if self._elapsed(cursor) >= WALK_SECONDS:
                raise _SkippedError
            if cursor.after > begun_after and time_left() < HAND_OVER_SECONDS:  # one row at least, or it never ends
                raise _HandOverError

        for rotation_id in self._resolver.rows.active_ids(after=begun_after):
            try:
                self._visit(rotation_id, cursor, check)
            except _SkippedError:
                counters.budget_skipped += 1
            except _HandOverError:
                return False
            cursor.after = rotation_id
            counters.elapsed_ms = int(self._elapsed(cursor) * 1000)
            if (counters.scanned + counters.budget_skipped) % PROGRESS_ROWS == 0:
                self._tell("the warm-up goes on", counters)
        self._tell("the warm-up has ended", counters)
        return True

    def _visit(self, rotation_id: int, cursor: Cursor, check: Callable[[], None]) -> None:
        """Open a row as a DJ would, and count what the resolver says of it; `check` raises when it is too late."""
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
        if self._releases and source.release_id is not None and not source.tracks:
            self._open_release(rotation_id, source.release_id, counters, check)

    def _resolved(self, rotation_id: int, check: Callable[[], None]) -> Source:
        try:
            return self._patiently(lambda: self._resolver.resolve_rotation_source(rotation_id, walk=True), check)
        except (_SkippedError, _HandOverError):
            raise
        except Exception as error:  # noqa: BLE001 - one row's failure must not stop its siblings
            if isinstance(error, DatabaseError):
                self._resolver.rows.ping()  # raises when it is the database that is away, and no fault of this row
            return Source(how="failed", error=error)

    def _open_release(
        self, rotation_id: int, release_id: int, counters: WarmCounters, check: Callable[[], None]
    ) -> None:
        try:
            release, origin = self._patiently(lambda: self._resolver.release(release_id, walk=True), check)
        except (_SkippedError, _HandOverError):  # the row is counted; its release stays as it is
            counters.release_fetch_errors += 1
        except Exception as error:  # noqa: BLE001 - one row's failure must not stop its siblings
            counters.release_fetch_errors += 1
            self._report(error, rotation_id, phase="release_fetch", release_id=release_id)
        else:
            if origin != "fetched":
                counters.release_fetch_already_warm += 1
            elif release.found:
                counters.release_fetch_positive += 1
            else:
                counters.release_fetch_negative += 1

    def _patiently(self, work: Callable[[], _T], check: Callable[[], None]) -> _T:
        """Do it as soon as DJs leave room for it."""
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
            return self._resolver.rows.live_activity(since)
        except DatabaseError as error:
            if not cursor.probe_failed:
                cursor.probe_failed = True
                self._report(error, phase="live_activity")
            return False

    def _elapsed(self, cursor: Cursor) -> float:
        return max(0.0, self._clock.pace() - cursor.started)

    def _guarded(self) -> None:
        try:
            self.warm_rotation_tracks_cache()
        except Exception as error:  # noqa: BLE001 - the server goes on without a warm cache
            self._tell_failure(error)
        self._telemetry.flush()

    def _tell_failure(self, error: Exception) -> None:
        self._telemetry.error("warm", f"the warm-up failed: {error}", error=type(error).__name__)
        self._telemetry.exception(error, step="warm", tags=_TAGS)

    def _report(self, error: Exception, rotation_id: int | None = None, **extra: object) -> None:
        extra = extra if rotation_id is None else {"rotation_id": rotation_id, **extra}
        self._telemetry.warning("warm", str(error), error=type(error).__name__, **extra)
        self._telemetry.exception(error, step="warm", tags=_TAGS, **extra)

    def _tell(self, what: str, counters: WarmCounters) -> None:
        self._telemetry.info("warm", what, **msgspec.to_builtins(counters))
