"""When LML's other callers make their calls (docs/design/lml.md#what-readers-do). Pure: nothing of LML is needed."""

import math
from collections.abc import Iterator
from random import Random
from typing import Final

import msgspec

_MINUTE: Final = 60.0
_TURN: Final = 1800.0


class Order(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How many Discogs calls readers make a minute, on average, and how these come together."""

    per_minute: float
    seed: int = 1
    calls: int = 5
    """Of one lookup."""
    at_once: int = 1
    """Calls of a lookup side by side; 1 is one after another."""
    geometric: bool = False
    """True if the calls of a lookup vary (geometric), with `calls` as their mean."""
    steady: bool = False
    """True if lookups come at fixed intervals; else they come at random (Poisson)."""
    quiet_per_minute: float | None = None
    """Where given, half-hours of `per_minute` and of this take turns."""

    def arrivals(self) -> Iterator[tuple[float, int]]:
        """Yield the seconds at which lookups come, and how many calls each makes; without end unless nobody comes."""
        rng = Random(self.seed)  # noqa: S311  reproducible, not secret
        at = 0.0
        while self.per_minute > 0:
            at = at + self._gap(1.0) if self.steady else self._next(at, rng.expovariate(1.0))
            yield at, self._geometric(rng) if self.geometric else self.calls

    def _gap(self, lookups: float) -> float:
        return lookups * self.calls * _MINUTE / self.per_minute

    def _next(self, at: float, lookups: float) -> float:
        """Seconds after which `lookups` more are due, on average."""
        if self.quiet_per_minute is None:
            return at + self._gap(lookups)
        while True:
            turn, ends = divmod(at, _TURN)
            rate = (self.quiet_per_minute if turn % 2 else self.per_minute) / self.calls / _MINUTE
            left = (_TURN - ends) * rate
            if lookups <= left:
                return at + lookups / rate
            at, lookups = (turn + 1) * _TURN, lookups - left

    def _geometric(self, rng: Random) -> int:
        if self.calls == 1:
            return 1
        return 1 + int(math.log(1.0 - rng.random()) / math.log(1.0 - 1.0 / self.calls))
