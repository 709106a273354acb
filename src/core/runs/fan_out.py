"""Starting a run: gate, lock, ids into the ledger, messages into the queue (DESIGN §§2, 7)."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from datetime import datetime, timedelta
from itertools import islice
from typing import Final, Literal

import msgspec
from msgspec.structs import asdict, replace

from core.aws.queues import SEND_BATCH, RefreshQueue
from core.lml.gate import Gate
from core.rotation.table import Coverage, DatabaseError, Rotation
from core.runs import request
from core.runs.ledger import Ledger, Run, Trigger
from core.runs.lifecycle import RunLifecycle
from core.runs.plan import RefreshMessage, batches
from core.runs.request import Start, StartError
from core.runs.totals import Totals
from core.utc import moment_text

LONGEST_RUN: Final = timedelta(hours=20)
"""Paced time after which what is left of a run is not attempted."""
Outcome = dict[str, object]
"""What a start answers: `outcome`, `run_id`, and numbers or a hint for the person who sent it."""


class RunRefusedError(Exception):
    """The deploy gate does not let the run start; its text is the gate's reason."""


class _Ids(msgspec.Struct, frozen=True):
    """Ascending ids to plan; `coverage` is known where they come from the rotation table."""

    ids: Iterable[int]
    coverage: Coverage | None = None


