"""A run's life beside its messages: lock, stop, close, and the report of its totals (docs/design/ledger.md)."""

from datetime import datetime, timedelta
from itertools import islice
from typing import TYPE_CHECKING, Final, Literal

import msgspec

from core.aws.queues import SEND_BATCH, RefreshQueue
from core.clock import Clock
from core.runs.ledger import Ledger, Lock, Messages, Run, Runs

if TYPE_CHECKING:
    from core.telemetry import Telemetry

LEAST_VERDICTS: Final = 100
"""Verdicts before a share of errors may stop a run."""
PLANNING_LIMIT: Final = timedelta(hours=1)
"""Age at which a run in `planning` is given up: Lambda and the schedule try a start for an hour."""


class RunLifecycle(msgspec.Struct, frozen=True):
    """Locks, stops, closes and reports runs; any invocation may do each of these."""

    ledger: Ledger
    telemetry: "Telemetry"
    clock: Clock

    @property
    def runs(self) -> Runs:
        return self.ledger.runs

    @property
    def lock(self) -> Lock:
        return self.ledger.lock

    def take_lock(self, run_id: str, *, force: bool) -> str | None:
        """Take or renew the lock for a full run; returns the live holder that is in the way, None when it is ours.

        A holder whose lease has run out, or that has ended, or that `force` overrides, is finalised first.
        """
        while not self.lock.acquire(run_id, self.clock.utc()):
            holder = self.lock.holder(self.clock.utc())
            if holder is None:
                continue
            other = self.runs.read(holder.run_id)
            ended = other is None or not (other.is_open or other.status == "planning")
            if holder.is_live and not ended and not force:
                return holder.run_id
            if other is not None and not ended:
                # Ended by a person, a run that was never planned stays ended; one that died may be started again.
                self.finalise(other, f"its lock went to {run_id}", unplanned="stopped" if holder.is_live else "failed")
            self.lock.acquire(run_id, self.clock.utc(), instead_of=holder.run_id)
        return None

    def renew_lock(self, run_id: str) -> None:
        """Extend the lease of a run that holds the lock."""
        self.lock.renew(run_id, self.clock.utc())

    def finalise(self, run: Run, reason: str, *, unplanned: Literal["stopped", "failed"] = "stopped") -> None:
        """End a run with what it has, and report it; `unplanned` is what one becomes that has sent nothing."""
        ended = finalise(self.ledger, self.clock, run, reason, unplanned=unplanned)
        if ended is not None:
            self.report(ended)

    def end_unplanned(self, run: Run, status: Literal["refused", "failed"], reason: str) -> None:
        """End a run that its own start could not plan: nothing was sent, the lock is freed, the check-in closed."""
        self.runs.end_unplanned(run, status, reason, self.lock, self.clock.utc())
        ended = self.runs.read(run.run_id)
        if ended is not None and ended.planner == run.planner:
            self.report(ended)

    def take_up_unsent(self, queue: RefreshQueue, *, but_for: str) -> None:
        """Find the starts that died: send what is left of their runs, or end them where nothing was planned."""
        runs = self.runs
        for run_id in list(runs.unsent()):
            run = None if run_id == but_for else runs.read(run_id)
            if run is not None and run.is_unsent:
                self.telemetry.warning("plan", f"the start of run {run_id} died: its messages are sent now")
                send_unsent(self.ledger, queue, self.clock, run)
                self.close_if_done(run_id)
            elif run is not None and is_abandoned(run, self.clock):
                self.finalise(run, "its start died while it was planned", unplanned="failed")
            if run is not None and not run.may_be_planned:
                runs.forget_unsent(run_id)

    def stop(self, run_id: str, cause: str, reason: str) -> None:
        """Let a run come to its end without calling LML any more; one Sentry event for a run and cause."""
        if self.runs.stop(run_id, reason):
            self.telemetry.warning("stopping", reason, cause=cause)
        self.report_once(run_id, cause, f"rotation-artist-backfill stops early: {reason}")

    def report_once(self, run_id: str, cause: str, message: str) -> None:
        """Send a Sentry event unless this run has already sent one for the same cause."""
        if self.runs.mark_cause_reported(run_id, cause):
            self.telemetry.event(message, step="stopping", fingerprint=["rotation-artist-backfill", cause])

    def close_if_done(self, run_id: str, *, max_error_percent: int | None = None) -> None:
        """After a commit: stop a run that mostly fails, close one that is done, report what was not reported.

        A run whose every verdict failed is stopped however few they are: it never reads as a success.
        """
        run = self.runs.read(run_id)
        if run is None:
            return
        if run.goes_on and (reason := _too_many_errors(run, max_error_percent)) is not None:
            self.stop(run_id, "errors", reason)
            run = self.runs.read(run_id) or run
        if run.is_done:
            self.runs.close(run, self.lock, self.clock.utc())
            run = self.runs.read(run_id) or run
        self.report(run)

    def report(self, run: Run) -> bool:
        """Report a run that has ended and is not reported yet: its totals, if it was planned, and its check-in.

        False when another invocation is at it, and might die before it is done.
        """
        if not run.is_unreported:
            return True
        if not self.runs.claim_report(run.run_id, self.clock.utc()):
            return False
        completed = run.status == "complete"
        totals = msgspec.structs.asdict(run.totals)
        if run.is_planned:
            self.telemetry.report_totals(
                run.headers,
                run_id=run.run_id,
                trigger=run.trigger,
                dry_run=False,
                totals=totals,
                run_seconds=run.seconds,
                completed=completed,
            )
        if run.check_in_id is not None:
            self.telemetry.check_in_close(run.check_in_id, ok=completed, seconds=run.seconds)
        self.telemetry.info(
            "done",
            f"run {run.status}",
            planned=run.planned,
            seconds=run.seconds,
            **(totals if run.is_planned else {}),
        )
        self.telemetry.flush()
        self.runs.mark_reported(run.run_id, self.clock.utc())
        return True


