"""Runs as the ledger and the logs tell of them."""

from core.budget.pacing import Pace
from core.rotation.table import RotationRow
from core.runs.ledger import Message, Run
from core.runs.totals import Totals
from core.settings import Pacing
from ops.report.material import Material
from ops.snapshot import Snapshot
from ops.watch import View

RUN_ID = "scheduled-2026-02-03T04:30:00Z"
BEGAN = 1_770_093_000.0  # unix seconds of 2026-02-03T04:30:00Z


def delivery(message=0, part=0, *, after=0.0, requests=((1.0, 2.0, 4.0),), speed=1.0, spare=0.0, **more):
    """Return the log lines of one delivery; `requests` are (waited, took, calls), `after` is wall seconds."""
    waits, took, calls = zip(*requests, strict=True)
    busy = (sum(waits) + sum(took) + spare) / speed
    facts = {"run_id": RUN_ID, "message": message, "part": part, "began": BEGAN + after}
    metrics = {
        "PacingWaitMillis": [1000 * wait for wait in waits],
        "LmlRequestMillis": [1000 * one for one in took],
        "DiscogsCallsEstimated": list(calls),
    }
    return {**facts, **metrics, "_aws": {"Timestamp": round(1000 * (BEGAN + after + busy))}, **more}


def run(status="complete", planned=4, **changes):
    totals = Totals(identities_scanned=planned, identities_resolved=planned, warmed_releases=planned, lml_requests=1)
    closed = None if status in {"running", "planning"} else "2026-02-03T05:08:20Z"
    facts = {
        "run_id": RUN_ID,
        "status": status,
        "trigger": "scheduled",
        "started_at": "2026-02-03T04:30:00Z",
        "deadline": 0,
        "planner": "request",
        "planned": planned,
        "messages_planned": 1,
        "messages_done": 1,
        "totals": totals,
        "closed_at": closed,
        "emitted_at": closed,
    }
    return Run(**(facts | changes))


def message(planned=(1, 2, 3, 4), not_found=(), failed=None, number=0):
    return Message(
        run_id=RUN_ID,
        number=number,
        planned=tuple(planned),
        next_part=1,
        sent_part=0,
        left=None,
        not_found=tuple(not_found),
        failed=failed or {},
    )


def row(identity, artist="Artist", title="Title", rotation=7):
    return RotationRow(rotation, "H", artist, title, identity)


def snapshot(**changes):
    """Return a look at a run: the fields of View and Snapshot by name."""
    taken = changes.pop("run", None) or run()
    view = {name: changes.pop(name) for name in ("rests", "seconds_left", "trouble", "under_way") if name in changes}
    facts = {
        "at": "2026-02-03T05:10:00.000Z",
        "view": View(**{"run": taken, "rests": None, "seconds_left": None} | view),
        "messages": [message()],
        "pace": Pace(),
        "budget": Pacing().budget,
        "speed": 1.0,
        "letters": {"parked": 0, "dead": 0, "start": 0},
    }
    return Snapshot(**(facts | changes))


def material(**changes):
    """Return what a whole page is made of: the fields of Material and, by name, those of its snapshot."""
    own = {name: changes.pop(name) for name in ("whole", "rows", "lines", "earlier", "unknown") if name in changes}
    return Material(**{"seen": snapshot(**changes), "lines": [delivery()]} | own)
