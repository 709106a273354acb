"""The load test as one HTML page with its plots inside, and as SVG files."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

import pygal
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup
from pygal.style import Style

from local.lml.discogs import MINUTE, Call
from ops.drawing import svg
from ops.loadtest.measures import LML_LIMIT, percentile, rolling
from ops.loadtest.report import COLUMNS, Report, line_cells, row
from ops.loadtest.slots import Day
from ops.loadtest.sweep import MEASURED, open_loop

_POINTS: Final = 400
"""Points along a plot; more are not seen."""
_LIMIT, _OURS, _ALONE, _OTHER = "#b3261e", "#1f5fbf", "#b9bec6", "#c77700"
_GRID: Final = "#e3e6ea"
_FONT: Final = "system-ui, sans-serif"

Shown = dict[str, tuple[Day, Day]]
"""By policy, a day with the job and the same one without; measured room comes first."""


def write(directory: Path, report: Report, shown: Shown) -> Path:
    """Write the page and its plots into a directory; returns the page's path."""
    plots = {"calls": _calls(shown), "latency": _latency(shown)}
    if budgets := _budgets(report):
        plots["budgets"] = budgets
    directory.mkdir(parents=True, exist_ok=True)
    for name, plot in plots.items():
        (directory / f"{name}.svg").write_text(plot)
    templates = Environment(loader=PackageLoader("ops.loadtest", "."), autoescape=True, undefined=StrictUndefined)
    page = directory / "loadtest.html"
    page.write_text(
        templates.get_template("page.html").render(
            report=report,
            plots=list(plots.values()),
            columns=COLUMNS,
            rows=[row(name, summary) for name, summary in report.summaries.items()],
            chosen=MEASURED.name,
            lines=[(line_cells(line), line.holds) for line in report.lines],
        )
    )
    return page


def _calls(shown: Shown) -> Markup:
    days = {name: day for name, (day, _) in shown.items()}
    ends = (0.0, max(day.seconds for day in days.values()) / MINUTE)
    lines = {name: list(_by_minutes(day.calls, day.seconds)) for name, day in days.items()}
    chart = _chart(
        "Discogs calls in the last 60 seconds, all callers", "minutes since the start", _OURS, _OTHER, _LIMIT
    )
    for name, line in lines.items():
        chart.add(name, line)
    chart.add(f"LML's limit, {LML_LIMIT}", [(end, LML_LIMIT) for end in ends])
    return _svg(chart)


def _by_minutes(calls: Sequence[Call], seconds: float) -> Iterator[tuple[float, int]]:
    """Yield the most calls of each of many equal steps: what was above the limit stays visible."""
    step = seconds / _POINTS
    most, now, due = 0, 0, step
    for at, number in rolling(calls):
        while at > due and due <= seconds:
            yield due / MINUTE, most
            most, due = now, due + step
        now = number
        most = max(most, now)


def _latency(shown: Shown) -> Markup:
    _, alone = next(iter(shown.values()))
    chart = _chart("Seconds that readers wait", "percent of the readers wait no longer", _ALONE, _OURS, _OTHER)
    # Broad, since the job's line lies on it as long as all is well.
    chart.add("without the job", _percentiles(alone), stroke_style={"width": 7})
    for name, (day, _) in shown.items():
        chart.add(name, _percentiles(day))
    return _svg(chart)


def _percentiles(day: Day) -> list[tuple[int, float]]:
    waits = sorted(reading.seconds for reading in day.readings if reading.at <= day.seconds)
    return [(percent, percentile(waits, percent / 100)) for percent in range(100)]


def _budgets(report: Report) -> Markup | None:
    swept = [(budget, report.summaries.get(open_loop(budget).name)) for budget in range(1, 100)]
    line = [(budget, summary.seconds / MINUTE) for budget, summary in swept if summary is not None]
    measured = report.summaries.get(MEASURED.name)
    if len(line) < 2 or measured is None:
        return None
    chart = _chart("Makespan by open-loop budget, median in minutes", "calls a minute", _ALONE, _OURS, _LIMIT)
    chart.show_dots = True
    chart.add("open loop", line)
    chart.add(MEASURED.name, [(budget, measured.seconds / MINUTE) for budget in (line[0][0], line[-1][0])])
    return _svg(chart)


def _chart(title: str, x_title: str, *colours: str) -> Any:  # noqa: ANN401 - pygal has no types
    style = Style(
        background="transparent",
        plot_background="transparent",
        colors=colours,
        font_family=_FONT,
        title_font_family=_FONT,
        label_font_size=13,
        major_label_font_size=13,
        legend_font_size=14,
        title_font_size=17,
        guide_stroke_color=_GRID,
        major_guide_stroke_color=_GRID,
        guide_stroke_dasharray="0",
        major_guide_stroke_dasharray="0",
        opacity=1,
        stroke_width="1.8",
    )
    return pygal.XY(
        title=title,
        x_title=x_title,
        style=style,
        width=1000,
        height=380,
        js=(),
        show_dots=False,
        include_x_axis=True,
        legend_at_bottom=True,
        truncate_legend=-1,
        x_value_formatter=lambda value: f"{value:.0f}",
        value_formatter=lambda value: f"{value:.0f}",
    )


def _svg(chart: Any) -> Markup:  # noqa: ANN401 - pygal has no types
    chart.legend_at_bottom_columns = len(chart.raw_series)
    return svg(chart, chart.config.title)
