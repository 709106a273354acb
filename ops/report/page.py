"""One run as one HTML page: no scripts, nothing fetched, every text of others escaped."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from core.runs.ledger import Run
from core.runs.totals import TOTALS, UNWARMED, Totals
from ops.report import charts, figures
from ops.report.material import Material

TABLE_ROWS: Final = 500
"""Rows of a table; ids beyond them follow as numbers, so that a page stays under 1 MB whatever the run."""
_COLOURS: Final = {"warmed": "good", "not_found": "stale", "lml_error": "bad", "not_attempted": "faint"}
"""Of the page's style sheet, by total; what is not in it is idle."""


@dataclass(frozen=True, slots=True)
class Listed:
    """A line of the stale or failed ids: one for each rotation row, or one for an id whose rows are not known."""

    identity: int
    rotation: int | None = None
    rotation_bin: str = ""
    artist: str | None = None
    title: str | None = None
    reason: str = ""


def render(material: Material) -> str:
    """Return the page."""
    run, limits = material.run, material.limits
    found = figures.parts(material.lines, material.speed)
    requests = figures.requests_of(found)
    stale = [listed for identity in material.stale for listed in _listed(material, identity)]
    failed = [listed for identity, why in material.failed.items() for listed in _listed(material, identity, why)]
    return _PAGE.render(
        run=run,
        totals=[("planned", run.planned), *((name, getattr(run.totals, name)) for name in TOTALS)],
        kinds=kinds(run.totals),
        accounts=_accounts(run),
        charts=_charts(material, found, requests),
        parts=found,
        slots=len(figures.slots(found)),
        requests=requests,
        highest=max((calls for _, calls in figures.pace(requests, charts.POINTS)), default=0.0),
        troubles=figures.troubles(material.lines),
        reasons=Counter(material.failed.values()).most_common(TABLE_ROWS),
        stale_ids=material.stale,
        stale=stale[:TABLE_ROWS],
        stale_rest=_rest(material.stale, stale),
        failed_ids=list(material.failed),
        failed=failed[:TABLE_ROWS],
        failed_rest=_rest(list(material.failed), failed),
        earlier=material.earlier,
        limits=limits,
        speed=material.speed,
        unknown=material.unknown,
        beside=material.beside,
        most=TABLE_ROWS,
    )


def kinds(totals: Totals) -> list[tuple[str, str, int]]:
    """What became of the planned identities, each in one kind: (its words, its colour, how many)."""
    names = ("warmed", *UNWARMED, "lml_error", "not_attempted")
    return [(_words(name), _COLOURS.get(name, "idle"), getattr(totals, name)) for name in names]


def _accounts(run: Run) -> list[tuple[str, bool]]:
    totals = run.totals
    return [
        ("planned = scanned + not attempted", run.planned == totals.accounted),
        ("scanned = resolved + lml error", totals.balanced),
    ]


def _charts(
    material: Material, found: Sequence[figures.Part], requests: Sequence[figures.Request]
) -> dict[str, Markup]:
    drawn: dict[str, Markup] = {}
    if material.run.planned:
        drawn["verdicts"] = charts.bars("Identities by verdict", kinds(material.run.totals))
    if requests:
        drawn["pace"] = charts.pace(requests, material.limits)
        drawn["slots"] = charts.time_line(found)
        drawn["durations"] = charts.bars(
            "Requests to LML by duration", [(label, "ours", count) for label, count in figures.by_duration(requests)]
        )
    return drawn


def _listed(material: Material, identity: int, reason: str = "") -> list[Listed]:
    rows = material.rows.get(identity)
    if not rows:
        return [Listed(identity, reason=reason)]
    return [Listed(identity, row.id, row.rotation_bin, row.artist_name, row.album_title, reason) for row in rows]


def _rest(identity_ids: Sequence[int], listed: Sequence[Listed]) -> list[int]:
    """The ids that the table has no room for."""
    shown = {line.identity for line in listed[:TABLE_ROWS]}
    return [identity for identity in identity_ids if identity not in shown]


def duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02} min" if hours else f"{minutes} min {rest:02} s" if minutes else f"{rest} s"


def _words(name: str) -> str:
    return name.replace("_", " ").replace("lml", "LML").replace("discogs", "Discogs")


def _percent(part: float, whole: float) -> str:
    return f"{100 * part / whole:.1f} %" if whole else "\u2013"


_ENVIRONMENT: Final = Environment(
    loader=PackageLoader("ops.report", "."),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)
_ENVIRONMENT.filters |= {
    "duration": duration,
    "words": _words,
    "number": "{:,}".format,
    "days": lambda text: str(text).replace("T", " ").removesuffix("Z"),
}
_ENVIRONMENT.globals |= {"percent": _percent}
_PAGE: Final = _ENVIRONMENT.get_template("page.html")
