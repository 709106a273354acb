"""What the job reports: logs, spans, events, check-ins, metrics (docs/design/telemetry.md)."""

import logging
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from math import floor
from threading import Lock
from typing import TYPE_CHECKING, Final, Literal

from core.environment import SettingsError
from core.redaction import Redaction
from core.runs.totals import ACCOUNTS, Trigger
from core.telemetry._logs import Logs, LogStep
from core.telemetry._metrics import METRICS, NAMESPACE, Metrics, metric_of
from core.telemetry._names import RUN_OP, TOOL, TOTALS_OP, TraceHeaders

if TYPE_CHECKING:
    from sentry_sdk.traces import StreamedSpan

    from core import settings
    from core.telemetry._sentry import SentrySdk

__all__ = [
    "METRICS",
    "NAMESPACE",
    "TOOL",
    "LogStep",
    "RequestSpan",
    "Telemetry",
    "TraceHeaders",
    "metric_of",
    "refuse",
]


FLUSH_SECONDS: Final = 2.0
"""Of one flush (docs/design/errors.md)."""


def refuse(error: Exception, secrets: Collection[str]) -> None:
    """Log why an environment does not start: wrong settings, so that there is no `Telemetry` yet."""
    Logs(Redaction(secrets)).write(logging.ERROR, "init", str(error), {"error": type(error).__name__})


class RequestSpan:
    """The span of one request to LML."""

    def __init__(self, span: "StreamedSpan") -> None:
        self._span = span

    def failed(self, kind: Literal["retryable_error", "permanent_error"]) -> None:
        self._span.status = "error"
        self._span.set_attribute("lml.error_kind", kind)


