"""From a rotation row to its tracks by the three tiers; each answer holds its origin (docs/design/picker.md)."""

import threading
from collections.abc import Callable
from math import inf
from typing import Final, Literal, NamedTuple, TypeAlias

import msgspec
from botocore.exceptions import BotoCoreError, ClientError
from msgspec.structs import replace

from core.clock import Clock
from core.picker.caches import DAY, SHARED_LIFE, Answers, Cache, KeptAnswer, Origin, Standing
from core.picker.calls import Background, Wait
from core.picker.limiter import Limiter, StillFetchingError, YieldError
from core.picker.lookup import AnswerError, LookupClient, UnsureError
from core.picker.order import MARKER_LIFE, Last, Plan, Survey, marker_stands, plan
from core.picker.rows import DatabaseError, PickerRow, Rows
from core.picker.shared import SharedAnswers, SharedTurns
from core.picker.tracks import Credit, LookupKey, Pick, ReleaseTracks, Track, TrackList, credited

NOT_FOUND_LIFE: Final = 600.0
"""Seconds for which a release that Discogs does not have is remembered, here and in the shared level."""
DJ_LOOKUP_SECONDS: Final = 10.0
DJ_RELEASE_SECONDS: Final = 15.0
"""Paced seconds that a DJ waits for LML; its call goes on, to the limits of `lookup`, and what comes is kept."""
PATIENCE: Final = 28.0
"""Paced seconds in which a DJ is answered, whatever it takes: API Gateway gives up after 30."""
ROW_LIFE: Final = 30.0
"""Seconds for which an answer with tracks is given again without a look at its row."""
_ABSENT_LIFE: Final = 600.0
"""Seconds for which a process remembers that nothing is kept for a row with a marker."""

How: TypeAlias = Literal[
    "no_row",
    "release",  # tier 1
    "identity",  # tier 2
    "marker",
    "no_names",
    "remembered",  # by this process or, in the shared level, by another
    "lml_positive",
    "lml_negative",
    "failed",
]
"""How a row was resolved; the warm-up counts by it."""


class TrackSource(msgspec.Struct, frozen=True, kw_only=True):
    """Where a row's tracks come from: a release to fetch, or tracks that came with the lookup, or nowhere."""

    how: How
    release_id: int | None = None
    tracks: tuple[Credit, ...] = ()
    artist: str | None = None
    """The row's own, for tracks without credits."""
    until: float = inf
    """When the answer that it comes from ends; seconds since 1970."""
    error: Exception | None = None
    """Why it `failed`: of LML's failure the DJ sees an empty list, and the warm-up the reason."""


class _Caller(NamedTuple):
    """Who asks: the walk gives way to others; a DJ waits until a moment (paced) at most; else as long as it takes."""

    walk: bool = False
    until: float | None = None

    def wait_for(self, seconds: float) -> Wait | None:
        return None if self.until is None else Wait(seconds, self.until)


