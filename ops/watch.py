"""The progress of a run, read from the ledger alone, so that it works for the demo's cloud and for a real one."""

import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace
from datetime import datetime
from typing import TYPE_CHECKING, Final

import msgspec

from core.budget.pacing import Pace
from core.clock import Clock
from core.runs.ledger import Ledger, Run
from core.runs.ledger import Progress as Noted
from core.runs.totals import TOTALS, Totals
from ops.answer import print_line
from ops.target import OperatorError, Target

if TYPE_CHECKING:
    from rich.console import Console

POLL: Final = 0.25  # seconds
PATIENCE: Final = 60.0  # seconds until a started run must be in the ledger
LINE_EVERY: Final = 3.0  # seconds between two plain lines
_NOTHING: Final = Totals()


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    """One look at a run; `seconds_left` is wall time."""

    run: Run
    rests: str | None
    """Why and for how long nothing is sent now; None at an ordinary pace."""
    seconds_left: float | None
    """An estimate: what is left takes as long for each id as what is done."""
    under_way: Totals = _NOTHING
    """Of the parts that are not in the run's totals yet."""
    trouble: str | None = None
    """What went wrong with the last request to LML, and since when it has not answered; None while it answers."""

    @property
    def totals(self) -> Totals:
        """The run's totals, and those of the parts under way."""
        return self.run.totals + self.under_way

    @property
    def scanned(self) -> int:
        """How many ids have a verdict."""
        return min(self.run.planned, self.totals.identities_scanned)

    @property
    def ids(self) -> int:
        """How many ids are done: with a verdict, or not attempted."""
        return min(self.run.planned, self.scanned + self.run.totals.not_attempted)

    def not_before(self, earlier: "View | None") -> "View":
        """Return this view, never behind an earlier one: a part just committed may be missing in both sources."""
        if earlier is None or self.scanned >= earlier.scanned or not self.run.is_open:
            return self
        kept = {name: max(0, getattr(earlier.totals, name) - getattr(self.run.totals, name)) for name in TOTALS}
        return replace(self, under_way=Totals(**kept))

    @property
    def left(self) -> str | None:
        """The estimate in words."""
        seconds = self.seconds_left
        if seconds is None:
            return None
        return f"about {seconds:.0f} s left" if seconds < 100 else f"about {seconds / 60:.0f} min left"

    def __str__(self) -> str:
        """The view in one line, what matters most first, short enough for a terminal of 80 columns."""
        run = self.run
        parts = (
            run.status if run.status != "running" else None,
            f"{self.ids}/{run.planned} ids",
            f"{self.totals.lml_error} failed" if self.totals.lml_error else None,
            self.left,
            f"{run.messages_done}/{run.messages_planned} messages",
            "rests" if self.rests else "LML fails" if self.trouble else None,
        )
        return ", ".join(filter(None, parts))


def look(run: Run, pace: Pace, clock: Clock, parts: Iterable[Noted] = ()) -> View:
    """Look at a run, of which these parts are under way."""
    if not run.is_open:
        return View(run=run, rests=None, seconds_left=None)
    noted = sorted(parts, key=lambda part: part.at)
    under_way = sum((part.totals for part in noted), _NOTHING)
    rests, trouble = pace.in_words(clock.pace()), _trouble(noted)
    view = View(run=run, rests=rests, seconds_left=None, under_way=under_way, trouble=trouble)
    if trouble or not 0 < view.ids < run.planned:
        return view
    elapsed = max(0.0, (clock.utc() - datetime.fromisoformat(run.started_at)).total_seconds())
    return replace(view, seconds_left=(run.planned - view.ids) * elapsed / view.ids)


def _trouble(noted: Sequence[Noted]) -> str | None:
    """Return what the newest request of all parts met, if that was no answer; `noted` are sorted by time."""
    if not noted or noted[-1].error is None:
        return None
    answered = max(part.answered_at or "" for part in noted)
    since = f"LML has not answered well since {answered[:19]}Z" if answered else "LML has not answered yet"
    return f"{since}: {noted[-1].error}"


class NeverBegunError(OperatorError):
    """No run appeared in the ledger in time; fan-out's log says why."""


def watch(ledger: Ledger, run_id: str, clock: Clock, *, patience: float) -> Iterator[View]:
    """Look at a run until it is reported; raises `NeverBegunError` where none appears in `patience` seconds."""
    began, view = time.monotonic(), None
    while True:
        run = ledger.runs.read(run_id)
        waited = time.monotonic() - began
        if run is None and waited > patience:
            raise NeverBegunError(
                f"{run_id} is not in the ledger after {waited:.0f} s: `rotation logs --level error` says why"
            )
        if run is not None:
            pace, _ = ledger.pace.read_pace()
            view = look(run, pace, clock, ledger.progress.all(run_id)).not_before(view)
            yield view
            if run.emitted_at is not None or run.status in {"refused", "failed"}:
                return
        time.sleep(POLL)


def show(views: Iterator[View], console: "Console") -> Run:
    """Show every look until the last, as a bar on a terminal and a plain line every few seconds elsewhere."""
    if not console.is_terminal:
        return _show_lines(views, console)
    from rich.progress import BarColumn, Progress, TextColumn  # noqa: PLC0415 - only a terminal has a bar

    with Progress(BarColumn(10), TextColumn("{task.description}"), console=console, transient=True) as bar:
        task = bar.add_task("starting", total=None)
        last_trouble = None
        for view in views:
            if view.trouble and view.trouble != last_trouble:
                bar.console.print(view.trouble, markup=False, highlight=False, soft_wrap=True)
            last_trouble = view.trouble
            bar.update(task, description=str(view), total=view.run.planned or None, completed=view.ids)
    return view.run


def _show_lines(views: Iterator[View], console: "Console") -> Run:
    shown, reason = time.monotonic(), None
    for view in views:
        more = view.rests or view.trouble
        if time.monotonic() - shown >= LINE_EVERY:
            shown = time.monotonic()
            news = more if more != reason else None  # a reason that stays is shown once
            console.print(f"{view}: {news}" if news else str(view), markup=False, highlight=False, soft_wrap=True)
            reason = more
    return view.run


def summary(run: Run) -> dict[str, object]:
    """Return the JSON object of a run."""
    about = ("run_id", "status", "trigger", "origin", "reason", "started_at", "closed_at", "planned")
    counts = ("messages_planned", "messages_done")
    return {name: getattr(run, name) for name in (*about, *counts)} | msgspec.structs.asdict(run.totals)


def watched(target: Target, run_id: str, *, as_page: bool = False, first: Sequence[str] = ()) -> Run:
    """Show a run until it has ended, as a page too if that is wanted; who interrupts hears that the run goes on.

    `first` are lines to begin with.
    """
    from rich.console import Console  # noqa: PLC0415 - 0.05 s that a look at a run need not wait

    console = Console(stderr=True)
    try:
        for line in first:
            print_line(line, err=True)
        views = watch(target.ledger, run_id, target.clock(), patience=PATIENCE)
        with _page(target, run_id, console) if as_page else nullcontext():
            return show(views, console)
    except KeyboardInterrupt:
        console.print(f"run {run_id} goes on; `rotation stop {run_id}` ends it", highlight=False, soft_wrap=True)
        raise


@contextmanager
def _page(target: Target, run_id: str, console: "Console") -> Iterator[None]:
    from ops.report.live import served  # noqa: PLC0415 - a web server takes 0.3 s that others need not wait

    with served(target, run_id) as url:
        console.print(f"the run as a page: {url}", highlight=False, soft_wrap=True)
        yield
