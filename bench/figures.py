"""What a measurement says: ours, a named baseline of the same run, their ratio with its spread, and the limit."""

import json
import sys
from argparse import ArgumentParser
from collections.abc import Callable, Iterable, Sequence
from statistics import median
from typing import Final

import msgspec
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

_WIDTH: Final = 116


class Figure(msgspec.Struct, frozen=True, kw_only=True):
    """A line of the table. Numbers are in `unit`; `low` and `high` are the least and the largest ratio of a pair."""

    what: str
    unit: str
    ours: float
    baseline: float | None = None
    against: str = ""
    """What the baseline is."""
    ratio: float | None = None
    low: float | None = None
    high: float | None = None
    limit: float | None = None
    """What `ratio`, or without one `ours`, must not exceed."""
    note: str = ""

    @property
    def ok(self) -> bool:
        return self.limit is None or (self.ours if self.ratio is None else self.ratio) <= self.limit


def compared(
    what: str,
    pairs: Sequence[tuple[float, float]],
    *,
    unit: str,
    against: str,
    limit: float | None = None,
    note: str = "",
) -> Figure:
    """Compare pairs (ours, baseline), measured in turns: the ratio of the medians, and the range of the pairs'."""
    ours, baseline = median(pair[0] for pair in pairs), median(pair[1] for pair in pairs)
    ratios = sorted(mine / theirs for mine, theirs in pairs)
    return Figure(
        what=what,
        unit=unit,
        ours=round(ours, 3),
        baseline=round(baseline, 3),
        against=against,
        ratio=round(ours / baseline, 3),
        low=round(ratios[0], 3),
        high=round(ratios[-1], 3),
        limit=limit,
        note=note,
    )


def table(figures: Iterable[Figure]) -> Table:
    lines = Table(box=SIMPLE_HEAD, show_edge=False, pad_edge=False)
    for heading in ("what", "ours", "baseline", "ratio", "pairs", "limit", ""):
        lines.add_column(heading, justify="left" if heading in {"what", ""} else "right", no_wrap=True)
    for figure in figures:
        lines.add_row(
            figure.what,
            f"{figure.ours:g} {figure.unit}",
            "" if figure.baseline is None else f"{figure.baseline:g}",
            "" if figure.ratio is None else f"{figure.ratio:.2f}",
            "" if figure.low is None else f"{figure.low:.2f}-{figure.high:.2f}",
            "" if figure.limit is None else f"{figure.limit:g}",
            "" if figure.limit is None else ("ok" if figure.ok else "[bold red]over[/]"),
        )
    return lines


def notes(figures: Iterable[Figure]) -> list[str]:
    """Say what each baseline is, once, and what else belongs to a line."""
    against = dict.fromkeys(f"baseline: {figure.against}" for figure in figures if figure.against)
    return [*against, *(f"{figure.what}: {figure.note}" for figure in figures if figure.note)]


Measure = Callable[[bool], list[Figure]]
"""A bench: takes whether it shall be quick."""


def run(name: str, description: str, measure: Measure) -> None:
    """Be the command of a bench: its table, or JSON; exit status 1 with `--check` where a limit is exceeded."""
    parser = ArgumentParser(prog=f"python -m {name}", description=description)
    parser.add_argument("--quick", action="store_true", help="tiny: shows that it works, its figures mean little")
    parser.add_argument("--json", action="store_true", help="print a JSON object")
    parser.add_argument("--check", action="store_true", help="exit 1 where a limit is exceeded")
    given = parser.parse_args()
    figures = measure(given.quick)
    if given.json:
        print(json.dumps({"figures": [msgspec.to_builtins(figure) | {"ok": figure.ok} for figure in figures]}))  # noqa: T201 - its answer
    else:
        console = Console()
        console.width = max(_WIDTH, console.width)  # a line of the table in one piece, also in a file
        console.print(table(figures))
        for line in notes(figures):
            console.print(line, highlight=False, soft_wrap=True, markup=False)
    sys.exit(given.check and not all(figure.ok for figure in figures))
