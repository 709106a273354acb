"""The data of a report: the ledger's accounts, the functions' log lines, the database's rows.

Where a source does not answer, its part of the report says so instead of showing something.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Final

from botocore.exceptions import BotoCoreError, ClientError

from core import settings
from core.rotation import table as rotation
from core.rotation.table import DatabaseError, RotationRow
from core.runs.ledger import Run
from ops.snapshot import Snapshot, take
from ops.target import OperatorError, Target, database_of

EARLIER: Final = 10
"""Runs before this one that it is compared with."""
_BEFORE: Final = timedelta(minutes=1)
_AFTER: Final = timedelta(minutes=20)  # a delivery that began before the close may write its lines after it
_LOGS: Final = ("FanOutLogs", "RefreshLogs", "DeadLetterLogs")


@dataclass(frozen=True, slots=True, kw_only=True)
class Material:
    """The data of one run's page; `unknown` holds, by source, why it could not be read."""

    seen: Snapshot
    whole: bool = True
    """Whether logs, rows and earlier runs were asked too; a page of a run that goes on leaves them alone."""
    rows: Mapping[int, Sequence[RotationRow]] = field(default_factory=dict)
    """Rotation rows of the stale and failed ids."""
    lines: Sequence[Mapping[str, Any]] = ()
    """The functions' JSON log lines of this run, EMF among them."""
    earlier: Sequence[Run] = ()
    unknown: Mapping[str, str] = field(default_factory=dict)

    @property
    def run(self) -> Run:
        return self.seen.run


def gather(target: Target, run_id: str | None) -> Material:
    """Read all there is of a run, the last one by default; raises OperatorError for one that is not there."""
    run = target.run(run_id)
    seen = take(target, run)
    unknown: dict[str, str] = dict(seen.unknown)
    lines: list[Mapping[str, Any]] = []
    try:
        lines = list(_lines(target, run))
    except (ClientError, BotoCoreError) as error:
        unknown["logs"] = str(error)
    ids = [*seen.stale, *seen.failed]
    rows: dict[int, list[RotationRow]] = {}
    try:
        for row in _rows(target, ids) if ids else ():
            rows.setdefault(row.lml_identity_id, []).append(row)
    except (DatabaseError, settings.SettingsError, OperatorError, ClientError, BotoCoreError) as error:
        unknown["rows"] = str(error)
    return Material(seen=seen, rows=rows, lines=lines, earlier=_earlier(target, run), unknown=unknown)


def glance(target: Target, run: Run) -> Material:
    """Read only what shows the state of a run that goes on."""
    seen = take(target, run)
    return Material(seen=seen, whole=False, unknown=seen.unknown)


def _lines(target: Target, run: Run) -> Iterator[Mapping[str, Any]]:
    """Yield the run's own lines; CloudWatch selects by its id, and so does this, as the emulator does not."""
    started = datetime.fromisoformat(run.started_at)
    window = {"startTime": _millis(started - _BEFORE)}
    if run.closed_at is not None:
        window["endTime"] = _millis(datetime.fromisoformat(run.closed_at) + _AFTER)
    pages = target.client("logs").get_paginator("filter_log_events")
    for group in _LOGS:
        for page in pages.paginate(logGroupName=target.names[group], filterPattern=f'"{run.run_id}"', **window):
            for event in page["events"]:
                line = _json(event["message"])
                if line.get("run_id") == run.run_id:
                    yield line


def _json(text: str) -> Mapping[str, Any]:
    try:
        line = json.loads(text)
    except ValueError:  # Lambda's own START, END and REPORT
        return {}
    return line if isinstance(line, dict) else {}


def _rows(target: Target, identity_ids: Sequence[int]) -> list[RotationRow]:
    """Ask the database that fan-out asks; from outside its network it does not answer."""
    with rotation.connect(database_of(target.environment("FanOutFunction"), target.secret)) as table:
        return table.rows_of(identity_ids)


def _earlier(target: Target, run: Run) -> list[Run]:
    """Return the last runs that began before this one, the newest first."""
    before = [run_id for started_at, run_id in target.runs_begun() if started_at < run.started_at]
    found = (target.ledger.runs.read(run_id) for run_id in before[:EARLIER])
    return [other for other in found if other is not None]


def _millis(when: datetime) -> int:
    return int(when.timestamp() * 1000)