class RunService:
    """What works on runs: it has the ledger, telemetry and clock of its `lifecycle`."""

    __slots__ = ()

    if TYPE_CHECKING:

        @property
        def lifecycle(self) -> RunLifecycle: ...

    @property
    def ledger(self) -> Ledger:
        return self.lifecycle.ledger

    @property
    def runs(self) -> Runs:
        return self.ledger.runs

    @property
    def messages(self) -> Messages:
        return self.ledger.messages

    @property
    def telemetry(self) -> "Telemetry":
        return self.lifecycle.telemetry

    @property
    def clock(self) -> Clock:
        return self.lifecycle.clock


def finalise(
    ledger: Ledger, clock: Clock, run: Run, reason: str, *, unplanned: Literal["stopped", "failed"] = "stopped"
) -> Run | None:
    """End a run with what it has, also while invocations work on it: what was not scanned is not attempted.

    `unplanned` is the status of one that has sent nothing: a stopped run is not started again, a failed one may be.
    """
    current: Run | None = run
    while current is not None and (current.is_open or current.status == "planning"):
        now = clock.utc()
        if current.is_open:
            ledger.runs.finalise(current, reason, ledger.lock, now)
        else:
            ledger.runs.end_unplanned(current, unplanned, reason, ledger.lock, now)
        current = ledger.runs.read(run.run_id)
    return current


def is_abandoned(run: Run, clock: Clock) -> bool:
    """True if nobody plans this run any more: its start died, and so did all that tried it again."""
    age = clock.utc() - datetime.fromisoformat(run.started_at)
    return run.status == "planning" and age > PLANNING_LIMIT


def send_unsent(ledger: Ledger, queue: RefreshQueue, clock: Clock, run: Run) -> None:
    """Send every message of a planned run that is not known to be in the queue, whoever has planned it.

    One that is in the queue twice does its work once.
    """
    unsent = (
        message.left
        for message in ledger.messages.all(run.run_id, run.messages_planned)
        if message.left is not None and message.next_part == 0 and message.sent_part < 0
    )
    while batch := list(islice(unsent, SEND_BATCH)):
        queue.send_all(batch, run.headers)
        ledger.messages.mark_sent(run.run_id, {message.message: 0 for message in batch})
    ledger.runs.finish_sending(run.run_id, clock.utc())


def _too_many_errors(run: Run, max_error_percent: int | None) -> str | None:
    """Return why a run must not go on or read as complete; None where it may."""
    failed, scanned = run.totals.lml_error, run.totals.identities_scanned
    if run.totals.all_failed and run.messages_done == run.messages_planned:
        return f"every verdict failed: {failed} of {scanned} identities"
    if max_error_percent is not None and scanned >= LEAST_VERDICTS and 100 * failed > max_error_percent * scanned:
        return f"{failed} of {scanned} identities failed, more than {max_error_percent} %"
    return None
