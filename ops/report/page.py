"""One run as one HTML page: as a file it has no script and fetches nothing; live, its one script receives updates."""

import base64
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import msgspec
from markupsafe import Markup

from core.runs.ledger import Run
from core.runs.totals import UNWARMED, Totals
from ops.beside import ELAPSED
from ops.pages import PAGES
from ops.report import charts, figures
from ops.report.material import Material
from ops.snapshot import Snapshot

TABLE_ROWS: Final = 500
"""Rows of a table; ids beyond them follow as numbers, so that a page stays under 1 MB whatever the run."""
FEW: Final = 20
"""Ids beside a reason; all are in the table below."""
REASONS: Final = 50
_COLOURS: Final = {"warmed": "good", "not_found": "stale", "lml_error": "bad", "not_attempted": "faint"}
"""Of the page's style sheet, by total; what is not in it is idle."""
_STILL: Final = "default-src 'none'; style-src 'unsafe-inline'"
_SCRIPT: Final = (Path(__file__).parent / "live.js").read_text(encoding="utf-8")
_DIGEST: Final = base64.b64encode(hashlib.sha256(_SCRIPT.encode()).digest()).decode()
_LIVE: Final = f"{_STILL}; script-src 'sha256-{_DIGEST}'; connect-src 'self'"
NO_RUN: Final = Markup(
    '<header id="top" class="wide watch"><h1>No run yet</h1></header><section id="now" class="wide watch">'
    '<h2>What to do now</h2><p class="step">Start one.</p><pre>rotation run</pre></section>'
)


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
    """Return the page as a file, without updates."""
    return _shell(title(material), content(material), seen=material.seen)


def render_live(title: str, content: str) -> str:
    """Return the page that updates itself, with the present state."""
    return _shell(title, content, script=Markup(_SCRIPT))  # noqa: S704 - our own file


def title(material: Material) -> str:
    """Return what a tab shows."""
    run, view = material.run, material.seen.view
    done = f"{view.ids}/{run.planned} " if run.is_open else ""
    return f"{done}{run.status}: {run.run_id}"


def content(material: Material) -> str:
    """Return what is inside the page: the state, what to do now, then the figures."""
    seen, run = material.seen, material.run
    found = figures.parts(material.lines, seen.speed)
    requests = figures.requests_of(found)
    stale = [listed for identity in seen.stale for listed in _listed(material, identity)]
    failed = [listed for identity, why in seen.failed.items() for listed in _listed(material, identity, why)]
    return PAGES.get_template("report/run.html").render(
        seen=seen,
        run=run,
        totals=msgspec.structs.asdict(seen.view.totals),
        kinds=kinds(seen.view.totals),
        accounts=_accounts(run),
        whole=material.whole,
        charts=_charts(seen.budget, found, requests),
        parts=found,
        requests=requests,
        highest=max((calls for _, calls in figures.pace(requests, charts.POINTS)), default=0.0),
        troubles=figures.troubles(material.lines)[:TABLE_ROWS],
        reasons=seen.reasons[:REASONS],
        few=FEW,
        elapsed=ELAPSED,
        stale=stale[:TABLE_ROWS],
        stale_rest=_rest(seen.stale, stale),
        failed=failed[:TABLE_ROWS],
        failed_rest=_rest(list(seen.failed), failed),
        earlier=material.earlier,
        unknown=material.unknown,
        most=TABLE_ROWS,
    )


def requests_in_logs(material: Material) -> int:
    """How many requests the functions' log lines tell of."""
    return len(figures.requests_of(figures.parts(material.lines, material.seen.speed)))


def kinds(totals: Totals) -> list[tuple[str, str, int]]:
    """What became of the planned identities, each in one kind: (total, its colour, how many)."""
    names = ("warmed", *UNWARMED, "lml_error", "not_attempted")
    return [(name, _COLOURS.get(name, "idle"), getattr(totals, name)) for name in names]


def _shell(title: str, content: str, *, script: Markup | None = None, seen: Snapshot | None = None) -> str:
    page = PAGES.get_template("report/page.html")
    inside = Markup(content)  # noqa: S704 - rendered above, where texts are escaped
    return page.render(title=title, content=inside, script=script, seen=seen, policy=_LIVE if script else _STILL)


def _accounts(run: Run) -> list[tuple[str, bool]]:
    totals = run.totals
    return [
        ("planned = scanned + not attempted", run.planned == totals.accounted),
        ("scanned = resolved + lml error", totals.balanced),
    ]


def _charts(
    budget: int, found: Sequence[figures.DrawnPart], requests: Sequence[figures.DrawnRequest]
) -> dict[str, Markup]:
    if not requests:
        return {}
    durations = [(label, "ours", count) for label, count in figures.by_duration(requests)]
    return {
        "pace": charts.pace(requests, budget),
        "slots": charts.time_line(found),
        "durations": charts.bars("Requests to LML by duration", durations),
    }


def _listed(material: Material, identity: int, reason: str = "") -> list[Listed]:
    rows = material.rows.get(identity)
    if not rows:
        return [Listed(identity, reason=reason)]
    return [Listed(identity, row.id, row.rotation_bin, row.artist_name, row.album_title, reason) for row in rows]


def _rest(identity_ids: Sequence[int], listed: Sequence[Listed]) -> list[int]:
    """The ids that the table has no room for."""
    shown = {line.identity for line in listed[:TABLE_ROWS]}
    return [identity for identity in identity_ids if identity not in shown]
