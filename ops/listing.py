"""`rotation list`: the runs of the last 30 days."""

from core.runs.ledger import Run
from ops.answer import BOLD, Answer, at_a_target
from ops.target import Target
from ops.watch import summary


@at_a_target
def list_runs(target: Target, *, limit: int) -> Answer:
    """List runs, the newest first."""
    begun = target.runs_begun()
    runs = [run for _, run_id in begun[:limit] if (run := target.ledger.runs.read(run_id))]
    lines = [line for run in runs for line in _lines(run)] or ["no run in 30 days: `rotation run` starts one"]
    if len(begun) > limit:
        lines.append(f"and {len(begun) - limit} older: `rotation list -n {len(begun)}`")
    return Answer(lines, {"runs": [summary(run) for run in runs], "older": max(0, len(begun) - limit)})


def _lines(run: Run) -> list[str]:
    """Return two lines of a run, that a terminal of 40 columns breaks at a space."""
    totals = run.totals
    origin = f", replays {run.origin}" if run.origin else ""
    counts = f"{totals.identities_scanned} of {run.planned} scanned"
    counts += f", {totals.lml_error} failed" if totals.lml_error else ""
    counts += f", {totals.not_attempted} not attempted" if totals.not_attempted else ""
    reason = f": {run.reason}" if run.reason else ""
    return [f"{BOLD(run.run_id)} {run.status}{reason}", f"  {run.started_at}, {run.trigger}{origin}; {counts}"]
