"""`rotation status`: how a run is getting on, from the ledger alone."""

from collections import Counter
from collections.abc import Iterator
from typing import Final

from rich.markup import escape

from core.runs.ledger import Run
from ops import watch
from ops.answer import Answer, at_a_target
from ops.runs import taken_up
from ops.target import Target
from ops.watch import View, summary, watched

REASONS_SHOWN: Final = 5


@at_a_target
def status(target: Target, *, run_id: str | None, follow: bool) -> Answer:
    """Look at a run, the last one by default; what a dead start has left unsent is sent."""
    run = taken_up(target, target.run(run_id))
    if follow and run.closed_at is None:
        run = watched(target, run.run_id)
    view, why = look(target, run), _failures(target, run)
    return Answer(list(_lines(view, why)), _data(view, why), ok=not follow or run.status == "complete")


def look(target: Target, run: Run) -> View:
    """Return one look at a run."""
    if not run.is_open:
        return View(run=run, rests=None, seconds_left=None)
    pace, _ = target.ledger.pace.read_pace()
    return watch.look(run, pace, target.clock(), target.ledger.progress.all(run.run_id))


def _failures(target: Target, run: Run) -> Counter[str]:
    """Why ids failed, the most frequent reason first."""
    messages = target.ledger.messages.all(run.run_id, run.messages_planned)
    return Counter(reason for message in messages for reason in message.failed.values())


def _data(view: View, why: Counter[str]) -> dict[str, object]:
    left = None if view.seconds_left is None else round(view.seconds_left)
    return (
        summary(view.run)
        | {"seconds_left": left, "rests": view.rests, "verdicts": view.scanned, "trouble": view.trouble}
        | {"failures": dict(why.most_common(REASONS_SHOWN))}
    )


def _lines(view: View, why: Counter[str]) -> Iterator[str]:
    run, totals = view.run, view.run.totals
    origin = f", replays {run.origin}" if run.origin else ""
    yield f"run {run.run_id} ({run.trigger}{origin}) is [bold]{run.status}[/]"
    if run.reason:
        yield f"  {escape(run.reason)}"
    yield f"  began {run.started_at}" + (f", ended {run.closed_at}" if run.closed_at else "")
    yield (
        f"  {view.scanned} of {run.planned} ids done, "
        f"{run.messages_done} of {run.messages_planned} messages; "
        f"{totals.lml_error} failed, {totals.not_found} not found, {totals.not_attempted} not attempted"
    )
    if run.is_open:
        if view.left is not None:
            yield f"  {view.left}"
        if view.rests is not None:
            yield f"  {escape(view.rests)}"
        if view.trouble is not None:
            yield f"  {escape(view.trouble)}"
    yield from (f"  {rested}" for rested in totals.rested)
    if totals.warmed_without_artists:
        again = f"`rotation replay {run.run_id} --without-artists` asks again"
        yield f"  {totals.warmed_without_artists} releases came without artists; {again}"
    if run.is_unreported:
        yield f"  its totals are not told yet: `rotation stop {run.run_id}` has that done"
    for reason, count in why.most_common(REASONS_SHOWN):
        yield f"  {count} failed: {escape(reason)}"
