"""The report's charts, as SVG text that the page holds: pygal draws, the page's own style sheet colours."""

from collections.abc import Sequence
from typing import Any, Final

import pygal
from markupsafe import Markup
from pygal.style import Style

from ops.drawing import svg
from ops.report import figures
from ops.report.figures import DrawnPart, DrawnRequest

DISCOGS_LIMIT: Final = 60
"""Calls that Discogs allows everybody who uses the station's token, in a moving minute (docs/design/lml.md)."""
POINTS: Final = 240
"""Points across a line, and gaps that a time line can show: more than a phone has room for."""
_STEPS: Final = (1, 2, 5, 10, 20, 30, 60, 120, 300, 600, 1200, 1800, 3600, 7200, 14_400)
"""Seconds between two labels of a time axis."""
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
    "width": 420,
    "height": 280,
    "margin": 8,
    "legend_at_bottom": True,
    "legend_box_size": 13,
    "max_scale": 6,
    "show_minor_y_labels": True,
    "truncate_legend": -1,
    "truncate_label": -1,
}


def bars(label: str, counts: Sequence[tuple[str, str, int]]) -> Markup:
    """Bars from the top down, of (name, its colour in the style sheet, count)."""
    chart = pygal.HorizontalBar(
        **_CONFIG | {"height": 30 + 30 * len(counts), "show_legend": False},
        print_values=True,
        print_values_position="top",
        formatter=_whole,
        show_x_labels=False,
        show_y_guides=False,
        range=(0, 1.25 * max(1, *(count for _, _, count in counts))),
    )
    upwards = list(reversed(counts))
    chart.x_labels = [name for name, _, _ in upwards]
    chart.add("", [{"value": count, "style": f"fill: var(--{colour})"} for _, colour, count in upwards])
    return svg(chart, label, styled=False)


def pace(requests: Sequence[DrawnRequest], budget: int) -> Markup:
    """Discogs calls of the last 60 s over the run's time, against the budget and what Discogs allows."""
    line = figures.pace(requests, POINTS)
    ends = (0.0, max(time for time, _ in line))
    highest = max(DISCOGS_LIMIT, *(calls for _, calls in line))
    chart = pygal.XY(**_CONFIG, show_dots=False, value_formatter=_whole, range=(0, 1.05 * highest), xrange=ends)
    chart.x_labels = _time_labels(ends[1])
    chart.add("ours", line)
    chart.add(f"budget {budget}", [(end, budget) for end in ends])
    chart.add(f"Discogs' limit {DISCOGS_LIMIT}", [(end, DISCOGS_LIMIT) for end in ends])
    return svg(chart, "Discogs calls a minute over the run", styled=False)


def time_line(found: Sequence[DrawnPart]) -> Markup:
    """A row a slot: a part at work is faint where it waits and strong where a request is under way."""
    rows = figures.slots(found)
    last = max(part.end for part in found)
    grain = last / POINTS / 2
    chart = pygal.XY(
        **_CONFIG | {"height": 80 + 46 * len(rows)},
        show_dots=False,
        allow_interruptions=True,
        range=(0.4, len(rows) + 0.6),
        xrange=(0, last),
        show_y_guides=False,
    )
    chart.x_labels = _time_labels(last)
    chart.y_labels = [{"value": number, "label": f"slot {number}"} for number in range(1, len(rows) + 1)]
    waiting, asking = list[Any](), list[Any]()
    for number, row in enumerate(rows, start=1):
        for part in row:
            # Parts follow each other at once: each ends a little early, so that they can be told apart.
            until = part.end - min(4 * grain, (part.end - part.start) / 5)
            waiting += [(part.start, number), (until, number), None]
            spans = ((one.start, min(one.end, until)) for one in part.requests if one.start < until)
            for start, end in figures.merged(spans, grain):
                asking += [(start, number), (max(end, start + grain / 2), number), None]
    chart.add("waits", waiting)
    chart.add("asks LML", asking)
    return svg(chart, "Slots, parts and waits", styled=False)


def _time_labels(last: float) -> list[dict[str, object]]:
    """Labels of a time axis that ends after `last` seconds: at most seven, in the unit that suits them."""
    step = next((step for step in _STEPS if last <= 6 * step), _STEPS[-1])
    unit, name = (1, "s") if step < 60 else (60, "min") if step < 3600 else (3600, "h")
    return [{"value": at, "label": f"{at // unit} {name}" if at else "0"} for at in range(0, int(last) + 1, step)]


def _whole(value: float) -> str:
    return f"{value:,.0f}"
