"""A run as it goes on, read from the ledger alone: the same for the demo's cloud and for a real one."""

import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, Literal

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn

from core import pacing
from core.clock import Clock
from core.ledger import Ledger, Run
from core.settings import Pacing

POLL: Final = 0.25  # seconds; charges are forgotten after 150 paced ones
LINE_EVERY: Final = 3.0  # seconds between two plain lines


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    """One look at a run; `asked` counts ids handed to LML, again for each time, `seconds_left` is wall time."""

    run: Run
    asked: int
    calls_a_minute: float
    loop: Literal["open", "measured"]
    seconds_left: float | None

    def __str__(self) -> str:
        run = self.run
        left = "" if self.seconds_left is None else f", about {self.seconds_left:.0f} s left"
        return (
            f"{run.status}: messages {run.messages_done}/{run.messages_planned}, ids asked {self.asked}/{run.planned}, "
            f"{self.calls_a_minute:.0f} Discogs calls in the last minute ({self.loop} loop){left}"
        )


class NeverBegunError(Exception):
    """No run appeared in the ledger in time; fan-out's log says why."""


def watch(ledger: Ledger, run_id: str, clock: Clock, limits: Pacing, *, patience: float) -> Iterator[View]:
    """Look at a run until it has ended and its totals are told; raises `NeverBegunError` after `patience` seconds."""
    began = time.monotonic()
    seen: dict[str, int] = {}
    while True:
        run = ledger.runs.read(run_id)
        waited = time.monotonic() - began
        if run is None and waited > patience:
            raise NeverBegunError(f"{run_id} is not in the ledger after {waited:.0f} s")
        if run is not None:
            pace, _ = ledger.pace.read_pace()
            seen |= {charge.id: charge.ids for charge in pace.charges}
            room = pacing.room(pace, clock.pace(), limits)
            asked = sum(seen.values())
            left = max(0, run.planned - asked) * waited / asked if asked and run.is_open else None
            yield View(run=run, asked=asked, calls_a_minute=room.spent, loop=room.loop, seconds_left=left)
            if run.emitted_at is not None or run.status in {"refused", "failed"}:
                return
        time.sleep(POLL)


def show(views: Iterator[View], console: Console) -> Run:
    """Show every look until the last, as a bar on a terminal and a plain line every few seconds elsewhere."""
    if not console.is_terminal:
        return _show_lines(views, console)
    with Progress(TextColumn("{task.description}"), BarColumn(), console=console, transient=True) as bar:
        task = bar.add_task("starting", total=None)
        for view in views:
            bar.update(task, description=str(view), total=view.run.planned or None, completed=view.asked)
    return view.run


def _show_lines(views: Iterator[View], console: Console) -> Run:
    told = time.monotonic()
    for view in views:
        if time.monotonic() - told >= LINE_EVERY:
            told = time.monotonic()
            console.print(str(view), highlight=False, soft_wrap=True)
    return view.run
