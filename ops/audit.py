"""The audit: a run's totals compared with the database, LML's log, Sentry, CloudWatch and the queues."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from core.runs.ledger import Message, Run
from core.runs.totals import REPORTED_TOTALS, SUMMARY_TOTALS, UNWARMED
from core.telemetry import TOOL, metric_of
from local.sentry import Span


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that must hold, and what was found where it does not."""

    what: str
    holds: bool
    found: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What the stand-in for LML remembers: each id with the status of its last answer, requests, and most at once.

    `discogs_calls` are those that it made for the run.
    """

    last_status: dict[int, str]
    requests: int
    at_once: int
    discogs_calls: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """What others than the ledger have seen of a run; `asked` is None for an LML whose log nobody can read."""

    database_ids: Sequence[int]
    messages: Sequence[Message]
    asked: Asked | None
    expected: dict[str, int] | None
    concurrency: int
    spans: Sequence[Span]
    check_ins: Sequence[dict[str, object]]
    metrics: Iterable[dict[str, Any]]
    waiting: dict[str, int]


def audit(run: Run, evidence: Evidence) -> list[Finding]:
    """Check every equation of docs/design/formats.md on a closed run, against every other record of it."""
    return [
        *_accounts(run),
        *_database(evidence),
        *_lml(run, evidence),
        *_reported(run, evidence),
        Finding("no message is left in a queue", not any(evidence.waiting.values()), str(evidence.waiting)),
    ]


def _accounts(run: Run) -> Iterator[Finding]:
    totals = run.totals
    yield Finding("the run is complete", run.status == "complete", f"{run.status}: {run.reason or 'no reason given'}")
    yield _same("planned = scanned + not attempted", run.planned, totals.accounted)
    inside = " and ".join(UNWARMED)
    yield Finding(f"scanned = resolved + lml_error, and {inside} lie inside resolved", totals.balanced, str(totals))


def _database(evidence: Evidence) -> Iterator[Finding]:
    planned = [identity for message in evidence.messages for identity in message.planned]
    yield _same("every active identity of the database was planned once", sorted(planned), list(evidence.database_ids))


def _lml(run: Run, evidence: Evidence) -> Iterator[Finding]:
    asked, expected = evidence.asked, evidence.expected
    if asked is None or expected is None:
        return
    planned = {identity for message in evidence.messages for identity in message.planned}
    yield _same("LML was asked for every planned id and no other", set(asked.last_status), planned)
    yield _same("LML counted the same requests", asked.requests, run.totals.lml_requests)
    statuses = list(asked.last_status.values())
    for name in UNWARMED:
        yield _same(f"LML's last answers hold the same {name}", statuses.count(name), getattr(run.totals, name))
    ours = {name: getattr(run.totals, name) for name in REPORTED_TOTALS}
    yield _same("the totals are what LML's world says", ours, {name: expected[name] for name in REPORTED_TOTALS})
    if not expected["discogs_calls"]:
        yield _same("LML, which had everything cached, made no Discogs call", asked.discogs_calls, 0)
    at_once = f"LML never saw more than {evidence.concurrency} of our requests at once"
    yield Finding(at_once, asked.at_once <= evidence.concurrency, str(asked.at_once))


def _reported(run: Run, evidence: Evidence) -> Iterator[Finding]:
    totals = {name: getattr(run.totals, name) for name in SUMMARY_TOTALS}
    spans = [span for span in evidence.spans if span.name == f"{TOOL}.run.totals"]
    reported = [{name: span.attributes.get(f"backfill.{name}") for name in totals} for span in spans]
    yield _same("Sentry received the totals once", reported, [totals])
    types = {span.wire[f"backfill.{name}"].type for span in spans for name in totals if f"backfill.{name}" in span.wire}
    yield _same("and every one of them as an integer", types, {"integer"})
    traces = {span.trace_id for span in evidence.spans if span.name.startswith(TOOL)}
    yield Finding("the run is one trace in Sentry", len(traces) == 1, f"{len(traces)} traces")
    statuses = [check_in.get("status") for check_in in evidence.check_ins]
    yield _same("its check-in opened and closed", statuses, ["in_progress", "ok"])
    lines = [line for line in evidence.metrics if "IdentitiesScanned" in line]
    metrics = [{name: _metric(line, name) for name in totals} for line in lines]
    yield _same("CloudWatch received the totals once", metrics, [totals])


def _metric(line: dict[str, Any], name: str) -> int:
    (value,) = line[metric_of(name)]
    return int(value)


def _same(what: str, found: object, wanted: object) -> Finding:
    return Finding(what, found == wanted, f"{found} where {wanted} should be")