class Resolver:
    """Resolves rows and fetches releases; DJs and the walk go the same way. Safe for threads.

    `warn` hears of what costs no answer: a marker that could not be set. `background` runs the calls to LML.
    """

    def __init__(
        self,
        rows: Rows,
        lml: LookupClient,
        limiter: Limiter,
        clock: Clock,
        warn: Callable[[Exception], None],
        *,
        shared_picks: SharedAnswers[Pick] | None = None,
        shared_releases: SharedAnswers[ReleaseTracks] | None = None,
        shared_turns: SharedTurns | None = None,
    ) -> None:
        self.rows = rows
        self.background = Background()
        self._lml = lml
        self._limiter = limiter
        self._clock = clock
        self._warn = warn
        self._shared_picks = shared_picks
        self._shared_turns = shared_turns
        self._picks = Answers[LookupKey, Pick](clock, self.background, shared_picks, lives=_pick_lives)
        self._releases = Answers[int, ReleaseTracks](clock, self.background, shared_releases, lives=_release_lives)
        self._last: Cache[int, Last | Literal["nothing"]] = Cache(clock)
        self._answers: Cache[int, TrackList] = Cache(clock)
        self._own_turns: dict[int, float] = {}
        self._finishing: set[int] = set()
        self._lock = threading.Lock()

    def tracks(self, rotation_id: int) -> list[Track]:
        """Return the tracks of a row for a DJ; raises what `answer` raises."""
        return list(self.answer(rotation_id).tracks)

    def remembered(self, rotation_id: int) -> TrackList | None:
        """Return the answer if its row was read less than 30 s ago and all else is in memory; asks nobody.

        An empty answer is never given from here: a row whose names were just put right is asked for anew at once.
        """
        return self._answers.get(rotation_id)

    def answer(self, rotation_id: int, *, patience: float = PATIENCE) -> TrackList:
        """Read the row, resolve it and get its tracks, within so many paced seconds.

        Raises DatabaseError, AnswerError for LML's trouble with a release, LmlBusyError when LML was not asked, its
        kind StillFetchingError when the DJ could not wait: then the tracks are fetched and kept all the same.
        """
        caller = _Caller(until=self._clock.pace() + patience)
        read_at = self._now()
        source = self._resolved(rotation_id, caller)
        if source.error is not None:
            if isinstance(source.error, StillFetchingError):
                self._finish(rotation_id)
            if not isinstance(source.error, AnswerError | UnsureError):
                raise source.error
            return TrackList.of((), settled=False)
        until = min(source.until, read_at + ROW_LIFE)
        if source.tracks or source.release_id is None:
            answer = TrackList.of(credited(source.tracks, source.artist), settled=True)
        else:
            kept, _ = self._released(source.release_id, caller)
            until = min(until, kept.until)
            answer = TrackList.of(credited(kept.value.tracks, kept.value.artist, source.artist), settled=True)
        if answer.tracks:
            self._answers.put(rotation_id, answer, until)
        return answer

    def resolve_rotation_source(self, rotation_id: int, *, walk: bool = False) -> TrackSource:
        """Find a row's source by the tiers, in their order; raises DatabaseError, and for the walk YieldError.

        Nothing else that goes wrong in tier 3 escapes: the answer is then a `failed` source, and nothing is kept.
        """
        return self._resolved(rotation_id, _Caller(walk, None if walk else self._clock.pace() + PATIENCE))

    def release(self, release_id: int, *, walk: bool = False) -> tuple[ReleaseTracks, Origin]:
        """Return a release and where that came from; raises AnswerError, LmlBusyError, for the walk YieldError."""
        kept, origin = self._released(release_id, _Caller(walk, None if walk else self._clock.pace() + PATIENCE))
        return kept.value, origin

    def plan(self, *, releases: bool) -> Plan:
        """Return the active rows in the order in which the walk visits them; raises DatabaseError, the SDK's errors."""
        rows = self.rows.active()
        if self._shared_turns is not None:
            return plan(rows, self._shared_turns.survey(), self._clock.utc(), releases=releases, room=True)
        self._own_turns = {row: turn for row, turn in self._own_turns.items() if row in rows}
        survey = Survey(turns=self._own_turns, releases=dict(self._releases.standings()))
        for asked, standing in sorted(self._picks.standings(), key=lambda each: each[1].at):
            survey.picks[asked.rotation_id] = Last(asked.artist, asked.album, standing)
        return plan(rows, survey, self._clock.utc(), releases=releases, room=False)

    def note_turn(self, rotation_id: int) -> None:
        """Note that the walk has asked LML for a row, whatever came of it."""
        if self._shared_turns is None:
            self._own_turns[rotation_id] = self._now()
        else:
            self._shared_turns.note(rotation_id)

    def close(self) -> None:
        self.rows.close()
        self._lml.close()

    def _resolved(self, rotation_id: int, caller: _Caller) -> TrackSource:
        row = self.rows.row(rotation_id)
        if row is None:
            return TrackSource(how="no_row")
        if row.known_release is not None:
            how: How = "release" if row.known_release == row.release_id else "identity"
            return TrackSource(how=how, release_id=row.known_release, artist=row.artist)
        if row.names is None:
            return TrackSource(how="no_names", artist=row.artist)
        return replace(self._tier_3(row, LookupKey(rotation_id, *row.names), caller), artist=row.artist)

    def _tier_3(self, row: PickerRow, asked: LookupKey, caller: _Caller) -> TrackSource:
        try:
            if marker_stands(row, self._last_of(row, asked.rotation_id), self._clock.utc()):
                return TrackSource(how="marker")
            kept, origin = self._picks.get(
                asked,
                lambda under_way: self._looked_up(asked, under_way, walk=caller.walk),
                walk=caller.walk,
                wait_for=caller.wait_for(DJ_LOOKUP_SECONDS),
            )
        except YieldError:
            raise
        except Exception as error:  # noqa: BLE001 - whatever keeps LML or the shared level away costs only the tracks
            return TrackSource(how="failed", error=error)
        self._note_last(asked, kept)
        return _source(kept, origin)

    def _released(self, release_id: int, caller: _Caller) -> tuple[KeptAnswer[ReleaseTracks], Origin]:
        return self._releases.get(
            release_id,
            lambda under_way: self._fetched(release_id, under_way, walk=caller.walk),
            walk=caller.walk,
            wait_for=caller.wait_for(DJ_RELEASE_SECONDS),
        )

    def _looked_up(self, asked: LookupKey, under_way: Callable[[], None], *, walk: bool) -> Pick:
        with self._limiter.admitted("lookup", walk=walk):
            under_way()
            pick = self._lml.lookup(asked.artist, asked.album)
        if not pick.found:
            try:
                self.rows.mark_attempt(asked.rotation_id, self._clock.utc())
            except DatabaseError as error:  # without the grant the caches alone remember the miss
                self._warn(error)
        return pick

    def _fetched(self, release_id: int, under_way: Callable[[], None], *, walk: bool) -> ReleaseTracks:
        with self._limiter.admitted("release", walk=walk):
            under_way()
            return self._lml.release(release_id)

    def _last_of(self, row: PickerRow, rotation_id: int) -> Last | None:
        """Return how a row with a valid marker was last asked; None without one, or while the shared level is away."""
        if row.attempted_at is None or self._clock.utc() - row.attempted_at >= MARKER_LIFE:
            return None
        known = self._last.get(rotation_id)
        if known is None and self._shared_picks is not None:
            try:
                known = self._shared_picks.last(rotation_id) or "nothing"
            except (BotoCoreError, ClientError) as error:
                self._warn(error)
                return None
            self._last.put(rotation_id, known, self._now() + _ABSENT_LIFE)
        return known if isinstance(known, Last) else None

    def _note_last(self, asked: LookupKey, kept: KeptAnswer[Pick]) -> None:
        last = Last(asked.artist, asked.album, Standing(kept.at, kept.until, kept.value.found, kept.value.fetches))
        self._last.put(asked.rotation_id, last, self._now() + MARKER_LIFE.total_seconds())

    def _finish(self, rotation_id: int) -> None:
        """Go on with a row that a DJ could not wait for: its lookup, then its release."""
        with self._lock:
            if rotation_id in self._finishing:
                return
            self._finishing.add(rotation_id)

        def work() -> None:
            try:
                source = self._resolved(rotation_id, _Caller())
                if source.error is not None:
                    self._warn(source.error)
                elif source.release_id is not None and not source.tracks:
                    self._released(source.release_id, _Caller())
            except Exception as error:  # noqa: BLE001 - nobody waits for it; the next DJ gets the error
                self._warn(error)
            finally:
                with self._lock:
                    self._finishing.discard(rotation_id)

        try:
            self.background.start(work, "finishes-a-row")
        except RuntimeError as error:  # no thread to be had
            with self._lock:
                self._finishing.discard(rotation_id)
            self._warn(error)

    def _now(self) -> float:
        return self._clock.utc().timestamp()


def _source(kept: KeptAnswer[Pick], origin: Origin) -> TrackSource:
    pick = kept.value
    asked: How = "lml_positive" if pick.found else "lml_negative"
    how = asked if origin == "fetched" else "remembered"
    return TrackSource(how=how, release_id=pick.release_id, tracks=pick.tracks, until=kept.until)


def _pick_lives(pick: Pick) -> tuple[float, float]:
    return DAY, SHARED_LIFE if pick.found else DAY


def _release_lives(release: ReleaseTracks) -> tuple[float, float]:
    return (DAY, SHARED_LIFE) if release.found else (NOT_FOUND_LIFE, NOT_FOUND_LIFE)
