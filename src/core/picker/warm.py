"""Starts the walks: as one invocation of Lambda after the other, or every 20 h in a long-lived process."""

import threading
from collections.abc import Callable
from typing import Final, Literal, TypeAlias

import msgspec

from core.aws import events
from core.picker.walk import SUBSYSTEM, TAGS, Cursor, StoppedError, Walker, WarmCounters
from core.validation import in_words

AGAIN_SECONDS: Final = 20 * 3600.0
"""From the start of one walk of a long-lived process to that of the next."""
RETRY_SECONDS: Final = 60.0
"""After which a walk that failed is tried again."""

WarmState: TypeAlias = Literal["not_started", "walking", "waiting", "failed", "ended"]


class WalkStatus(msgspec.Struct, rename="camel", frozen=True):
    """How far the walks of a long-lived process are; `failed` is tried again in `next_in_seconds`."""

    state: WarmState
    walks: int
    """How many have begun."""
    active: int
    """The rows that the latest found."""
    counters: WarmCounters
    """Of the latest."""
    last_error: str | None
    next_in_seconds: int | None


class Warmer(Walker):
    """A walker, and what starts it."""

    _at: tuple[WarmState, float | None] = ("not_started", None)
    """The state and when the next walk begins, as one value: the thread that asks never sees one without the other."""
    _walks = 0
    _last_error: str | None = None

    def start_rotation_tracks_cache_warm(self) -> None:
        """Start the walks of a long-lived process and return at once: one now, one every 20 h, until `stop`.

        Nothing that goes wrong in them gets out; a walk that fails is tried again after a minute.
        """
        try:
            threading.Thread(target=self._walk_again_and_again, name=SUBSYSTEM, daemon=True).start()
        except RuntimeError as error:  # no thread to be had
            self._failed(error)
            self._at = "failed", None

    def stop(self) -> None:
        """Have the walks end for good, before the next row at the latest; returns at once."""
        self._stopping.set()

    def status(self) -> WalkStatus:
        """Return how far the walks are."""
        state, next_at = self._at
        left = None if next_at is None else max(0, round(next_at - self._clock.pace()))
        return WalkStatus(state, self._walks, self._active, self._counters, self._last_error, left)

    def invocation(
        self, event: object, *, time_left: Callable[[], float], hand_over: Callable[[bytes], None]
    ) -> dict[str, object]:
        """Walk as one invocation of Lambda, from the beginning or from the cursor that an earlier one left.

        Returns the counters so far and whether that was all. `hand_over` gets the next invocation's event. What the
        walk raises goes to Sentry and is raised again, so that Lambda tries once more. A test of the console or a ping
        is answered, and walks nowhere.
        """
        self._telemetry.bind(run_id=None)
        if not _starts_a_walk(event):
            hint = "this starts no walk; {} does (events/warm-tracks.json)"
            self._telemetry.warning("warm", hint)
            return events.ignored(hint)
        try:
            cursor = self._handed(event) or self.begin()
            done = self.walk(cursor, time_left)
            if not done:
                hand_over(msgspec.json.encode({"cursor": cursor}))
                self.log("the warm-up goes on in the next invocation", cursor.counters)
        except Exception as error:
            self._report_failure(error)
            raise
        finally:
            self._telemetry.flush()
        return {"done": done, "counters": msgspec.to_builtins(cursor.counters)}

    def _handed(self, event: object) -> Cursor | None:
        """Return the cursor that an earlier invocation left; with one of another version the walk begins anew."""
        handed = event.get("cursor") if isinstance(event, dict) else None
        if handed is None:
            return None
        try:
            cursor = msgspec.convert(handed, Cursor)
        except msgspec.ValidationError as error:
            why = in_words(error)
            self._telemetry.warning("warm", f"the cursor of another version is not used, the walk begins anew: {why}")
            return None
        self._counters = cursor.counters
        return cursor

    def _walk_again_and_again(self) -> None:
        while not self._stopping.is_set():
            began = self._clock.pace()
            state: WarmState = "waiting" if self._walked() else "failed"
            now = self._clock.pace()
            next_at = max(now + RETRY_SECONDS, began + AGAIN_SECONDS) if state == "waiting" else now + RETRY_SECONDS
            self._at = state, next_at
            self._stopping.wait(self._clock.wall(next_at - now))
        self._at = "ended", None

    def _walked(self) -> bool:
        """Walk once; returns whether that came to its end. The first of several failures in a row goes to Sentry."""
        self._at = "walking", None
        self._walks += 1
        try:
            self.warm_rotation_tracks_cache()
        except StoppedError:
            return True
        except Exception as error:  # noqa: BLE001 - the server goes on without a warm cache
            self._failed(error)
            return False
        else:
            self._last_error = None
            return True
        finally:
            self._telemetry.flush()

    def _failed(self, error: Exception) -> None:
        if self._last_error is None:
            self._report_failure(error)
        else:
            self._telemetry.error("warm", f"the warm-up failed again: {error}", error=type(error).__name__)
        self._last_error = str(error)

    def _report_failure(self, error: Exception) -> None:
        self._telemetry.error("warm", f"the warm-up failed: {error}", error=type(error).__name__)
        self._telemetry.exception(error, step="warm", tags=TAGS)


def _starts_a_walk(event: object) -> bool:
    """True for the event of a deploy, a schedule, a person or an earlier invocation."""
    return isinstance(event, dict) and (not event or "cursor" in event or events.is_of_eventbridge(event))


__all__ = ["AGAIN_SECONDS", "RETRY_SECONDS", "SUBSYSTEM", "WalkStatus", "WarmCounters", "Warmer"]
