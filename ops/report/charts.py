"""The report's charts, as SVG text that the page holds: pygal draws, the page's own style sheet colours."""

from collections.abc import Sequence
from typing import Any, Final
from xml.etree import ElementTree as ET

import pygal
from markupsafe import Markup
from pygal.style import Style

from core.settings import Pacing
from ops.report import figures
from ops.report.figures import Part, Request

POINTS: Final = 240
"""Points across a line, and gaps that a time line can show: more than a phone has room for."""
_STYLE: Final = Style(
    font_family="inherit",
    label_font_size=15,
    major_label_font_size=15,
    legend_font_size=15,
    value_font_size=15,
    title_font_size=15,
)
_CONFIG: Final = {
    "style": _STYLE,
    "css": (),  # the page's
    "js": (),
    "width": 480,
    "height": 300,
    "margin": 8,
    "legend_at_bottom": True,
    "legend_box_size": 13,
    "max_scale": 6,
    "show_minor_y_labels": True,
    "truncate_legend": -1,
    "truncate_label": -1,
}


def verdicts(counts: Sequence[tuple[str, str, int]]) -> Markup:
    """Bars of (kind, its class in the style sheet, identities)."""
    chart = pygal.HorizontalBar(
        **_CONFIG | {"height": 40 + 34 * len(counts), "show_legend": False},
        print_values=True,
        print_values_position="top",
        formatter=lambda value: f"{value:,}" if value else "",
        value_formatter=_whole,
        show_x_labels=False,
        show_y_guides=False,
        range=(0, 1.12 * max(1, *(count for _, _, count in counts))),
    )
    upwards = list(reversed(counts))
    chart.x_labels = [kind for kind, _, _ in upwards]
    chart.add("", [{"value": count, "style": f"fill: var(--{colour})"} for _, colour, count in upwards])
    return _svg(chart, "Identities by verdict")


def pace(requests: Sequence[Request], limits: Pacing) -> Markup:
    """Discogs calls of the last 60 s over the run's minutes, against the budget and LML's limit."""
    line = [(time / 60, calls) for time, calls in figures.pace(requests, POINTS)]
    ends = (0.0, max(time for time, _ in line))
    highest = max(limits.rate_limit, *(calls for _, calls in line))
    chart = pygal.XY(
        **_CONFIG, show_dots=False, x_title="minutes", value_formatter=_whole, range=(0, 1.05 * highest), xrange=ends
    )
    chart.x_value_formatter = _whole
    chart.add("ours", line)
    chart.add(f"budget {limits.budget_max}", [(end, limits.budget_max) for end in ends])
    chart.add(f"unmeasured {limits.budget}", [(end, limits.budget) for end in ends])
    chart.add(f"LML's limit {limits.rate_limit}", [(end, limits.rate_limit) for end in ends])
    return _svg(chart, "Discogs calls a minute over the run")


def time_line(found: Sequence[Part]) -> Markup:
    """A row a slot: a part at work is faint where it waits and strong where a request is under way."""
    rows = figures.slots(found)
    last = max(part.end for part in found)
    grain = last / POINTS / 2
    chart = pygal.XY(
        **_CONFIG | {"height": 105 + 38 * len(rows)},
        show_dots=False,
        allow_interruptions=True,
        x_title="minutes",
        range=(0.4, len(rows) + 0.6),
        xrange=(0, last / 60),
        show_y_guides=False,
    )
    chart.x_value_formatter = _whole
    chart.y_labels = [{"value": number, "label": f"slot {number}"} for number in range(1, len(rows) + 1)]
    waiting, asking = list[Any](), list[Any]()
    for number, row in enumerate(rows, start=1):
        # A gap of its own between two parts, however short, so that they can be told apart.
        for start, end in ((part.start, max(part.start, part.end - grain)) for part in row):
            waiting += [(start / 60, number), (end / 60, number), None]
        spans = ((request.start, request.end) for part in row for request in part.requests)
        for start, end in figures.merged(spans, grain):
            asking += [(start / 60, number), (max(end, start + grain / 2) / 60, number), None]
    chart.add("waits", waiting)
    chart.add("asks LML", asking)
    return _svg(chart, "Slots, parts and waits")


def durations(requests: Sequence[Request]) -> Markup:
    """Bars of requests by their duration."""
    bars = figures.by_duration(requests)
    chart = pygal.Bar(
        **_CONFIG | {"show_legend": False},
        print_values=True,
        print_values_position="top",
        formatter=lambda value: f"{value:,}" if value else "",
        value_formatter=_whole,
        x_label_rotation=40,
        range=(0, 1.12 * max(count for _, count in bars)),
    )
    chart.x_labels = [label for label, _ in bars]
    chart.add("", [count for _, count in bars])
    return _svg(chart, "Requests to LML by duration")


def _whole(value: float) -> str:
    return f"{value:,.0f}"


def _svg(chart: Any, title: str) -> Markup:  # noqa: ANN401 - pygal has no types
    root = chart.render_tree()
    for parent in list(root.iter()):
        for child in list(parent):
            # Scripts, tool tips that need them, and comments stay out of the page.
            if not isinstance(child.tag, str) or child.tag in {"script", "desc"} or child.get("class") == "tooltip":
                parent.remove(child)
    root.set("role", "img")
    root.set("aria-label", title)
    return Markup(ET.tostring(root, encoding="unicode"))  # noqa: S704 - numbers and texts of this module, escaped
