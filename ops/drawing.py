"""A pygal chart as SVG text that may stand in a page or a file: nothing in it runs or is fetched."""

from typing import Any
from xml.etree import ElementTree as ET

from markupsafe import Markup


def svg(chart: Any, label: str, *, styled: bool = True) -> Markup:  # noqa: ANN401 - pygal has no types
    """Return a chart without scripts, tool tips that need them, and comments; `label` is for those who cannot see it.

    Without `styled` it has no style of its own, and takes the page's.
    """
    left_out = {"script", "desc"} if styled else {"script", "desc", "style"}
    root = chart.render_tree()
    for parent in list(root.iter()):
        for child in list(parent):
            if not isinstance(child.tag, str) or child.tag in left_out or child.get("class") == "tooltip":
                parent.remove(child)
    root.set("role", "img")
    root.set("aria-label", label)
    return Markup(ET.tostring(root, encoding="unicode"))  # noqa: S704 - pygal escapes texts
