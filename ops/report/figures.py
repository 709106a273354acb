"""Pace, slots and requests of a run, read from its log lines. Pure; times are paced seconds.

A delivery's metrics are one log line, or several of up to 100 values (`core.telemetry.Telemetry.message_span`): for
each request the wait before it, its duration and the Discogs calls it was charged. Starts are worked out from these.
"""

from bisect import bisect_right
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate, groupby, pairwise
from typing import Any, Final

MINUTE: Final = 60.0
BUCKETS: Final = (0.25, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0)
"""Seconds that separate the bars of requests by duration."""

# A log line is JSON of any shape, so that its type is Any.
ReportLine = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class DrawnRequest:
    """One request to LML; `calls` are the Discogs calls that it was charged."""

    start: float
    seconds: float
    waited: float
    calls: float

    @property
    def end(self) -> float:
        return self.start + self.seconds


@dataclass(frozen=True, slots=True)
class DrawnPart:
    """One delivery of one part of a message; `start` and `end` count from the run's first delivery."""

    message: int
    part: int
    start: float
    end: float
    requests: tuple[DrawnRequest, ...]


@dataclass(frozen=True, slots=True)
class Trouble:
    """Requests that failed alike: what happened, how often, and how many ids they carried."""

    what: str
    requests: int
    ids: int


def parts(lines: Iterable[ReportLine], speed: float) -> list[DrawnPart]:
    """Return every delivery that sent a request, by its start; `speed` is paced seconds in a second of the lines."""
    with_requests = [line for line in lines if "began" in line and "LmlRequestMillis" in line]
    if not with_requests:
        return []
    first = min(float(line["began"]) for line in with_requests)

    def delivery(line: ReportLine) -> tuple[float, int, int]:
        return float(line["began"]), int(line["message"]), int(line["part"])

    with_requests.sort(key=lambda line: (*delivery(line), line["_aws"]["Timestamp"]))
    return [_part(key, list(group), first, speed) for key, group in groupby(with_requests, delivery)]


def _part(key: tuple[float, int, int], lines: Sequence[ReportLine], first: float, speed: float) -> DrawnPart:
    began, message, part = key
    waits, durations, calls = (
        [float(value) for line in lines for value in line.get(name, [])]
        for name in ("PacingWaitMillis", "LmlRequestMillis", "DiscogsCallsEstimated")
    )
    start = (began - first) * speed
    busy = (sum(waits) + sum(durations)) / 1000
    end = max(start + busy, (lines[-1]["_aws"]["Timestamp"] / 1000 - first) * speed)
    rest = (end - start - busy) / max(1, len(durations))  # accounts between two requests; it is spread evenly
    requests, now = [], start
    for wait, duration, charged in zip(waits, durations, calls, strict=False):
        now += wait / 1000
        requests.append(DrawnRequest(now, duration / 1000, wait / 1000, charged))
        now += duration / 1000 + rest
    return DrawnPart(message, part, start, end, tuple(requests))


def requests_of(found: Iterable[DrawnPart]) -> list[DrawnRequest]:
    return sorted((request for part in found for request in part.requests), key=lambda request: request.start)


def slots(found: Sequence[DrawnPart]) -> list[list[DrawnPart]]:
    """Lay deliveries out in as few rows as were at work side by side."""
    rows: list[list[DrawnPart]] = []
    for part in sorted(found, key=lambda part: part.start):
        free = next((row for row in rows if row[-1].end <= part.start), None)
        if free is None:
            rows.append([part])
        else:
            free.append(part)
    return rows


def pace(requests: Sequence[DrawnRequest], points: int) -> list[tuple[float, float]]:
    """Return (time, calls in the 60 s before it): the highest of each of `points` stretches, in order.

    The calls of a request are spread evenly over its duration.
    """
    if not requests:
        return []
    spans = [(request.start, max(request.seconds, 0.001), request.calls) for request in requests]
    changes = sorted(
        change
        for start, seconds, calls in spans
        for change in ((start, calls / seconds), (start + seconds, -calls / seconds))
    )
    times = [time for time, _ in changes]
    rates = list(accumulate(rate for _, rate in changes))
    gained = ((after - before) * rate for (before, after), rate in zip(pairwise(times), rates, strict=False))
    totals = list(accumulate(gained, initial=0.0))

    def until(time: float) -> float:
        at = bisect_right(times, time) - 1
        return 0.0 if at < 0 else totals[at] + (time - times[at]) * rates[at]

    # It bends only where a request begins or ends, or did a minute ago: there are its highest points.
    moments = sorted({*times, *(time + MINUTE for time in times)})
    width = max(moments[-1] / points, 0.001)
    highest: dict[int, tuple[float, float]] = {}
    for moment in moments:
        calls = until(moment) - until(moment - MINUTE)
        stretch = int(moment / width)
        if stretch not in highest or calls > highest[stretch][1]:
            highest[stretch] = (moment, calls)
    return list(highest.values())


def by_duration(requests: Iterable[DrawnRequest]) -> list[tuple[str, int]]:
    """Return (label, requests) of each bar; a request on a border belongs to the longer side."""
    counts = Counter(bisect_right(BUCKETS, request.seconds) for request in requests)
    labels = [f"< {BUCKETS[0]:g} s"]
    labels += [f"{low:g} to {high:g} s" for low, high in pairwise(BUCKETS)]
    labels += [f"\u2265 {BUCKETS[-1]:g} s"]
    return [(label, counts[number]) for number, label in enumerate(labels)]


def troubles(lines: Iterable[ReportLine]) -> list[Trouble]:
    """Return the kinds of failed requests, the most frequent first."""
    found: Counter[str] = Counter()
    ids: Counter[str] = Counter()
    for line in lines:
        if line.get("step") not in {"slice_error", "malformed_response"} or "identity_ids" not in line:
            continue
        status = line.get("status")
        answered = f"LML answered {status}" if status is not None else str(line.get("cause", ""))
        what = str(line.get("message", "")) if line["step"] == "malformed_response" else answered
        what += f", {str(line['kind']).replace('_', ' ')}" if "kind" in line else ""
        found[what] += 1
        ids[what] += len(line["identity_ids"])
    return [Trouble(what, count, ids[what]) for what, count in found.most_common()]


def merged(spans: Iterable[tuple[float, float]], grain: float) -> list[tuple[float, float]]:
    """Return (start, end) pairs without those gaps that are too small to see: shorter than `grain`."""
    shown: list[tuple[float, float]] = []
    for start, end in sorted(spans):
        if shown and start - shown[-1][1] < grain:
            shown[-1] = (shown[-1][0], max(end, shown[-1][1]))
        else:
            shown.append((start, end))
    return shown
