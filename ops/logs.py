"""`rotation logs`: what the functions logged, from CloudWatch or the cloud of this machine."""

import json
import time
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import click

from ops.answer import Answer, at_a_target, print_line
from ops.cli import LOG_LEVELS
from ops.target import Target

GROUPS: Final = ("FanOutLogs", "RefreshLogs", "DeadLetterLogs")
LAST: Final = timedelta(hours=1)
POLL: Final = 2.0  # seconds
LATE: Final = timedelta(minutes=2)  # by which CloudWatch may show a line later than another one
# What every line has, or that only a machine reads.
_QUIET: Final = frozenset({"timestamp", "level", "message", "service", "tool", "location", "step", "run_id"})
_ALARM: Final[dict[str, Any]] = {"fg": "red", "bold": True}
_STYLES: Final[dict[str, dict[str, Any]]] = {"WARNING": {"fg": "yellow"}, "ERROR": _ALARM, "CRITICAL": _ALARM}

# A log line is JSON of any shape, so that its type is Any.
LogLine = dict[str, Any]


@at_a_target
def logs(target: Target, *, run_id: str | None, tail: bool, level: str) -> Answer:
    """Show the lines of a run, or of the last hour, the oldest first; with `tail` until Ctrl-C."""
    since = datetime.now(UTC) - LAST
    if run_id is not None:
        since = datetime.fromisoformat(target.run(run_id).started_at) - LATE
    seen: set[str] = set()
    found = list(_lines(target, since, run_id, level, seen))
    if not tail:
        shown = [_shown(line) for line in found]
        of = "the last hour" if run_id is None else f"run {run_id}"
        nothing = f"no line of {of} at {level} or above: --level DEBUG shows all"
        return Answer(shown or [nothing], {"lines": found})
    for line in found:
        print_line(_shown(line))
    with suppress(KeyboardInterrupt):  # the way in which it ends
        while True:
            time.sleep(POLL)
            since = max(since, datetime.now(UTC) - LAST)
            for line in _lines(target, since, run_id, level, seen):
                print_line(_shown(line))
    return Answer([], {})


def _lines(target: Target, since: datetime, run_id: str | None, level: str, seen: set[str]) -> Iterator[LogLine]:
    """Yield the lines that were not shown yet, in the order of their time; metrics lines are left out."""
    found: list[tuple[int, LogLine]] = []
    pages = target.client("logs").get_paginator("filter_log_events")
    for group in GROUPS:
        if group not in target.names:
            continue
        for page in pages.paginate(logGroupName=target.names[group], startTime=int(since.timestamp() * 1000)):
            for event in page["events"]:
                key = event.get("eventId") or f"{event['timestamp']} {event['message']}"  # the emulator gives no ids
                if key not in seen and (line := _read(event["message"])) is not None:
                    seen.add(key)
                    found.append((event["timestamp"], line))
    for _, line in sorted(found, key=lambda it: (it[0], str(it[1].get("timestamp")))):
        of_run = run_id is None or line.get("run_id") == run_id
        if of_run and LOG_LEVELS.index(str(line.get("level"))) >= LOG_LEVELS.index(level):
            yield line


def _read(text: str) -> LogLine | None:
    """Return a line of ours; None for the platform's own lines and for metrics."""
    try:
        line = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return line if isinstance(line, dict) and line.get("level") in LOG_LEVELS and "message" in line else None


def _shown(line: LogLine) -> str:
    level = click.style(line["level"], **_STYLES.get(line["level"], {}))
    more = ", ".join(f"{name} {_value(it)}" for name, it in line.items() if name not in _QUIET and _value(it))
    of = f" {line['run_id']}" if "run_id" in line else ""
    head = f"{str(line.get('timestamp', ''))[:19]} {level} {line.get('step', '')}{of}: "
    return head + str(line["message"]) + (f" ({more})" if more else "")


def _value(value: object) -> str:
    return "" if value in (None, "", [], {}) else value if isinstance(value, str) else json.dumps(value)
