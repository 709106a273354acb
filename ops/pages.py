"""The HTML pages of `ops`: one style, nothing fetched, every text of others escaped."""

from typing import Final

from jinja2 import Environment, PackageLoader, StrictUndefined


def duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02} min" if hours else f"{minutes} min {rest:02} s" if minutes else f"{rest} s"


def percent(part: float, whole: float) -> str:
    return f"{100 * part / whole:.1f} %" if whole else "\u2013"


def _words(name: str) -> str:
    return name.replace("_", " ").replace("lml", "LML").replace("discogs", "Discogs")


def _moment(text: str) -> str:
    """A time of the ledger to the second."""
    return f"{text[:19].replace('T', ' ')} UTC"


PAGES: Final = Environment(
    loader=PackageLoader("ops", "."),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)
PAGES.filters |= {"duration": duration, "words": _words, "number": "{:,}".format, "moment": _moment}
PAGES.globals |= {"percent": percent}
