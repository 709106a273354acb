"""Faults that a test or a demo orders: what goes wrong with which request, and how often."""

from collections.abc import Sequence
from typing import Literal

import msgspec

from local.lml.discogs import DiscogsTrouble

FaultPath = Literal["refresh", "probe", "health", "lookup", "release"]


class Fault(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """One thing that goes wrong. Seconds are paced; a field that is not given has a default that changes nothing.

    A `probe` is a refresh request with an empty list. The first fault of the list that fits a request is applied to
    it, alone, and used up after `times` (null: never).
    """

    # Which requests.
    path: Literal["refresh", "probe", "health", "lookup", "release", "any"] = "any"
    ids: frozenset[int] | None = None  # only requests with one of these; then `result` and `omit` concern only these
    skip: int = 0  # fitting requests that pass unharmed first
    times: int | None = 1

    # Before the work: in this order.
    restart: bool = False  # LML starts anew: its counter from 0, its breaker closed
    latched: bool = False  # LML's database was away at the first refresh: 503 until it starts anew
    discogs: DiscogsTrouble | None = None  # how Discogs is from now on
    breaker: float | None = None  # the breaker opens, and no trial comes for so many seconds
    hold: bool = False  # until POST /_release; the ingress does not count that time
    delay: float = 0

    # Instead of the work.
    status: int | None = None
    body: str = ""

    # Done to the answer.
    result: dict[str, object] | None = None  # stands for the results
    omit: bool = False  # the results are left out
    fields: dict[str, object] = {}  # put into the body of a 200, over what is there
    without: frozenset[str] = frozenset()  # fields left out of the body
    padding: int = 0  # bytes of white space before the body
    headers: dict[str, str] = {}

    # On the way back.
    reset: Literal["before", "after"] | None = None  # the connection breaks before or after the work
    half: bool = False  # half of the body, then silence
    dribble: float | None = None  # seconds between two bytes of the body

    def fits(self, path: FaultPath, ids: Sequence[int]) -> bool:
        return self.path in {"any", path} and (self.ids is None or not self.ids.isdisjoint(ids))

    def instead(self) -> tuple[int, bytes] | None:
        """Return status and body of an answer that takes the place of the work, or None."""
        if self.reset == "before":
            return 499, b""
        return None if self.status is None else (self.status, self.body.encode())

    def body_of(self, body: dict[str, object]) -> dict[str, object]:
        """Return the body of a 200 with this fault's fields put in and left out."""
        return {name: value for name, value in (body | self.fields).items() if name not in self.without}

    def concerns(self, identity_id: int) -> bool:
        return self.ids is None or identity_id in self.ids


NO_FAULT = Fault()


class Faults:
    """The faults that were ordered and not used up yet."""

    def __init__(self) -> None:
        self._faults: list[Fault] = []

    def add(self, faults: Sequence[Fault]) -> None:
        self._faults += faults

    def clear(self) -> None:
        self._faults.clear()

    def take(self, path: FaultPath, ids: Sequence[int] = ()) -> Fault:
        """Return the fault for a request, which counts as one of its times."""
        for fault in self._faults:
            if not fault.fits(path, ids):
                continue
            if fault.skip > 0:
                fault.skip -= 1
                continue
            if fault.times is not None:
                fault.times -= 1
                if fault.times <= 0:
                    self._faults.remove(fault)
            return fault
        return NO_FAULT