class Telemetry:
    """Logs, spans, events, check-ins and metrics of one environment; built once, bound anew by each invocation.

    No method raises when Sentry is away. `secrets` are texts that must never leave, read at every write, so that it
    may grow as secrets are fetched; they are hidden, and so is what looks like a credential.

    Sentry's SDK is loaded and started at once, or `sentry_late`: with the first event, span or check-in.
    """

    def __init__(self, sentry: "settings.Sentry", *, secrets: Collection[str] = (), sentry_late: bool = False) -> None:
        self._redact = Redaction(secrets)
        self.redacted = self._redact.text
        """Hides secrets in a text that goes elsewhere."""
        self._settings = sentry
        self._started: SentrySdk | None = None
        self._starting = Lock()
        self._logs = Logs(self._redact)
        self._metrics = Metrics()
        self._monitor = None if sentry.schedule is None else sentry.schedule.monitor
        self._run_id: str | None = None
        self.bind(run_id=None)
        if not sentry_late:
            self._sentry()

    def _sentry(self) -> "SentrySdk":
        """Return the SDK, started."""
        with self._starting:
            if self._started is None:
                self._started = self._start()
            return self._started

    def _start(self) -> "SentrySdk":
        from core.telemetry._sentry import SentrySdk  # noqa: PLC0415 - a fifth of a start, which most reads do without

        sentry = SentrySdk()
        try:
            sentry.start(self._settings, self._redact)
        except SettingsError as error:
            self.warning("init", f"nothing goes to Sentry: {error}")
        except Exception as error:  # noqa: BLE001 - the job runs without Sentry, whatever keeps it away
            # Not the error's text: it may quote the DSN.
            name = self._settings.dsn.name
            self.warning("init", f"{name} is of no use: nothing goes to Sentry", error=type(error).__name__)
        return sentry

    def bind(self, *, run_id: str | None) -> None:
        """Begin an invocation, or learn its run: later log lines, events and exceptions carry this id, or none."""
        self._run_id = run_id
        self._logs.bind(run_id)
        if self._started is not None:
            self._started.new_trace()

    @contextmanager
    def invocation(self, step: LogStep, *, but_not: type[Exception] | tuple[()] = ()) -> Iterator[None]:
        """Wrap one invocation: what escapes it goes to the log and, `but_not` aside, to Sentry; all is flushed."""
        self.bind(run_id=None)
        try:
            yield
        except Exception as error:
            self.error(step, str(error), error=type(error).__name__)
            if not isinstance(error, but_not):
                self.exception(error, step=step)
            raise
        finally:
            self.flush()

    # Logs. A field must not have the name of a LogRecord's attribute (`name`, `args`, `module`, ...): KeyError.

    def info(self, step: LogStep, message: str, **fields: object) -> None:
        self._logs.write(logging.INFO, step, message, fields)

    def warning(self, step: LogStep, message: str, **fields: object) -> None:
        self._logs.write(logging.WARNING, step, message, fields)

    def error(self, step: LogStep, message: str, **fields: object) -> None:
        self._logs.write(logging.ERROR, step, message, fields)

    # Spans

    @contextmanager
    def run_span(self, run_id: str, trigger: Trigger, *, dry_run: bool) -> Iterator[TraceHeaders]:
        """Open the run's trace; yields the headers with which its other spans join it, from any process."""
        attributes: dict[str, str | int] = {
            "backfill.run_id": run_id,
            "backfill.trigger": trigger,
            "backfill.dry_run": int(dry_run),
        }
        with self._sentry().root_span(f"{TOOL}.run", RUN_OP, attributes, headers={}):
            yield self._sentry().trace_headers()

    def gate_span(self, *, allowed: bool, reason: str) -> None:
        """Report the deploy gate's verdict, inside the run span."""
        self._sentry().child_span(
            f"{TOOL}.run.gate", "job.gate", {"backfill.gate_allowed": int(allowed), "backfill.gate_reason": reason}
        ).end()

    def plan_span(self, *, ids: int, messages: int, coverage: float | None) -> None:
        """Report the plan, inside the run span; `coverage` (percent) travels rounded down, so that 98.9 stays < 99."""
        attributes = {
            "backfill.ids": ids,
            "backfill.messages": messages,
            "backfill.coverage": None if coverage is None else floor(coverage),
        }
        self._sentry().child_span(f"{TOOL}.run.plan", "job.plan", attributes).end()

    @contextmanager
    def message_span(
        self, headers: TraceHeaders, *, run_id: str | None, message: int, part: int, ids: int, receive_count: int
    ) -> Iterator[None]:
        """Open the span of one delivery, in the trace of `headers`; its metrics' lines say which part they are of.

        Their `began` is unix seconds. The report draws a run's pace and time line from these lines.
        """
        facts = {"run_id": run_id} if run_id is not None else {}
        self._metrics.describe({**facts, "message": message, "part": part, "began": time.time()})
        attributes = {
            "backfill.run_id": run_id,
            "backfill.message": message,
            "backfill.part": part,
            "backfill.ids": ids,
            "backfill.receive_count": receive_count,
        }
        with self._sentry().root_span(f"{TOOL}.message", "queue.process", attributes, headers=headers):
            yield

    @contextmanager
    def request_span(self, *, batch_size: int, timeout_ms: int) -> Iterator[RequestSpan]:
        """Open the span of one request to LML; an error that leaves the block gives it the status error."""
        attributes = {"lml.batch_size": batch_size, "lml.batch_timeout_ms": timeout_ms}
        with self._sentry().child_span("lml.refresh_for_identities", "http.client", attributes) as span:
            yield RequestSpan(span)

    def report_totals(
        self,
        headers: TraceHeaders,
        *,
        run_id: str | None,
        trigger: Trigger,
        dry_run: bool,
        totals: Mapping[str, int],
        run_seconds: float | None,
        completed: bool,
    ) -> None:
        """Report the totals of a run that has ended, or of a replay by hand (no run id): one span, one EMF line.

        `totals` has those of docs/design/formats.md; `run_seconds` is None when nobody measured them.
        `backfill.not_found_percent` is rounded up, which leaves the alert rule's `> 1 %` exact.
        """
        accounts = {name: int(totals[name]) for name in ACCOUNTS}
        scanned, not_found = accounts["identities_scanned"], accounts["not_found"]
        attributes: dict[str, str | int | None] = {f"backfill.{name}": count for name, count in accounts.items()}
        attributes |= {
            "backfill.run_id": run_id,
            "backfill.dry_run": int(dry_run),
            "backfill.trigger": trigger,
            "backfill.not_found_percent": -(-100 * not_found // scanned) if scanned else 0,
        }
        with self._sentry().root_span(f"{TOOL}.run.totals", TOTALS_OP, attributes, headers=headers):
            self._metrics.run_closed(
                run_id=run_id,
                trigger=trigger,
                dry_run=dry_run,
                totals=accounts,
                run_seconds=run_seconds,
                completed=completed,
            )

    # Metrics, events, check-ins

    def metric(self, name: str, value: float) -> None:
        """Add a value to one of METRICS, in its unit; several of one name are kept apart."""
        self._metrics.add(name, value)

    def check_in_open(self, check_in_id: str) -> None:
        """Report to the cron monitor that a scheduled run has begun.

        Sentry drops whatever comes for a check-in that is closed, so that each attempt needs an id of its own.
        """
        self._sentry().check_in(check_in_id, "in_progress", None, self._monitor)

    def check_in_close(self, check_in_id: str, *, ok: bool, seconds: float | None) -> None:
        self._sentry().check_in(check_in_id, "ok" if ok else "error", seconds, self._monitor)

    def event(
        self,
        message: str,
        *,
        step: LogStep,
        level: Literal["error", "warning"] = "error",
        fingerprint: Sequence[str] | None = None,
        **extra: object,
    ) -> None:
        """Send an event to Sentry; events of one `fingerprint` are one issue there."""
        self._sentry().message(message, level, fingerprint, tags=self._tags(step), extras=extra)

    def exception(
        self, error: BaseException, *, step: LogStep, tags: Mapping[str, str] | None = None, **extra: object
    ) -> None:
        """Send an exception, its causes and their stacks without local variables to Sentry."""
        self._sentry().exception(error, tags={**self._tags(step), **(tags or {})}, extras=extra)

    def flush(self, seconds: float = FLUSH_SECONDS) -> bool:
        """Write the metrics and send what waits for Sentry, in time; False, and a warning, if it did not go."""
        self._metrics.flush()
        took_all = self._started is None or self._started.flush(seconds)
        if not took_all:
            self.warning("done", "Sentry did not take everything in time: spans, events or check-ins may be missing")
        return took_all

    def _tags(self, step: LogStep) -> dict[str, str]:
        tags = {"tool": TOOL, "step": step}
        return tags if self._run_id is None else tags | {"run_id": self._run_id}
