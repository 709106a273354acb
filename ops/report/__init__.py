"""`rotation report`: a run as one HTML page, readable from disk, on a phone, in dark mode and without scripts."""

from pathlib import Path
from typing import Final

from ops.answer import BOLD, Answer, at_a_target
from ops.output import write_whole
from ops.pages import duration
from ops.report.material import Material, gather
from ops.report.page import render
from ops.target import HOME, OperatorError, Target

__all__ = ["duration", "gather", "render", "report", "write_report"]

REPORTS: Final = HOME / "reports"


@at_a_target
def report(target: Target, *, run_id: str | None, output: Path | None) -> Answer:
    """Write a run's page, of the last run by default."""
    material = gather(target, run_id)
    path = write_report(material, output)
    run = material.run
    missing = [f"not in it: {source} ({why})" for source, why in material.unknown.items()]
    return Answer(
        [f"{BOLD(str(path))}: run {run.run_id}, {run.status}", *missing],
        {
            "report": str(path),
            "run_id": run.run_id,
            "status": run.status,
            "stale": material.seen.stale,
            "failed": list(material.seen.failed),
            "unknown": dict(material.unknown),
        },
    )


def write_report(material: Material, path: Path | None = None) -> Path:
    """Write a run's page, whole or not at all, and return its path; raises OperatorError."""
    chosen = path or REPORTS / f"{material.run.run_id.replace(':', '-')}.html"
    try:
        chosen.parent.mkdir(parents=True, exist_ok=True)
        write_whole(chosen, render(material).encode())
    except OSError as error:
        raise OperatorError(f"the report cannot be written: {error}; name another file by --output") from None
    return chosen.absolute()
