"""What DJs' calls met during a run. Only the stand-in LML of this machine has a record of it."""

import math
from collections.abc import Sequence
from typing import Final

import msgspec
import urllib3

from core.runs.totals import Totals
from local.lml.breaker import BreakerState, Opening
from local.lml.orders import Order
from local.lml.records import DiscogsCall, ReaderCall, busiest_minute

DJS: Final = Order(per_minute=10)
"""Readers of the stand-in beside a run: Discogs calls a minute, in lookups of five."""


ELAPSED: Final = "how busy this machine is, as much as of calls"
"""The caveat of estimated calls under a fast clock: a stall of 10 ms looks as long as several calls."""


class Beside(msgspec.Struct, frozen=True, kw_only=True):
    """What DJs met beside a run, by the stand-in's record: the measure of the load test."""

    calls: int
    """Discogs calls of everybody."""
    ours: int
    """Of these, the calls that LML made for a run's requests."""
    most_in_a_minute: int
    """Calls of everybody in Discogs' moving minute of 60; at 57 its answers open LML's breaker."""
    breaker: BreakerState
    """Of this moment, in the words of LML's `/health`."""
    breaker_opened: int
    djs_calls: int
    djs_shed: int

    def lines(self, totals: Totals, speed: float) -> list[str]:
        """Yield lines for a person, with what the run has counted; `speed` is the clock's."""
        rested = totals.breaker_rest_seconds + totals.discogs_rest_seconds
        charged = f"the run, which sees only how long an answer takes, counted about {totals.discogs_calls_estimated}"
        lines = [
            f"LML made {self.ours} Discogs calls for the run; {charged}.",
            f"Discogs saw at most {self.most_in_a_minute} of its 60 calls in a minute.",
            f"LML's breaker opened {self.breaker_opened} times.",
            f"{self.djs_shed} of {self.djs_calls} calls of DJs were shed. The run rested for {rested:.0f} s.",
        ]
        if speed != 1:
            lines.insert(1, f"With a clock {speed:g} times faster, that time is evidence of {ELAPSED}.")
        return lines


class _Seen(msgspec.Struct):
    breaker: BreakerState
    calls: Sequence[DiscogsCall] = ()
    readings: Sequence[ReaderCall] = ()
    openings: Sequence[Opening] = ()


def have_djs(stand_in: str, order: Order = DJS) -> None:
    """Have DJs look things up in the stand-in LML from now on."""
    import httpx  # noqa: PLC0415 - 0.1 s that commands need not wait which look at a deployed stack

    httpx.post(f"{stand_in}/_runtime", content=msgspec.json.encode(order)).raise_for_status()


def beside(stand_in: str, since: float = -math.inf, until: float = math.inf) -> Beside:
    """Read the stand-in's record between two paced times; raises ConnectionError."""
    try:
        answer = urllib3.request("GET", f"{stand_in}/_discogs", retries=False)  # botocore has loaded it, httpx nobody
    except urllib3.exceptions.HTTPError as error:
        raise ConnectionError(f"the stand-in LML does not answer: {error}") from None
    if answer.status != 200:
        raise ConnectionError(f"the stand-in LML answers {answer.status}")
    seen = msgspec.json.decode(answer.data, type=_Seen)
    calls = [call.at for call in seen.calls if since <= call.at <= until]
    readings = [reading for reading in seen.readings if since <= reading.at <= until]
    return Beside(
        calls=len(calls),
        ours=sum(call.kind == "refresh" and since <= call.at <= until for call in seen.calls),
        most_in_a_minute=busiest_minute(calls),
        breaker=seen.breaker,
        breaker_opened=sum(it.after == "closed" and since <= it.at <= until for it in seen.openings),
        djs_calls=len(readings),
        djs_shed=sum(reading.outcome == "shed" for reading in readings),
    )
