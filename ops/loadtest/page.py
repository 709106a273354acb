"""The load test as one HTML page with its plots inside, and as SVG files."""

from pathlib import Path
from typing import Any, Final

import pygal
from markupsafe import Markup
from pygal.style import Style

from local.lml.records import MINUTE
from ops.drawing import svg
from ops.loadtest.report import MeasuredBeside, Report, tables
from ops.pages import PAGES

_STYLE: Final = Style(font_family="inherit", label_font_size=15, major_label_font_size=15, legend_font_size=15)
_TOP: Final = 20.0
"""Openings added that a plot shows; what is above lies on its edge."""


def write(directory: Path, report: Report) -> Path:
    """Write the page and its plots into a directory; returns the page's path."""
    drawn = plots(report)
    directory.mkdir(parents=True, exist_ok=True)
    for name, plot in drawn.items():
        (directory / f"{name}.svg").write_text(plot)
    page = directory / "loadtest.html"
    broken = sum(not line.holds for line in report.lines)
    page.write_text(
        PAGES.get_template("loadtest/page.html").render(
            report=report, plots=drawn, tables=list(tables(report)), broken=broken
        )
    )
    return page


def plots(report: Report) -> dict[str, Markup]:
    """Draw openings added against makespan, a line a pattern through its paces; four patterns a plot."""
    drawn = {}
    lines = [(name, beside) for name, beside in report.patterns.items() if len(_points(beside, report.chosen)) > 1]
    for number, first in enumerate(range(0, len(lines), 4), start=1):
        drawn[f"trade-off-{number}"] = _trade_off(dict(lines[first : first + 4]), report.chosen)
    return drawn


def _trade_off(patterns: dict[str, MeasuredBeside], chosen: str) -> Markup:
    chart = pygal.XY(
        style=_STYLE,
        css=(),  # the page's
        js=(),
        width=420,
        height=360,
        margin=8,
        margin_bottom=26,
        x_title="makespan, minutes",
        y_title="openings added",
        legend_at_bottom=True,
        legend_at_bottom_columns=1,
        legend_box_size=13,
        truncate_legend=-1,
        max_scale=6,
        dots_size=3,
        x_value_formatter=lambda value: f"{value:.0f}",
        value_formatter=lambda value: f"{value:.0f}",
        range=(0, max(1.0, *(y for beside in patterns.values() for _, y, _ in _points(beside, chosen)))),
    )
    for name, beside in patterns.items():
        points: list[Any] = [
            {"value": (x, y), "node": {"r": 7 if is_chosen else 3}} for x, y, is_chosen in _points(beside, chosen)
        ]
        chart.add(name, points)
    label = f"Openings added against makespan, each dot a pace; the large one is {chosen}: {', '.join(patterns)}"
    return svg(chart, label, styled=False)


def _points(beside: MeasuredBeside, chosen: str) -> list[tuple[float, float, bool]]:
    """Return makespan in minutes, openings added, and whether it is the chosen pace, from the slowest pace on."""
    paced = {name: summary for name, summary in beside.policies.items() if name.endswith(" a minute")}
    return [
        (paced[name].makespan / MINUTE, min(_TOP, max(0.0, paced[name].openings_added)), name == chosen)
        for name in sorted(paced, key=lambda name: int(name.split()[0]))
    ]