class FanOut(msgspec.Struct, frozen=True):
    """What the fan-out function works with, made once per environment."""

    lifecycle: RunLifecycle
    queue: RefreshQueue
    connect: Callable[[], AbstractContextManager[Rotation]]
    gate: Callable[[], Gate]
    batch_size: int

    def start(self, event: object, request_id: str) -> Outcome:
        """Start what an event asks for; the same run is started once however often it is asked for.

        Raises `StartError`, `RunRefusedError`, `DatabaseError`, or what AWS raises; a retry takes up where it failed.
        """
        asked = request.read_start(event)
        now, telemetry = self.lifecycle.clock.utc(), self.lifecycle.telemetry
        if asked.placeholder is not None:
            telemetry.warning(
                "init", "scheduled_time was not filled in: today stands in for it", value=asked.placeholder
            )
        given = left_of(self.lifecycle.ledger, asked.replay_of) if asked.replay_of else asked.identity_ids
        if asked.dry_run:
            return self._dry_run(given, request.manual_id(now))
        run_id, run = self._find(asked, request_id, now)
        telemetry.bind(run_id=run_id)
        if run is not None and run.may_be_sent:
            return self._send(run)
        if run is not None and not run.may_be_planned:
            self.lifecycle.close_if_done(run_id)
            return _already(self.lifecycle.ledger.runs.read(run_id) or run)
        return self._plan(asked, given, run_id, request_id, now)

    def _find(self, asked: Start, request_id: str, now: datetime) -> tuple[str, Run | None]:
        """Name the run that is asked for, and read it: a scheduled one by its time, a manual one by its invocation."""
        runs = self.lifecycle.ledger.runs
        if asked.is_full:
            run_id = asked.scheduled_id(now)
            run = runs.read(run_id)
            if run is None or run.may_be_planned or run.may_be_sent or not asked.force:
                return run_id, run
        run_id = runs.name_for(request_id, request.manual_id(now), now)
        return run_id, runs.read(run_id)

    def _plan(self, asked: Start, given: Sequence[int] | None, run_id: str, request_id: str, now: datetime) -> Outcome:
        lifecycle, telemetry = self.lifecycle, self.lifecycle.telemetry
        trigger: Trigger = "scheduled" if run_id.startswith("scheduled-") else "manual"
        with telemetry.run_span(run_id, trigger, dry_run=False) as headers:
            run = Run(
                run_id=run_id,
                status="planning",
                trigger=trigger,
                started_at=moment_text(now),
                deadline=int((now + LONGEST_RUN / lifecycle.clock.speed).timestamp()),
                planner=request_id,
                origin=asked.replay_of,
                locked=int(asked.is_full),
                headers=headers,
                check_in_id=telemetry.check_in_open(run_id) if trigger == "scheduled" else None,
            )
            if not lifecycle.ledger.runs.open(run):
                return _already(lifecycle.ledger.runs.read(run_id) or run)
            gate = self.gate()
            run = replace(run, gate_reason=gate.reason)
            telemetry.gate_span(allowed=gate.allowed, reason=gate.reason)
            telemetry.info("deploy_guard", gate.reason, allowed=gate.allowed)
            if not gate.allowed:
                self._refuse(run, gate.reason)
                raise RunRefusedError(gate.reason)
            if run.locked and (holder := lifecycle.take_lock(run_id, force=asked.force)) is not None:
                return self._refuse(run, f"run {holder} holds the lock; `rotation stop {holder}` ends it")
            with self._failing(run), self._ids(given) as found:
                messages, planned = lifecycle.ledger.messages.plan(self._messages(run_id, found.ids), now)
            self._tell_plan(planned, messages, found.coverage)
            if not lifecycle.ledger.runs.begin_sending(run, planned=planned, messages_planned=messages):
                return _already(lifecycle.ledger.runs.read(run_id) or run)
            return self._send(replace(run, planned=planned, messages_planned=messages))

    def _send(self, run: Run) -> Outcome:
        """Send every message that is not known to be in the queue; a retry after a crash begins here."""
        ledger = self.lifecycle.ledger
        unsent = (
            message.left
            for message in ledger.messages.all(run.run_id, run.messages_planned)
            if message.left is not None and message.next_part == 0 and message.sent_part < 0
        )
        while batch := list(islice(unsent, SEND_BATCH)):
            self.queue.send_all(batch, run.headers)
            ledger.messages.mark_sent(run.run_id, {message.message: 0 for message in batch})
        ledger.runs.finish_sending(run.run_id, self.lifecycle.clock.utc())
        self.lifecycle.close_if_done(run.run_id)
        return {"outcome": "started", "run_id": run.run_id, "planned": run.planned, "messages": run.messages_planned}

    def _dry_run(self, given: Sequence[int] | None, run_id: str) -> Outcome:
        """Count what a run would plan and tell it; calls nobody and writes nothing."""
        telemetry = self.lifecycle.telemetry
        telemetry.bind(run_id=run_id)
        with telemetry.run_span(run_id, "manual", dry_run=True) as headers, self._ids(given) as found:
            planned = sum(1 for _ in found.ids)
            messages = -(-planned // self.batch_size)
            self._tell_plan(planned, messages, found.coverage)
            telemetry.report_totals(
                headers,
                run_id=run_id,
                trigger="manual",
                dry_run=True,
                totals=asdict(Totals(identities_scanned=planned)),
                run_seconds=None,
                completed=True,
            )
            telemetry.info("dry_run", "nothing was sent", planned=planned, messages=messages)
        return {"outcome": "dry_run", "run_id": run_id, "planned": planned, "messages": messages}

    def _tell_plan(self, planned: int, messages: int, coverage: Coverage | None) -> None:
        telemetry, percent = self.lifecycle.telemetry, None if coverage is None else coverage.percent
        telemetry.plan_span(ids=planned, messages=messages, coverage=percent)
        telemetry.info("plan", "planned", ids=planned, messages=messages, coverage_percent=percent)
        if percent is not None:
            telemetry.metric("IdentityCoveragePercent", percent)

    def _messages(self, run_id: str, ids: Iterable[int]) -> Iterator[RefreshMessage]:
        for number, batch in enumerate(batches(ids, self.batch_size)):
            yield RefreshMessage(version=1, run_id=run_id, message=number, part=0, identity_ids=batch)

    @contextmanager
    def _ids(self, given: Sequence[int] | None) -> Iterator[_Ids]:
        """The ids that were asked for, or those of every active rotation row."""
        if given is not None:
            yield _Ids(sorted(given))
            return
        with self.connect() as rotation:
            if unusable := rotation.unusable_ids():
                self.lifecycle.telemetry.warning(
                    "plan", "active rows whose identity is 0 or below are left out", rows=unusable
                )
            yield _Ids(rotation.identity_ids(), rotation.coverage())

    @contextmanager
    def _failing(self, run: Run) -> Iterator[None]:
        """End the run as failed when its ids cannot be read; nothing was sent."""
        try:
            yield
        except DatabaseError as error:
            self.lifecycle.telemetry.error("failed", str(error))
            self._end(run, "failed", str(error))
            raise

    def _refuse(self, run: Run, reason: str) -> Outcome:
        telemetry = self.lifecycle.telemetry
        telemetry.error("refused", reason)
        telemetry.metric("RunRefused", 1)
        telemetry.event(f"rotation-artist-backfill refused: {reason}", step="refused", fingerprint=["refused"])
        self._end(run, "refused", reason)
        return {"outcome": "refused", "run_id": run.run_id, "hint": reason}

    def _end(self, run: Run, status: Literal["refused", "failed"], reason: str) -> None:
        ledger = self.lifecycle.ledger
        ledger.runs.end_unplanned(run, status, reason, self.lifecycle.clock.utc())
        ledger.lock.release(run.run_id)
        if run.check_in_id is not None:
            self.lifecycle.telemetry.check_in_close(run.check_in_id, ok=False, seconds=None)


def left_of(ledger: Ledger, run_id: str) -> list[int]:
    """The ids of an ended run that failed or were not attempted; raises `StartError` where there are none."""
    run = ledger.runs.read(run_id)
    if run is None:
        raise StartError(f"replay_of: run {run_id} is not in the ledger, which keeps runs for 30 days")
    if run.closed_at is None:
        raise StartError(f"replay_of: run {run_id} is {run.status}; it can be replayed when it has ended")
    ids: set[int] = set()
    for message in ledger.messages.all(run_id, run.messages_planned):
        ids.update(message.failed, message.not_attempted, message.left.identity_ids if message.left else ())
    if not ids:
        raise StartError(f"replay_of: run {run_id} ({run.status}) left nothing to replay")
    return sorted(ids)


def _already(run: Run) -> Outcome:
    """What a start answers for a run that is under way or over."""
    another = '`rotation run --force`, or the input {"force": true}, starts another one'
    match run.status:
        case "complete":
            hint = another
        case "stopped":
            hint = f"`rotation replay {run.run_id}` asks for what is left; {another}"
        case _:
            hint = f"`rotation status {run.run_id}` tells more"
    hint = f"this run is {run.status}; {hint}"
    return {"outcome": f"already_{run.status}", "run_id": run.run_id, "hint": hint}
