"""The result of one part of one message."""

import msgspec

from core.lml.client import RefreshError
from core.runs.plan import RefreshMessage
from core.runs.totals import Totals


class Stop(msgspec.Struct, frozen=True):
    """Why the whole run must end early: a cause to tell runs apart by, and a sentence for a person."""

    cause: str
    reason: str


class PartResult(msgspec.Struct):
    """Totals, failures and what is left of one part."""

    totals: Totals = Totals()
    next_part: RefreshMessage | None = None
    """What is left, as the message to go on with."""
    not_found: list[int] = []
    without_artists: list[int] = []
    failed: dict[int, str] = {}
    rejected: list[RefreshError] = []
    delay: float = 0.0
    """Paced seconds before the next part may do anything useful."""
    why: str | None = None
    """Why it waits so long: everybody rests."""
    ended: bool = False
    """The run is stopping, or past its deadline: what is left is not attempted."""
    stop: Stop | None = None
