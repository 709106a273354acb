"""Starting a run: gate, lock, ids into the ledger, messages into the queue (docs/design/ledger.md)."""

import uuid
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from datetime import datetime, timedelta
from typing import Final, Literal

import msgspec
from botocore.exceptions import BotoCoreError, ClientError
from msgspec.structs import asdict, replace

from core.aws import events
from core.aws.queues import RefreshQueue, SendError
from core.lml.gate import Gate
from core.rotation.table import Coverage, Rotation
from core.runs import request
from core.runs.ledger import Run
from core.runs.lifecycle import RunLifecycle, RunService, send_unsent
from core.runs.plan import RefreshMessage, batches
from core.runs.replay import still_open
from core.runs.request import Start
from core.runs.totals import Totals, Trigger
from core.utc import moment_text

LONGEST_RUN: Final = timedelta(hours=20)
"""Paced time after which what is left of a run is not attempted."""
StartOutcome = dict[str, object]
"""What a start answers: `outcome`, `run_id`, and numbers or a hint for the person who sent it."""


class RunRefusedError(Exception):
    """The deploy gate refuses the run; the text is the gate's reason."""


class _Ids(msgspec.Struct, frozen=True):
    """Ascending ids to plan; `coverage` is known where they come from the rotation table."""

    ids: Iterable[int]
    coverage: Coverage | None = None


