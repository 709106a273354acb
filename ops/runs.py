"""`rotation run`, `replay` and `stop`: what a person does to a run."""

import json
from collections.abc import Mapping, Sequence
from typing import Final

from core.aws.queues import RefreshQueue
from core.runs import lifecycle as lives
from core.runs import request
from core.runs.ledger import Run
from core.runs.plan import RefreshMessage
from core.runs.replay import still_open
from ops.answer import BOLD, Answer, at_a_target, sure
from ops.target import OperatorError, Target
from ops.watch import summary, watched

_DAYS_RUN: Final = "scheduled-"


@at_a_target
def run(
    target: Target, *, dry_run: bool, ids: tuple[int, ...] | None, force: bool, wait: bool, watch: bool, yes: bool
) -> Answer:
    """Start the day's full run, or one of some identities."""
    asked: dict[str, object] = {"dry_run": dry_run, "force": force}
    if ids:
        asked["identity_ids"] = ids
    elif not dry_run:
        today = _of_today(target)
        if force and (ended := _holder(target)) is not None:
            sure(f"Run {ended.run_id} is {ended.status}, and --force would end it. Start another one?", yes=yes)
        if not force and (today is None or today.may_be_planned):
            # Refused here as fan-out would refuse it, so that no error alarm goes off.
            other = _holder(target, live=True)
            if other is not None and (today is None or other.run_id != today.run_id):
                ends = f"`rotation stop {other.run_id}` ends it, and so does --force"
                raise OperatorError(f"run {other.run_id} is {other.status} and holds the lock; {ends}")
        asked["scheduled_time"] = today and _fired_at(today)
    return _started(target, asked, wait=wait and not dry_run, watch=watch and not dry_run)


@at_a_target
def replay(target: Target, run_id: str, *, without_artists: bool, wait: bool, watch: bool) -> Answer:
    """Ask again for the ids of a run that are still open, as a new run that names it."""
    still_open(target.ledger, run_id, without_artists=without_artists)  # refused here, so that no error alarm goes off
    return _started(target, {"replay_of": run_id, "without_artists": without_artists}, wait=wait, watch=watch)


@at_a_target
def stop(target: Target, run_id: str | None, *, now: bool, wait: bool) -> Answer:
    """Bring a run, by default the last one that goes on, to its end."""
    if run_id is None:
        run_id = next(iter(target.runs_open()), None)
        if run_id is None:
            raise OperatorError("no run goes on, so there is nothing to stop: `rotation list` shows those that ended")
    found, ledger, clock = target.run(run_id), target.ledger, target.clock()
    if found.closed_at is not None and not found.is_unreported:
        raise OperatorError(
            f"run {run_id} is {found.status} since {found.closed_at}, so there is nothing to stop: `rotation status "
            f"{run_id}` shows how it ended"
        )
    if now or found.status == "planning" or clock.utc().timestamp() >= found.deadline:
        ended = lives.finalise(ledger, clock, found, "ended by `rotation stop`") or found
    else:
        ledger.runs.stop(run_id, "stopped by `rotation stop`")
        ended = taken_up(target, target.run(run_id))
    if ended.is_unreported or ended.is_done:
        _wake(target, ended)
    if wait:
        ended = watched(target, run_id)
    return Answer([f"run {run_id} is {BOLD(ended.status)}", *_more(ended)], summary(ended), ok=ended.status != "failed")


def _of_today(target: Target) -> Run | None:
    """Return the full run of this day in UTC: the one that was started, before one that failed to."""
    day = f"{_DAYS_RUN}{target.clock().utc().date()}"
    ids = [run_id for _, run_id in target.runs_begun() if run_id.startswith(day)]
    return min(filter(None, map(target.ledger.runs.read, ids)), key=lambda run: run.may_be_planned, default=None)


def _fired_at(run: Run) -> str | None:
    """Return the time that the schedule gave a run, for a start of the same one; None where it is the day's alone."""
    fired = run.run_id.removeprefix(_DAYS_RUN)
    return fired if "T" in fired else None


def _holder(target: Target, *, live: bool = False) -> Run | None:
    """Return the run that holds the lock and has not ended; with `live` only while its lease runs."""
    holder = target.ledger.lock.holder(target.clock().utc())
    if holder is None or (live and not holder.is_live):
        return None
    run = target.ledger.runs.read(holder.run_id)
    return run if run is not None and run.closed_at is None else None


def _started(target: Target, asked: Mapping[str, object], *, wait: bool, watch: bool) -> Answer:
    """Invoke fan-out and return its answer; a start that is refused or already done is not ok."""
    outcome = invoke(target, {name: value for name, value in asked.items() if value})
    words = ", ".join(f"{name} {value}" for name, value in outcome.items() if name not in {"outcome", "hint"})
    lines = [f"{BOLD(outcome['outcome'])}: {words}"]
    if "hint" in outcome:
        lines.append(str(outcome["hint"]))
    if outcome["outcome"] not in {"started", "dry_run"}:
        return Answer(lines, outcome, ok=False)
    if not (wait or watch):
        return Answer(lines, outcome)
    ended = watched(target, str(outcome["run_id"]), as_page=watch, first=lines)
    return Answer(
        [f"run {ended.run_id} is {BOLD(ended.status)}", *_more(ended)],
        summary(ended),
        ok=ended.status == "complete",
    )


def invoke(target: Target, event: object) -> dict[str, object]:
    """Start through fan-out and wait for its answer; raises StartError, or OperatorError with what it raised."""
    request.read_start(event)  # refused here, so that no error alarm goes off
    functions = target.client("lambda")
    try:
        answer = functions.invoke(FunctionName=target.names["FanOutFunction"], Payload=json.dumps(event))
    except functions.exceptions.TooManyRequestsException:
        raise OperatorError("fan-out is at work on another start; try again in a minute") from None
    outcome: dict[str, object] = json.loads(answer["Payload"].read())
    if "FunctionError" in answer:
        raise OperatorError(
            f"{outcome.get('errorMessage') or 'fan-out failed without a word'}\n`rotation logs --level error` shows "
            "what fan-out logged"
        )
    return outcome


def taken_up(target: Target, run: Run) -> Run:
    """Do what the start of a run has left undone when it died: send its messages, or end it where it has no plan.

    Returns the run as it is then. The refresh function closes and reports it.
    """
    if run.is_unsent:
        lives.send_unsent(target.ledger, _queue(target), target.clock(), run)
    elif run.status == "planning" and lives.is_abandoned(run, clock := target.clock()):
        lives.finalise(target.ledger, clock, run, "its start died while it was planned", unplanned="failed")
    else:
        return run
    run = target.run(run.run_id)
    if run.is_unreported or run.is_done:
        _wake(target, run)
    return run


def _wake(target: Target, run: Run) -> None:
    """Send the refresh function a message of a run that is over, so that it closes and reports the run."""
    first = next(target.ledger.messages.all(run.run_id, run.messages_planned), None)
    ids = (1,) if first is None else first.planned  # they are not used
    _queue(target).send(RefreshMessage(version=1, run_id=run.run_id, identity_ids=ids), run.headers, delay=0)


def _queue(target: Target) -> RefreshQueue:
    return RefreshQueue(target.client("sqs"), target.names["RefreshQueue"])


def _more(run: Run) -> Sequence[str]:
    if run.closed_at is None:
        return [f"`rotation status {run.run_id} --follow` shows the rest"]
    scanned, failed, left = run.totals.identities_scanned, run.totals.lml_error, run.totals.not_attempted
    reason = [run.reason] if run.reason else []
    return [*reason, f"{scanned} of {run.planned} scanned, {failed} failed, {left} not attempted"]
