"""CloudWatch metrics, EMF lines on standard output (docs/design/telemetry.md); alarms and dashboard use the names."""

from collections.abc import Mapping
from typing import Final

from aws_lambda_powertools.metrics import EphemeralMetrics, MetricUnit

from core.runs.totals import ACCOUNTS, Trigger
from core.telemetry._names import TOOL

NAMESPACE: Final = "RotationArtistBackfill"


def metric_of(total: str) -> str:
    """Name the metric that a total is reported as: `not_found` is `NotFound`."""
    return total.title().replace("_", "")


METRICS: Final[Mapping[str, MetricUnit]] = {
    "IdentityCoveragePercent": MetricUnit.Percent,
    "RunRefused": MetricUnit.Count,
    "DeadLettered": MetricUnit.Count,
    "LmlRequestMillis": MetricUnit.Milliseconds,
    "PacingWaitMillis": MetricUnit.Milliseconds,
    "DiscogsCallsEstimated": MetricUnit.Count,
    "RunSeconds": MetricUnit.Seconds,
    "RunCompleted": MetricUnit.Count,
    **dict.fromkeys(map(metric_of, ACCOUNTS), MetricUnit.Count),
}
"""Every metric of the job, and its unit; alarms and dashboard know them by these names."""


class Metrics:
    """Collects the metrics of any time until `flush`; those of a run's end go out at once, as a line of their own."""

    def __init__(self) -> None:
        self._any_time = _line({})

    def add(self, name: str, value: float) -> None:
        """Keep a value of a metric until `flush`; raises KeyError for one that METRICS does not know."""
        self._any_time.add_metric(name, METRICS[name], value)

    def describe(self, facts: Mapping[str, object]) -> None:
        """Put facts on this invocation's metric lines, as fields for those who read the log, and not as dimensions."""
        for name, value in facts.items():
            self._any_time.add_metadata(name, value)

    def flush(self) -> None:
        if self._any_time.metric_set:
            self._any_time.flush_metrics()
        self._any_time.clear_metrics()  # facts of an invocation that had no metrics must not wait for the next

    @staticmethod
    def run_closed(
        *,
        run_id: str | None,
        trigger: Trigger,
        dry_run: bool,
        totals: Mapping[str, int],
        run_seconds: float | None,
        completed: bool,
    ) -> None:
        """Write the accounts; those of a manual or dry run under a second dimension, which no alarm looks at."""
        line = _line({"trigger": trigger} if dry_run or trigger == "manual" else {})
        values: dict[str, float] = {metric_of(name): totals[name] for name in ACCOUNTS}
        values |= {} if run_seconds is None else {"RunSeconds": run_seconds}
        values["RunCompleted"] = int(completed)
        for name, value in values.items():
            line.add_metric(name, METRICS[name], value)
        if run_id is not None:
            line.add_metadata("run_id", run_id)
        line.flush_metrics()


def _line(extra_dimensions: Mapping[str, str]) -> EphemeralMetrics:
    return EphemeralMetrics(namespace=NAMESPACE, default_dimensions={"service": TOOL, **extra_dimensions})
