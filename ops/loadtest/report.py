"""What a load test found, and the tables in which it is told: for the terminal, the runbook and the page."""

import os
import platform
import subprocess
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from ops.loadtest.measures import Figures, Summary
from ops.loadtest.proof import Line

COLUMNS = (
    "policy",
    "makespan",
    "slowest",
    "no verdict",
    "most calls in 60 s (own)",
    "in a calendar minute",
    "over 50",
    "over 60",
    "429s",
    "readers' p50",
    "p95 (by theirs alone)",
    "longest",
)


class Origin(msgspec.Struct, frozen=True):
    """Where the numbers come from."""

    when: str
    commit: str
    machine: str
    python: str

    @classmethod
    def here(cls) -> "Origin":
        here = Path(__file__).parent
        git = ["git", "-C", str(here), "describe", "--always", "--dirty", "--exclude=*"]
        commit = subprocess.run(git, capture_output=True, text=True, check=False).stdout.strip()  # noqa: S603 - fixed words
        return cls(
            when=f"{datetime.now(UTC):%Y-%m-%d}",
            commit=commit or "unknown",
            machine=f"{os.cpu_count()} cores, {platform.machine()}",
            python=platform.python_version(),
        )


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """One load test: a summary for every way to pace the job, and the lines that had to hold."""

    origin: Origin
    days: str
    """Which days: how many, of which kind."""
    summaries: dict[str, Summary]
    chosen_budget: int | None = None
    lines: tuple[Line, ...] = ()

    @property
    def holds(self) -> bool:
        return all(line.holds for line in self.lines)


def row(name: str, summary: Summary) -> tuple[str, ...]:
    """Return the cells of a policy, in the order of COLUMNS."""
    days = summary.days
    return (
        name,
        f"{summary.seconds:,.0f} s",
        f"{summary.slowest:,.0f} s",
        f"{summary.without_verdict} of {sum(day.identities for day in days)}",
        f"{summary.most_in_a_minute} ({summary.own_most_at_worst})",
        str(max(day.most_in_a_calendar_minute for day in days)),
        f"{summary.over_50:.2%}",
        f"{sum(day.over_60 * day.seconds for day in days) / sum(day.seconds for day in days):.2%}",
        str(sum(day.refused for day in days)),
        f"{_median(days, 'p50'):.2f} s",
        f"{_median(days, 'p95'):.2f} s ({summary.p95_ratio:.2f})",
        f"{max(day.readers.longest for day in days):.1f} s",
    )


def markdown(report: Report) -> Iterator[str]:
    """Yield the lines of the table for docs/runbook.md, and of the pass lines if there are any."""
    origin = report.origin
    yield f"{report.days}. {origin.when}, commit {origin.commit}, {origin.machine}, Python {origin.python}."
    yield ""
    yield from _table(COLUMNS, [row(name, summary) for name, summary in report.summaries.items()])
    if report.chosen_budget is not None:
        yield ""
        yield f"The largest open-loop budget that keeps the over-50 line: **{report.chosen_budget} a minute**."
    if report.lines:
        yield ""
        yield from _table(("line", "measured", "limit", ""), [line_cells(line) for line in report.lines])


def line_cells(line: Line) -> tuple[str, str, str, str]:
    """Return a pass line as cells: what, measured, limit, and whether it holds."""
    unit = f" {line.unit}" if line.unit else ""
    limit = "reported" if line.limit is None else f"{line.limit:,.6g}{unit}"
    return line.what, f"{line.measured:,.6g}{unit}", limit, "holds" if line.holds else "**broken**"


def _median(days: Sequence[Figures], name: str) -> float:
    values = sorted(float(getattr(day.readers, name)) for day in days)
    return values[len(values) // 2]


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> Iterator[str]:
    for cells in (head, ["---"] * len(head), *rows):
        yield f"| {' | '.join(cells)} |"
