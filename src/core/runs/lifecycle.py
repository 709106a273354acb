"""A run's life beside its messages: lock, stop, close, and the telling of its totals (DESIGN §7)."""

from typing import Final

import msgspec

from core.clock import Clock
from core.runs.ledger import Ledger, Run
from core.telemetry import Telemetry

LEAST_VERDICTS: Final = 100
"""Verdicts before a share of errors may stop a run."""


class RunLifecycle(msgspec.Struct, frozen=True):
    """Brings runs to their end, whichever invocation happens to be the one that does it."""

    ledger: Ledger
    telemetry: Telemetry
    clock: Clock

    def take_lock(self, run_id: str, *, force: bool) -> str | None:
        """Take or renew the lock for a full run; returns the live holder that is in the way, None when it is ours.

        A holder whose lease has run out, or that has ended, or that `force` overrides, is finalised first.
        """
        while not self.ledger.lock.acquire(run_id, self.clock.utc()):
            holder = self.ledger.lock.holder(self.clock.utc())
            if holder is None:
                continue
            other = self.ledger.runs.read(holder.run_id)
            ended = other is None or not (other.is_open or other.status == "planning")
            if holder.is_live and not ended and not force:
                return holder.run_id
            if other is not None and not ended:
                self.finalise(other, f"its lock went to {run_id}")
            self.ledger.lock.acquire(run_id, self.clock.utc(), instead_of=holder.run_id)
        return None

    def finalise(self, run: Run, reason: str) -> None:
        """End a run with what it has, and tell its totals."""
        ended = finalise(self.ledger, self.clock, run, reason)
        if ended is not None:
            self.report(ended)

    def stop(self, run_id: str, cause: str, reason: str) -> None:
        """Let a run come to its end without calling LML any more; one Sentry event for a run and cause."""
        if self.ledger.runs.stop(run_id, reason):
            self.telemetry.warning("stopping", reason, cause=cause)
        self.report_once(run_id, cause, f"rotation-artist-backfill stops early: {reason}")

    def report_once(self, run_id: str, cause: str, message: str) -> None:
        """Send a Sentry event unless this run has already sent one for the same cause."""
        if self.ledger.runs.mark_cause_reported(run_id, cause):
            self.telemetry.event(message, step="stopping", fingerprint=["rotation-artist-backfill", cause])

    def close_if_done(self, run_id: str, *, max_error_percent: int | None = None) -> None:
        """After a commit: stop a run that mostly fails, close one that is done, tell totals that were not told."""
        run = self.ledger.runs.read(run_id)
        if run is None:
            return
        totals = run.totals
        if (
            max_error_percent is not None
            and run.goes_on
            and totals.identities_scanned >= LEAST_VERDICTS
            and 100 * totals.lml_error > max_error_percent * totals.identities_scanned
        ):
            share = f"{totals.lml_error} of {totals.identities_scanned} identities failed"
            self.stop(run_id, "errors", f"{share}, more than {max_error_percent} %")
            run = self.ledger.runs.read(run_id) or run
        if run.is_done:
            self.ledger.runs.close(run, self.ledger.lock, self.clock.utc())
            run = self.ledger.runs.read(run_id) or run
        self.report(run)

    def report(self, run: Run) -> bool:
        """Tell the totals of a run that has ended, unless they have been told: span, metrics and check-in.

        False when another invocation is at it, and might die before it is done.
        """
        if not run.is_unreported:
            return True
        if not self.ledger.runs.claim_report(run.run_id, self.clock.utc()):
            return False
        completed = run.status == "complete"
        totals = msgspec.structs.asdict(run.totals)
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
        self.telemetry.info("done", f"run {run.status}", planned=run.planned, seconds=run.seconds, **totals)
        self.telemetry.flush()
        self.ledger.runs.mark_reported(run.run_id, self.clock.utc())
        return True


def finalise(ledger: Ledger, clock: Clock, run: Run, reason: str) -> Run | None:
    """End a run with what it has, whoever is at work on it: what was not scanned is not attempted."""
    current: Run | None = run
    while current is not None and (current.is_open or current.status == "planning"):
        now = clock.utc()
        if current.is_open:
            ledger.runs.finalise(current, reason, ledger.lock, now)
        else:
            ledger.runs.end_unplanned(current, "failed", reason, now)
        current = ledger.runs.read(run.run_id)
    return current