class FanOut(msgspec.Struct, RunService, frozen=True):
    """Starts runs; made once per environment."""

    lifecycle: RunLifecycle
    queue: RefreshQueue
    connect: Callable[[], AbstractContextManager[Rotation]]
    gate: Callable[[], Gate]
    batch_size: int

    def start(self, event: object, request_id: str) -> StartOutcome:
        """Start what an event asks for; the same run is started once however often it is asked for.

        A test of the console or a ping is answered, and starts nothing. Raises `StartError`, `RunRefusedError`,
        `DatabaseError`, or what AWS raises; a retry takes up where it failed.
        """
        now, telemetry = self.clock.utc(), self.telemetry
        if not request.is_start(event):
            hint = f"this is no start, and nothing was started; a start has none or some of the keys {request.KEYS}"
            telemetry.warning("init", hint)
            return events.ignored(hint)
        asked = request.read_start(event)
        if asked.placeholder is not None:
            telemetry.warning(
                "init", "scheduled_time was not filled in: today stands in for it", value=asked.placeholder
            )
        if asked.dry_run:
            return self._dry_run(self._given(asked), request.manual_id(now))
        run_id, run = self._find(asked, request_id, now)
        telemetry.bind(run_id=run_id)
        self._take_up_others(run_id)
        if run is not None and run.is_unsent:
            return self._send(run)
        if run is not None and not run.may_be_planned:
            self.lifecycle.close_if_done(run_id)
            return self._already(self.runs.read(run_id) or run, asked)
        given = self._given(asked, asker=run_id)
        trigger: Trigger = "scheduled" if run_id.startswith("scheduled-") else "manual"
        started = Run(
            run_id=run_id,
            status="planning",
            trigger=trigger,
            started_at=moment_text(now),
            deadline=int((now + LONGEST_RUN / self.clock.speed).timestamp()),
            planner=request_id,
            origin=asked.replay_of,
            locked=int(asked.is_full),
            check_in_id=uuid.uuid4().hex if trigger == "scheduled" else None,
        )
        return self._plan(asked, given, started, run)

    def _given(self, asked: Start, asker: str | None = None) -> Sequence[int] | None:
        """The ids that a start names, itself or by the run that it replays; None for all active rows."""
        if asked.replay_of is None:
            return asked.identity_ids
        return still_open(self.ledger, asked.replay_of, asker=asker, without_artists=asked.without_artists)

    def _find(self, asked: Start, request_id: str, now: datetime) -> tuple[str, Run | None]:
        """Name the run that is asked for, and read it: for a retry of an invocation that of its first try."""
        runs = self.runs
        run_id = self._of_the_day(asked, now) if asked.is_full else request.manual_id(now)
        if asked.is_full and asked.force:
            run = runs.read(run_id)
            if run is not None and not (run.may_be_planned or run.is_unsent):
                run_id = request.manual_id(now)
        if asked.force or asked.scheduled_time is None:  # else the time names the run, however often it is asked for
            run_id = runs.name_for(request_id, run_id, now)
        return run_id, runs.read(run_id)

    def _of_the_day(self, asked: Start, now: datetime) -> str:
        """Name the full run of a start: a day has one, whether the schedule or a person has started it.

        A start without a time finds the schedule's run of the day, and the schedule finds that of a person.
        """
        runs, own = self.runs, asked.scheduled_id(now)
        if asked.scheduled_time is None:
            return runs.of_day(now.date()) or own
        of_person = request.day_id(asked.scheduled_time.date())
        for run_id in (own, of_person):
            run = runs.read(run_id)
            if run is not None and not run.may_be_planned:
                return run_id
        return own

    def _take_up_others(self, run_id: str) -> None:
        """Send or end the runs whose starts died; an error of AWS there is a warning, and this run starts anyway."""
        try:
            self.lifecycle.take_up_unsent(self.queue, but_for=run_id)
        except (BotoCoreError, ClientError, SendError) as error:
            self.telemetry.warning("plan", f"a run whose start died was not taken up: {error}")

    def _already(self, run: Run, asked: Start) -> StartOutcome:
        """Answer a start for a run that is under way or over; the schedule's firing is checked in all the same."""
        answer = _already(run)
        if asked.scheduled_time is not None and run.run_id == request.day_id(asked.scheduled_time.date()):
            answer["hint"] = f"a person has started the day's run as {run.run_id}; {answer['hint']}"
            check_in_id = uuid.uuid4().hex
            self.telemetry.check_in_close(check_in_id, ok=run.status != "stopped", seconds=None)
        self.telemetry.info("plan", str(answer["hint"]), outcome=answer["outcome"])
        return answer

    def _plan(self, asked: Start, given: Sequence[int] | None, run: Run, earlier: Run | None) -> StartOutcome:
        """Plan a run and send it, if gate, lock and database let it; `earlier` is what a try before this one left."""
        lifecycle, telemetry, runs = self.lifecycle, self.telemetry, self.runs
        run_id = run.run_id
        with telemetry.run_span(run_id, run.trigger, dry_run=False) as headers:
            run = replace(run, headers=headers)
            if not runs.open(run):
                return _already(runs.read(run_id) or run)
            self._check_in(run, earlier)
            with self._ended_if_it_fails(run):
                gate = self.gate()
            run = replace(run, gate_reason=gate.reason)
            with self._ended_if_it_fails(run):
                telemetry.gate_span(allowed=gate.allowed, reason=gate.reason)
                telemetry.info("deploy_guard", gate.reason, allowed=gate.allowed)
                if not gate.allowed:
                    raise RunRefusedError(gate.reason)
                if run.locked and (holder := lifecycle.take_lock(run_id, force=asked.force)) is not None:
                    reason = f"run {holder} holds the lock; `rotation stop {holder}` ends it"
                    self._refuse(run, reason)
                    return {"outcome": "refused", "run_id": run_id, "hint": reason}
                now = self.clock.utc()
                with self._ids(given) as found:
                    messages, planned = self.messages.plan(self._messages(run_id, found.ids), now)
                self._report_plan(planned, messages, found.coverage)
                if asked.scheduled_time is not None and run.trigger == "scheduled":
                    runs.note_day(run_id, asked.scheduled_time.date(), now)
                fixed = runs.begin_sending(run, planned=planned, messages_planned=messages, now=self.clock.utc())
            if not fixed:  # somebody ended it meanwhile, or plans it too
                lifecycle.close_if_done(run_id)
                return _already(runs.read(run_id) or run)
            return self._send(replace(run, planned=planned, messages_planned=messages))

    def _check_in(self, run: Run, earlier: Run | None) -> None:
        """Open the check-in of this attempt, and close one that an attempt before it has left open."""
        if earlier is not None and earlier.check_in_id is not None and earlier.emitted_at is None:
            self.telemetry.check_in_close(earlier.check_in_id, ok=False, seconds=None)
        if run.check_in_id is not None:
            self.telemetry.check_in_open(run.check_in_id)

    def _send(self, run: Run) -> StartOutcome:
        """Send every message that is not known to be in the queue; a retry after a crash begins here."""
        send_unsent(self.ledger, self.queue, self.clock, run)
        self.runs.forget_unsent(run.run_id)
        self.lifecycle.close_if_done(run.run_id)
        return {"outcome": "started", "run_id": run.run_id, "planned": run.planned, "messages": run.messages_planned}

    def _dry_run(self, given: Sequence[int] | None, run_id: str) -> StartOutcome:
        """Count what a run would plan, and report it; calls no service but the database, and writes nothing."""
        telemetry = self.telemetry
        telemetry.bind(run_id=run_id)
        with telemetry.run_span(run_id, "manual", dry_run=True) as headers, self._ids(given) as found:
            planned = sum(1 for _ in found.ids)
            messages = -(-planned // self.batch_size)
            self._report_plan(planned, messages, found.coverage)
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

    def _report_plan(self, planned: int, messages: int, coverage: Coverage | None) -> None:
        telemetry, percent = self.telemetry, None if coverage is None else coverage.percent
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
                self.telemetry.warning("plan", "active rows whose identity is 0 or below are left out", rows=unusable)
            yield _Ids(rotation.identity_ids(), rotation.coverage())

    @contextmanager
    def _ended_if_it_fails(self, run: Run) -> Iterator[None]:
        """End a run that cannot be planned, whatever the error: nothing was sent, and the lock is free again."""
        try:
            yield
        except RunRefusedError as refusal:
            self._refuse(run, str(refusal))
            raise
        except Exception as error:
            self.telemetry.error("failed", str(error), error=type(error).__name__)
            self._end(run, "failed", str(error) or type(error).__name__)
            raise

    def _refuse(self, run: Run, reason: str) -> None:
        telemetry = self.telemetry
        telemetry.error("refused", reason)
        telemetry.metric("RunRefused", 1)
        telemetry.event(f"rotation-artist-backfill refused: {reason}", step="refused", fingerprint=["refused"])
        self._end(run, "refused", reason)

    def _end(self, run: Run, status: Literal["refused", "failed"], reason: str) -> None:
        telemetry = self.telemetry
        try:
            self.lifecycle.end_unplanned(run, status, reason)
        except (BotoCoreError, ClientError) as trouble:  # the ledger is away too; a retry re-enters from planning
            telemetry.warning("failed", f"run {run.run_id} could not be marked as {status}: {trouble}")
            if run.check_in_id is not None:
                telemetry.check_in_close(run.check_in_id, ok=False, seconds=None)


def _already(run: Run) -> StartOutcome:
    """Return the answer to a start for a run that is under way or over."""
    another = '`rotation run --force`, or the input {"force": true}, starts another one'
    match run.status:
        case "complete":
            hint = another
        case "stopped":
            hint = f"`rotation replay {run.run_id}` asks for what is left; {another}"
        case _:
            hint = f"`rotation status {run.run_id}` tells more"
    return {"outcome": f"already_{run.status}", "run_id": run.run_id, "hint": f"this run is {run.status}; {hint}"}
