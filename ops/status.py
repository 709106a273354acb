"""`rotation status`: how a run is getting on, from the ledger alone."""

from collections.abc import Iterator

from ops.answer import BOLD, Answer, at_a_target
from ops.beside import ELAPSED
from ops.snapshot import REASONS_SHOWN, Snapshot, take
from ops.target import Target
from ops.watch import watched


@at_a_target
def status(target: Target, *, run_id: str | None, follow: bool, watch: bool) -> Answer:
    """Look at a run, the last one by default; what a dead start has left unsent is sent."""
    run = target.run(run_id)
    if run.closed_at is None:
        from ops.runs import taken_up  # noqa: PLC0415 - 0.03 s that a look at a run that has ended need not wait

        run = taken_up(target, run)
    if (follow or watch) and run.closed_at is None:
        run = watched(target, run.run_id, as_page=watch)
    seen = take(target, run)
    return Answer(list(lines(seen)), seen.data(), ok=not (follow or watch) or run.status == "complete")


def lines(seen: Snapshot) -> Iterator[str]:
    run, view, totals = seen.run, seen.view, seen.view.totals
    origin = f", replays {run.origin}" if run.origin else ""
    yield f"run {run.run_id} ({run.trigger}{origin}) is {BOLD(run.status)}"
    if run.reason:
        yield f"  {run.reason}"
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
            yield f"  {view.rests}"
        if view.trouble is not None:
            yield f"  {view.trouble}"
    yield from (f"  {rested}" for rested in totals.rested)
    yield from _calls(seen)
    if totals.warmed_without_artists:
        again = f"`rotation replay {run.run_id}{seen.options} --without-artists` asks again"
        yield f"  {totals.warmed_without_artists} releases came without artists; {again}"
    for reason, ids in seen.reasons[:REASONS_SHOWN]:
        yield f"  {len(ids)} failed: {reason}"
    yield from (f"  not known: {source} ({why})" for source, why in seen.unknown.items())
    for step in seen.todo:
        yield BOLD(step.text) + (f" `{step.command}`" if step.command else "")


def _calls(seen: Snapshot) -> Iterator[str]:
    counted = seen.view.totals.discogs_calls_estimated
    if counted:
        yield f"  about {counted} Discogs calls, an estimate by the time that answers took"
    if seen.beside is not None:
        yield f"  LML made {seen.beside.ours} Discogs calls for it"
    if counted and seen.speed != 1:
        yield f"  with a clock {seen.speed:g} times faster, the time of an answer is evidence of {ELAPSED}"
