"""What a report is made of: the ledger's accounts, the functions' log lines, the database's rows. Nothing is invented.

Where a source does not answer, its part of the report says so instead of showing something.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from botocore.exceptions import BotoCoreError, ClientError

from core import settings
from core.rotation import table as rotation
from core.rotation.table import DatabaseError, RotationRow
from core.runs.ledger import Message, Run
from ops.target import OperatorError, Target, database_of

EARLIER: Final = 10
"""Runs before this one that it is compared with."""
_BEFORE: Final = timedelta(minutes=1)
_AFTER: Final = timedelta(minutes=20)  # a delivery that began before the close may write its lines after it
_LOGS: Final = ("FanOutLogs", "RefreshLogs", "DeadLetterLogs")


@dataclass(frozen=True, slots=True, kw_only=True)
class Material:
    """Everything that is known of one run; `unknown` holds, by source, why it said nothing."""

    run: Run
    messages: Sequence[Message]
    rows: Mapping[int, Sequence[RotationRow]]
    """Rotation rows of the stale and failed ids."""
    lines: Sequence[Mapping[str, Any]]
    """The functions' JSON log lines of this run, EMF among them."""
    earlier: Sequence[Run]
    limits: settings.Pacing
    speed: float
    unknown: Mapping[str, str]
    beside: Sequence[str] = ()
    """What DJs met beside the run, where somebody has seen it."""

    @property
    def stale(self) -> list[int]:
        """The ids that LML does not know."""
        return sorted(identity for message in self.messages for identity in message.not_found)

    @property
    def failed(self) -> dict[int, str]:
        """Id to reason, for every lml_error."""
        return dict(sorted((identity, why) for message in self.messages for identity, why in message.failed.items()))


def gather(target: Target, run_id: str | None) -> Material:
    """Read all there is of a run, the last one by default; raises OperatorError for one that is not there."""
    run = target.run(run_id)
    messages = list(target.ledger.messages.all(run.run_id, run.messages_planned))
    config = target.refresh_settings()
    unknown: dict[str, str] = {}
    lines: list[Mapping[str, Any]] = []
    try:
        lines = list(_lines(target, run))
    except (ClientError, BotoCoreError) as error:
        unknown["logs"] = str(error)
    ids = [identity for message in messages for identity in (*message.not_found, *message.failed)]
    rows: dict[int, list[RotationRow]] = {}
    try:
        for row in _rows(target, ids) if ids else ():
            rows.setdefault(row.lml_identity_id, []).append(row)
    except (DatabaseError, settings.SettingsError, OperatorError, ClientError, BotoCoreError) as error:
        unknown["rows"] = str(error)
    return Material(
        run=run,
        messages=messages,
        rows=rows,
        lines=lines,
        earlier=_earlier(target, run),
        limits=config.pacing,
        speed=config.clock_speed,
        unknown=unknown,
    )


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
