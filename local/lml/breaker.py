"""LML's breaker (docs/design/lml.md#the-breaker). Pure: the time is passed in.

It opens on an answer by which hardly anything is left of Discogs' minute. While it is open it sheds every call.
"""

from typing import Final, Literal, NamedTuple

BreakerState = Literal["closed", "open", "half-open"]

LONGEST_TRIAL: Final = 20.0
"""Times the cool-down, 60 s at least: a trial that takes longer is given up as lost. LML's code has it, no document."""
_SHORTEST_PATIENCE: Final = 60.0


class Opening(NamedTuple):
    """When the breaker opened, and from which state: from half-open it goes on with the opening before."""

    at: float
    after: BreakerState


class Breaker:
    """Closed, open for a while, and half-open while one trial call is under way.

    Each call that is let in carries a ticket, so that an answer from before the last opening decides no trial.
    """

    def __init__(self, *, floor: int, failures: int, seconds: float) -> None:
        self._floor = floor
        self._most_failures = failures
        self._cool_down = self._seconds = seconds
        self._failures = 0
        self._since = 0.0
        self._ticket = 0
        self.state: BreakerState = "closed"
        self.openings: list[Opening] = []

    def admit(self, now: float) -> int | None:
        """Let a live call in and return its ticket, or None where it is shed.

        The first call after the cool-down is the trial: nothing else ends the open state, whatever the time.
        """
        if self.state == "open" and now - self._since >= self._seconds:
            self._ticket += 1
            self._since, self.state = now, "half-open"
            return self._ticket
        patience = max(_SHORTEST_PATIENCE, LONGEST_TRIAL * self._seconds)
        if self.state == "half-open" and now - self._since >= patience:
            self._open(now)
        return self._ticket if self.state == "closed" else None

    def sheds(self, ticket: int) -> bool:
        """True if a call that was let in must not be tried again: the breaker has opened meanwhile."""
        return self.state != "closed" and not self._is_trial(ticket)

    def note_answer(self, now: float, ticket: int, status: int, remaining: int | None) -> None:
        """Take a call's final answer, once: the HTTP status, and what Discogs says is left of its minute.

        An answer below 500 that is no 429 counts as good, a 404 and a 401 too. No header is no signal.
        """
        low = remaining is not None and remaining <= self._floor
        trial = self._is_trial(ticket)
        if status == 429:
            if self.state == "half-open":
                if trial:
                    self._open(now)
                return
            self._failures += 1
            if low or self._failures >= self._most_failures:
                self._open(now)
        elif status >= 500:
            if trial or low:
                self._open(now)
        elif low:
            self._open(now)
        else:
            self._failures = 0
            if trial:
                self.state = "closed"

    def abandon(self, now: float, ticket: int) -> None:
        """Note a call that ended without an answer: a time-out, a network error, or a caller that gave up."""
        if self._is_trial(ticket):
            self._open(now)

    def force_open(self, now: float, seconds: float) -> None:
        """Open now and let no trial in for so long; for tests, and no rule of LML."""
        self._open(now)
        self._seconds = seconds

    def _is_trial(self, ticket: int) -> bool:
        return self.state == "half-open" and ticket == self._ticket

    def _open(self, now: float) -> None:
        if self.state != "open":
            self.openings.append(Opening(now, self.state))
        self._seconds = self._cool_down
        self._since, self.state, self._failures = now, "open", 0
        self._ticket += 1
