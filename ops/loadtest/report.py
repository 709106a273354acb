"""The results of a load test, and their tables for the terminal, the docs and the page."""

import os
import platform
import subprocess
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import msgspec

from local.lml.records import MINUTE
from ops.loadtest.harm import Summary
from ops.loadtest.lines import Line

COLUMNS: Final = (
    "openings alone",
    "openings added",
    "DJ calls shed, added",
    "minutes of 57 or more, added",
    "makespan",
    "slowest",
    "rests",
    "no verdict",
    "artists missing",
    "DJs' p95 (alone)",
)
"""Of a day on average, makespan the median; `no verdict` and `artists missing` of all days together."""


class ReportOrigin(msgspec.Struct, frozen=True):
    """Where the numbers come from."""

    when: str
    commit: str
    machine: str
    python: str

    @classmethod
    def here(cls) -> "ReportOrigin":
        here = Path(__file__).parent
        git = ["git", "-C", str(here), "describe", "--always", "--dirty", "--exclude=*"]
        commit = subprocess.run(git, capture_output=True, text=True, check=False).stdout.strip()  # noqa: S603 - fixed words
        return cls(
            when=f"{datetime.now(UTC):%Y-%m-%d}",
            commit=commit or "unknown",
            machine=f"{os.cpu_count()} cores, {platform.machine()}",
            python=platform.python_version(),
        )


class MeasuredBeside(msgspec.Struct, frozen=True, kw_only=True):
    """One pattern of readers: a summary for each way to pace, and the clairvoyant's seconds on average."""

    policies: dict[str, Summary]
    clairvoyant: float | None = None


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """One load test."""

    origin: ReportOrigin
    days: str
    """Which days: how many, of which kind."""
    chosen: str
    """The way to pace that is in use."""
    patterns: dict[str, MeasuredBeside] = {}
    warm: dict[int, Summary] = {}
    """By percent warm, beside 20 readers a minute in fives, at the chosen pace."""
    lines: tuple[Line, ...] = ()

    @property
    def holds(self) -> bool:
        return all(line.holds for line in self.lines)


def row(summary: Summary) -> tuple[str, ...]:
    """Return the cells of a summary, in the order of COLUMNS."""
    return (
        f"{summary.openings_alone:.1f}",
        f"{summary.openings_added:.1f}",
        f"{summary.shed_added:.1f}",
        f"{summary.full_minutes_added:.1f}",
        minutes(summary.makespan),
        minutes(summary.slowest),
        minutes(summary.rests),
        str(summary.without_verdict),
        str(summary.artists_missing),
        f"{summary.p95:.2f} s ({summary.p95_alone:.2f})",
    )


def minutes(seconds: float) -> str:
    """Return a time as tables show it: seconds below two minutes."""
    return f"{seconds:.0f} s" if seconds < 2 * MINUTE else f"{seconds / MINUTE:.0f} min"


def tables(report: Report) -> Iterator[tuple[str, tuple[str, ...], list[tuple[str, ...]]]]:
    """Yield title, head and rows of each table: the chosen pace, every way to pace, warm days, and the lines."""
    chosen = [
        (name, *row(beside.policies[report.chosen]), "" if beside.clairvoyant is None else minutes(beside.clairvoyant))
        for name, beside in report.patterns.items()
        if report.chosen in beside.policies
    ]
    if chosen:
        yield f"Cold days at {report.chosen}", ("readers a minute", *COLUMNS, "a clairvoyant"), chosen
    ways = next(iter(report.patterns.values())).policies if report.patterns else {}
    if len(ways) > 1:
        trade = [
            (
                name,
                *(
                    f"{beside.policies[way].openings_added:.1f} / {beside.policies[way].shed_added:.0f} / "
                    f"{minutes(beside.policies[way].makespan)}"
                    for way in ways
                ),
            )
            for name, beside in report.patterns.items()
        ]
        yield "Every way to pace: openings added / DJ calls shed / makespan", ("readers a minute", *ways), trade
    if report.warm:
        warm = [(f"{percent} %", *row(summary)) for percent, summary in report.warm.items()]
        yield f"Warm days, 20 readers a minute in fives, {report.chosen}", ("warm", *COLUMNS), warm
    if report.lines:
        yield "What has to hold", ("line", "measured", "limit", ""), [line_cells(line) for line in report.lines]


def markdown(report: Report) -> Iterator[str]:
    """Yield the tables for docs/load-test.md."""
    origin = report.origin
    yield f"{report.days}. {origin.when}, commit {origin.commit}, {origin.machine}, Python {origin.python}."
    for title, head, rows in tables(report):
        yield ""
        yield f"### {title}"
        yield ""
        yield from _table(head, rows)


def line_cells(line: Line) -> tuple[str, str, str, str]:
    """Return a line as cells: what, measured, limit, and whether it holds."""
    unit = f" {line.unit}" if line.unit else ""
    error = f" ± {line.error:.2g}" if line.error else ""
    limit = "reported" if line.limit is None else f"{line.limit:,.6g}{unit}"
    return line.what, f"{line.measured:,.4g}{error}{unit}", limit, "holds" if line.holds else "**broken**"


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> Iterator[str]:
    for cells in (head, ["---"] * len(head), *rows):
        yield f"| {' | '.join(cells)} |"
