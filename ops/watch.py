"""A run as it goes on, read from the ledger alone: the same for the demo's cloud and for a real one."""

import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Final, Literal

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn

from core.budget import pacing
from core.budget.pacing import Pace
from core.clock import Clock, SystemClock
from core.runs.ledger import Ledger, Run
from core.runs.totals import TOTALS
from core.settings import Pacing
from ops.target import Target

POLL: Final = 0.25  # seconds; charges are forgotten after 150 paced ones
PATIENCE: Final = 60.0  # seconds until a started run must be in the ledger
LINE_EVERY: Final = 3.0  # seconds between two plain lines


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    """One look at a run; `seconds_left` is wall time."""

    run: Run
    asked: int | None
    """Ids handed to LML while it was watched and in the 2.5 min before; None where charges may be another run's."""
    calls_a_minute: float
    loop: Literal["open", "measured"]
    seconds_left: float | None

    @property
    def ids(self) -> int:
        """How many ids were asked, as far as is known; those of the parts that are committed at least."""
        return min(self.run.planned, max(_done(self.run), self.asked or 0))

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
            f"{self.calls_a_minute:.0f} calls/min",
            self.loop,
        )
        return ", ".join(filter(None, parts))


class Watcher:
    """Looks at one run, and remembers the charges that `PACE` forgets.

    A charge names no run: `alone` says that no other run is open, so that all since this one's start are its own.
    """

    def __init__(self, clock: Clock, limits: Pacing, *, alone: bool) -> None:
        self._clock = clock
        self._limits = limits
        self._alone = alone
        self._known_since = clock.pace() - pacing.MEMORY
        self._seen: dict[str, int] = {}

    def look(self, run: Run, pace: Pace) -> View:
        now = self._clock.pace()
        elapsed = max(0.0, (self._clock.utc() - datetime.fromisoformat(run.started_at)).total_seconds())
        since = max(self._known_since, now - elapsed * self._clock.speed)
        self._seen |= {charge.id: charge.ids for charge in pace.charges if charge.at >= since}
        room = pacing.room(pace, now, self._limits)
        asked = sum(self._seen.values()) if self._alone and run.is_open else None
        view = View(run=run, asked=asked, calls_a_minute=room.spent, loop=room.loop, seconds_left=None)
        to_ask = run.planned - view.ids
        if not (run.is_open and to_ask):
            return view
        if asked:
            return replace(view, seconds_left=to_ask * self._clock.wall(now - since) / asked)
        done = _done(run)
        return replace(view, seconds_left=to_ask * elapsed / done) if done else view


class NeverBegunError(Exception):
    """No run appeared in the ledger in time; fan-out's log says why."""


def watch(
    ledger: Ledger, run_id: str, clock: Clock, limits: Pacing, *, patience: float, alone: bool = True
) -> Iterator[View]:
    """Look at a run until it has ended and its totals are told; raises `NeverBegunError` after `patience` seconds."""
    began = time.monotonic()
    watcher = Watcher(clock, limits, alone=alone)
    while True:
        run = ledger.runs.read(run_id)
        waited = time.monotonic() - began
        if run is None and waited > patience:
            raise NeverBegunError(f"{run_id} is not in the ledger after {waited:.0f} s")
        if run is not None:
            pace, _ = ledger.pace.read_pace()
            yield watcher.look(run, pace)
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
    config, alone = target.refresh_settings(), target.is_alone(run_id)
    clock = SystemClock(config.clock_speed)
    views = watch(target.ledger, run_id, clock, config.pacing, patience=PATIENCE, alone=alone)
    return show(views, Console(stderr=True))


def _done(run: Run) -> int:
    return run.totals.identities_scanned + run.totals.not_attempted
