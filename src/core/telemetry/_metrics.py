"""CloudWatch metrics, EMF lines on standard output (docs/design/telemetry.md); alarms and dashboard use the names."""

from collections.abc import Mapping
from typing import Final, Literal, TypeAlias, get_args

from aws_lambda_powertools.metrics import EphemeralMetrics, MetricUnit

from core.runs.totals import REPORTED_TOTALS
from core.telemetry._logs import TOOL

NAMESPACE: Final = "RotationArtistBackfill"

MetricName: TypeAlias = Literal[
    "IdentityCoveragePercent",
    "RunRefused",
    "DeadLettered",
    "LmlRequestMillis",
    "PacingWaitMillis",
    "DiscogsCallsEstimated",
]
"""Metrics of any time; the name ends in the unit where that is not a count."""

ACCOUNTS: Final = (*REPORTED_TOTALS, "not_attempted", "warmed_without_artists")
"""What a closed run tells of its totals, on the span and in CloudWatch."""

Trigger: TypeAlias = Literal["scheduled", "manual"]


class Metrics:
    """Collects the metrics of any time until `flush`; those of a run's end go out at once, as a line of their own."""

    def __init__(self) -> None:
        self._any_time = _line({})

    def add(self, name: MetricName, value: float) -> None:
        self._any_time.add_metric(name, _UNITS[name], value)

    def describe(self, facts: Mapping[str, object]) -> None:
        """Put facts on this invocation's lines beside the metrics: no dimensions, for whoever reads the log."""
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
        for name in ACCOUNTS:
            line.add_metric(name.title().replace("_", ""), MetricUnit.Count, totals[name])
        if run_seconds is not None:
            line.add_metric("RunSeconds", MetricUnit.Seconds, run_seconds)
        line.add_metric("RunCompleted", MetricUnit.Count, int(completed))
        if run_id is not None:
            line.add_metadata("run_id", run_id)
        line.flush_metrics()


def _unit(name: MetricName) -> MetricUnit:
    if name.endswith("Millis"):
        return MetricUnit.Milliseconds
    return MetricUnit.Percent if name.endswith("Percent") else MetricUnit.Count


_UNITS: Final[dict[MetricName, MetricUnit]] = {name: _unit(name) for name in get_args(MetricName)}


def _line(extra_dimensions: Mapping[str, str]) -> EphemeralMetrics:
    return EphemeralMetrics(namespace=NAMESPACE, default_dimensions={"service": TOOL, **extra_dimensions})
