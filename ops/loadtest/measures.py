"""What a day of the load test shows: calls in a minute, how long above a limit, how long readers waited."""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from statistics import median
from typing import Final

import msgspec

from local.lml.discogs import MINUTE, Call, busiest_minute
from local.lml.readers import Reading
from ops.loadtest.slots import Day

LML_LIMIT: Final = 50
DISCOGS_LIMIT: Final = 60
OWN: Final = frozenset({"refresh", "health"})
"""Kinds of calls that the job causes."""


class Latency(msgspec.Struct, frozen=True):
    """How long readers waited, in seconds; all 0 where nobody read."""

    p50: float
    p95: float
    longest: float


class Figures(msgspec.Struct, frozen=True, kw_only=True):
    """One day in numbers: seconds, calls, and shares of the time from 0 to 1."""

    seconds: float
    identities: int
    without_verdict: int
    refresh_calls: int
    most_in_a_minute: int
    most_in_a_calendar_minute: int
    own_most_in_a_minute: int
    over_50: float
    over_60: float
    refused: int
    readers: Latency
    readers_alone: Latency
    readings_alone: int
    alone_over_50: float
    """Share of the same time that readers alone spend above 50."""
    dearest_slice: float
    longest_request: float
    waited: dict[str, float]
    """Seconds that the slots together waited, by what for."""
    sent_while_open: int
    """Requests that the job began while LML's breaker was open."""

    @property
    def p95_ratio(self) -> float:
        """Readers' p95 beside the job, in units of their p95 without it; 1 where nobody read."""
        return self.readers.p95 / self.readers_alone.p95 if self.readers_alone.p95 else 1.0


def figures(day: Day, alone: Day, identities: int) -> Figures:
    """Measure a day; `alone` is the same one without the job, at least as long."""
    calls = [call for call in day.calls if call.at <= day.seconds]
    own = [call for call in calls if call.kind in OWN]
    return Figures(
        seconds=day.seconds,
        identities=identities,
        without_verdict=identities - day.totals.identities_resolved,
        refresh_calls=sum(call.kind == "refresh" for call in calls),
        most_in_a_minute=busiest_minute([call.at for call in calls]),
        most_in_a_calendar_minute=max(Counter(call.at // MINUTE for call in calls).values(), default=0),
        own_most_in_a_minute=busiest_minute([call.at for call in own]),
        over_50=share_over(calls, LML_LIMIT, day.seconds),
        over_60=share_over(calls, DISCOGS_LIMIT, day.seconds),
        refused=sum(call.refused for call in calls),
        readers=latency(day.readings, day.seconds),
        readers_alone=latency(alone.readings, day.seconds),
        readings_alone=len(alone.readings),
        alone_over_50=share_over(alone.calls, LML_LIMIT, day.seconds),
        dearest_slice=max((cost for _, cost in day.charges), default=0.0),
        longest_request=max((request.seconds for request in day.requests), default=0.0),
        waited=dict(day.waited),
        sent_while_open=sum(start < request.at < end for request in day.requests for start, end in day.breaker_open),
    )


def rolling(calls: Iterable[Call]) -> Iterator[tuple[float, int]]:
    """Yield every moment at which the number of calls in the last 60 s changes, and that number."""
    changes = sorted([(call.at, 1) for call in calls] + [(call.at + MINUTE, -1) for call in calls])
    number = 0
    for at, change in changes:
        number += change
        yield at, number


def share_over(calls: Iterable[Call], limit: int, seconds: float) -> float:
    """Return the share of the time, from 0 to `seconds`, in which the last 60 s hold more than `limit` calls."""
    over = since = 0.0
    before = 0
    for at, number in rolling(calls):
        moment = min(at, seconds)
        if before > limit:
            over += moment - since
        since, before = moment, number
    return over / seconds if seconds else 0.0


def latency(readings: Iterable[Reading], seconds: float) -> Latency:
    """Return how long those waited who came in the first `seconds`."""
    waits = sorted(reading.seconds for reading in readings if reading.at <= seconds)
    return Latency(percentile(waits, 0.5), percentile(waits, 0.95), waits[-1] if waits else 0.0)


def percentile(ascending: Sequence[float], share: float) -> float:
    """Return the nearest-rank percentile; 0 of nothing."""
    return ascending[min(len(ascending) - 1, int(share * len(ascending)))] if ascending else 0.0


class Summary(msgspec.Struct, frozen=True, kw_only=True):
    """The days of several seeds under one policy."""

    days: tuple[Figures, ...]

    @property
    def seconds(self) -> float:
        return median(day.seconds for day in self.days)

    @property
    def slowest(self) -> float:
        return max(day.seconds for day in self.days)

    @property
    def without_verdict(self) -> int:
        return sum(day.without_verdict for day in self.days)

    @property
    def over_50(self) -> float:
        """Share of all the days' time together."""
        return sum(day.over_50 * day.seconds for day in self.days) / sum(day.seconds for day in self.days)

    @property
    def over_50_at_worst(self) -> float:
        return max(day.over_50 for day in self.days)

    @property
    def over_60(self) -> float:
        return median(day.over_60 for day in self.days)

    @property
    def over_60_at_worst(self) -> float:
        return max(day.over_60 for day in self.days)

    @property
    def own_most_in_a_minute(self) -> float:
        return median(day.own_most_in_a_minute for day in self.days)

    @property
    def refresh_calls(self) -> int:
        return sum(day.refresh_calls for day in self.days)

    @property
    def own_most_at_worst(self) -> int:
        return max(day.own_most_in_a_minute for day in self.days)

    @property
    def most_in_a_minute(self) -> int:
        return max(day.most_in_a_minute for day in self.days)

    @property
    def alone_over_50(self) -> float:
        """Share of all the days' time together that readers alone spend above 50."""
        return sum(day.alone_over_50 * day.seconds for day in self.days) / sum(day.seconds for day in self.days)

    def share_waited(self, reason: str) -> float:
        """Share of all the slots' waiting that was for this."""
        every = sum(sum(day.waited.values()) for day in self.days)
        return sum(day.waited.get(reason, 0) for day in self.days) / every if every else 0.0

    @property
    def dearest_slice(self) -> float:
        return max(day.dearest_slice for day in self.days)

    @property
    def longest_request(self) -> float:
        return max(day.longest_request for day in self.days)

    @property
    def p95_ratio(self) -> float:
        return median(day.p95_ratio for day in self.days)
