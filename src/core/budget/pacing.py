"""The pace's arithmetic: when the next slice may start, what a slice costs, and why everybody rests.

Pure: no I/O and no clock of its own. Times are paced seconds (`Clock.pace`), costs are Discogs calls, the budget is in
calls a minute. `Pace` is the state that all slots share; a function here takes one and returns the next.
"""

import math
from typing import Final, Literal, TypeAlias

import msgspec
from msgspec.structs import replace

from core.settings import LML_REFRESH_BATCH_CAP, Pacing

MINUTE: Final = 60.0
EXPECTED_COST: Final = 4
"""Calls that an identity is taken to cost until its answer is there: a release and three artists."""
DEAREST_COST: Final = 21
"""The most calls that one identity costs: a release and its artists (docs/design/lml.md)."""
CALLS_AT_ONCE: Final = 2
"""Discogs calls that LML makes side by side for this kind of request."""
FASTEST_CALL: Final = 0.15
"""Seconds of Discogs' fastest answer."""
TRIAL_AFTER: Final = 4.0
"""Seconds after a shed until the identity goes again, and again: a shed costs no call, and once LML's breaker lets a
trial in, the fewer seconds pass the fewer DJs come first (docs/decisions/a-steady-pace.md)."""
TRIAL_GRACE: Final = 60.0
"""Seconds that a slot without that identity leaves the trial to the one that has it."""
BREAKER_REST: Final = 600.0
"""Seconds for which nothing is sent once a trial has passed."""
DISCOGS_REST: Final = 60.0
"""Seconds between two questions whether Discogs is up again."""
LONGEST_BACKOFF: Final = 300.0
"""Seconds of the longest wait after failed requests."""

RestReason: TypeAlias = Literal["trial", "breaker", "discogs"]


class Pace(msgspec.Struct, frozen=True, kw_only=True):
    """Ledger item `PACE`: the one pace of all slots, replays and manual invokes."""

    next_start: float = 0.0
    """The earliest time of the next slice."""
    rest: RestReason | None = None
    """Why nothing is sent: LML's breaker is open and a `trial` is due, it was (`breaker`), or Discogs is down."""
    rest_since: float = 0.0
    trial: int | None = None
    """The identity that LML's breaker has shed and that goes again alone; None for any."""
    word: str = ""
    """The state of Discogs in LML's `/health`, while it is down."""

    def in_words(self, now: float) -> str | None:
        """Why and for how long nothing is sent, for a person; None at an ordinary pace."""
        since, ahead = max(0.0, now - self.rest_since), max(0.0, self.next_start - now)
        match self.rest:
            case "trial":
                who = "an identity" if self.trial is None else f"identity {self.trial}"
                then = f"{who} goes alone in {ahead:.0f} s"
                return f"has rested for {since:.0f} s, since LML's breaker is open: {then}"
            case "breaker" if ahead:
                return f"has rested for {since:.0f} s and rests {ahead:.0f} s more, since LML's breaker was open"
            case "discogs":
                then = f"LML is asked again in {ahead:.0f} s"
                return f"has rested for {since:.0f} s, since Discogs is down ({self.word}): {then}"
            case _:
                return None


def wait(pace: Pace, now: float, limits: Pacing, *, holds_trial: bool = False) -> float:
    """Seconds until a slot may start, 0 for now; further ahead than anything writes means a clock that was set back."""
    ahead = pace.next_start - now
    if ahead > _furthest(limits):
        return 0.0
    if pace.rest == "trial" and not holds_trial:
        ahead += TRIAL_GRACE
    return max(0.0, ahead)


def start(pace: Pace, now: float, limits: Pacing, ids: int) -> Pace:
    """The state that lets a slice of `ids` start now: the next one waits for what this one is expected to cost."""
    ahead = now + seconds_for(ids * EXPECTED_COST, limits)
    return replace(pace, next_start=ahead) if pace.rest == "trial" else Pace(next_start=ahead)


def settled(started: float, limits: Pacing, cost: float) -> Pace:
    """The state after a slice that no other has followed yet: its real cost replaces the expected one."""
    return Pace(next_start=started + seconds_for(cost, limits))


def owing(pace: Pace, limits: Pacing, calls: float) -> Pace:
    """The state after a slice that cost so many calls more than expected, and behind which others have started."""
    return replace(pace, next_start=pace.next_start + seconds_for(calls, limits))


def shed(pace: Pace, now: float, identity: int | None, *, is_trial: bool) -> Pace:
    """The state after an answer with a shed: everybody stops, and `identity` goes again alone (None: any).

    One trial at a time: what was under way when another slot met the breaker changes nothing.
    """
    under_way = pace.rest == "trial" or (pace.rest == "breaker" and pace.next_start > now)
    if under_way and not is_trial:
        return pace
    since = pace.rest_since if pace.rest == "trial" else now
    return Pace(next_start=now + TRIAL_AFTER, rest="trial", rest_since=since, trial=identity)


def trial_passed(pace: Pace, now: float) -> Pace:
    """The state after an answer without a shed to the trial: everybody rests."""
    since = pace.rest_since if pace.rest == "trial" else now
    return Pace(next_start=now + BREAKER_REST, rest="breaker", rest_since=since)


def discogs_down(pace: Pace, now: float, word: str) -> Pace:
    """The state while Discogs is down: everybody rests, then one slot asks `/health` again."""
    since = pace.rest_since if pace.rest == "discogs" else now
    return Pace(next_start=now + DISCOGS_REST, rest="discogs", rest_since=since, word=word)


def seconds_for(calls: float, limits: Pacing) -> float:
    """How long so many calls take at the budget."""
    return calls * MINUTE / limits.budget


def slice_cost(*, ids: int, outcomes: int, elapsed: float, round_trip: float) -> int:
    """Discogs calls of an answered slice: the lower of its two bounds, rounded down.

    LML does not say what was a cache hit. It cannot have made more calls than the outcomes that it lists, nor than its
    lanes have time for in `elapsed` less the `round_trip` of an empty request; an identity's calls come one by one.
    """
    by_time = max(0.0, elapsed - round_trip) * min(CALLS_AT_ONCE, ids) / FASTEST_CALL
    return math.floor(min(float(outcomes), by_time))


def slice_size(limits: Pacing, *, warm: bool) -> int:
    """Most ids of the next slice: one, after one that cost nothing (`warm`) the maximum; a full message stays whole."""
    return limits.slice_max if warm or limits.slice_max == LML_REFRESH_BATCH_CAP else 1


def back_off(failures: int, retry_after: float | None, fraction: float) -> float:
    """Seconds to wait after `failures` failed requests in a row; `fraction` is random in 0..1 (full jitter)."""
    return max(fraction * min(LONGEST_BACKOFF, 2.0 * 2.0 ** min(failures, 30)), retry_after or 0.0)


def _furthest(limits: Pacing) -> float:
    """Seconds ahead that a rest behind one dear identity, or the dearest slice, writes at most."""
    return max(BREAKER_REST + seconds_for(DEAREST_COST, limits), seconds_for(limits.slice_max * DEAREST_COST, limits))
