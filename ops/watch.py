"""A run as it goes on, read from the ledger alone: the same for the demo's cloud and for a real one."""

import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Final

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn

from core.budget.pacing import Pace
from core.clock import Clock
from core.runs.ledger import Ledger, Run
from core.runs.totals import TOTALS
from ops.target import Target

POLL: Final = 0.25  # seconds
PATIENCE: Final = 60.0  # seconds until a started run must be in the ledger
LINE_EVERY: Final = 3.0  # seconds between two plain lines


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    """One look at a run; `seconds_left` is wall time."""

    run: Run
    rests: str | None
    """Why nothing is sent now, and for how long."""
    seconds_left: float | None

    @property
    def ids(self) -> int:
        """How many ids are done, of the parts that are committed."""
        return self.run.totals.identities_scanned + self.run.totals.not_attempted

    @property
    def left(self) -> str | None:
        """The estimate in words."""
        seconds = self.seconds_left
        if seconds is None:
            return None
        return f"{seconds:.0f} s left" if seconds < 100 else f"{seconds / 60:.0f} min left"

    def __str__(self) -> str:
        """Tell it in less than the rest of an 80 column line, what matters most first."""
        run = self.run
        parts = (
            run.status if run.status != "running" else None,
            f"{self.ids}/{run.planned} ids",
            self.left,
            f"{run.messages_done}/{run.messages_planned} messages",
            "rests" if self.rests else None,
        )
        return ", ".join(filter(None, parts))


def look(run: Run, pace: Pace, clock: Clock) -> View:
    """Look at a run: what is left takes as long for each id as what is done."""
    rests = pace.says(clock.pace()) if run.is_open else None
    view = View(run=run, rests=rests, seconds_left=None)
    if not (run.is_open and view.ids and run.planned > view.ids):
        return view
    elapsed = max(0.0, (clock.utc() - datetime.fromisoformat(run.started_at)).total_seconds())
    return replace(view, seconds_left=(run.planned - view.ids) * elapsed / view.ids)


class NeverBegunError(Exception):
    """No run appeared in the ledger in time; fan-out's log says why."""


def watch(ledger: Ledger, run_id: str, clock: Clock, *, patience: float) -> Iterator[View]:
    """Look at a run until it has ended and its totals are told; raises `NeverBegunError` after `patience` seconds."""
    began = time.monotonic()
    while True:
        run = ledger.runs.read(run_id)
        waited = time.monotonic() - began
        if run is None and waited > patience:
            raise NeverBegunError(f"{run_id} is not in the ledger after {waited:.0f} s")
        if run is not None:
            pace, _ = ledger.pace.read_pace()
            yield look(run, pace, clock)
            if run.emitted_at is not None or run.status in {"refused", "failed"}:
                return
        time.sleep(POLL)


def show(views: Iterator[View], console: Console) -> Run:
    """Show every look until the last, as a bar on a terminal and a plain line every few seconds elsewhere."""
    if not console.is_terminal:
        return _show_lines(views, console)
    with Progress(BarColumn(10), TextColumn("{task.description}"), console=console, transient=True) as bar:
        task = bar.add_task("starting", total=None)
        for view in views:
            bar.update(task, description=str(view), total=view.run.planned or None, completed=view.ids)
    return view.run


def _show_lines(views: Iterator[View], console: Console) -> Run:
    told = time.monotonic()
    for view in views:
        if time.monotonic() - told >= LINE_EVERY:
            told = time.monotonic()
            console.print(str(view), highlight=False, soft_wrap=True)
    return view.run


def summary(run: Run) -> dict[str, object]:
    """What `--json` tells of a run."""
    about = ("run_id", "status", "trigger", "origin", "reason", "started_at", "closed_at", "planned")
    counts = ("messages_planned", "messages_done")
    totals = {name: getattr(run.totals, name) for name in TOTALS}
    return {name: getattr(run, name) for name in (*about, *counts)} | totals


def watched(target: Target, run_id: str) -> Run:
    """Show a run until it has ended."""
    views = watch(target.ledger, run_id, target.clock(), patience=PATIENCE)
    return show(views, Console(stderr=True))
