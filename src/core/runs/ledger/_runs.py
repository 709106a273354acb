"""Items `RUN#<id>` / `RUN`: what a run planned, did and reported."""

import secrets
from collections.abc import Iterator, Mapping
from datetime import date, datetime, timedelta
from typing import Final, Literal, cast

import msgspec

from core.aws.table import Action, Item, Table, TransactionRefusedError
from core.runs.ledger._lock import Lock
from core.runs.totals import TOTALS, Totals, Trigger
from core.utc import moment_text

Status = Literal["planning", "sending", "running", "stopping", "complete", "stopped", "refused", "failed"]

OPEN: Final = ("sending", "running", "stopping")
"""Statuses under which messages are worked on and committed."""
_UNSENT: Final = "UNSENT"
"""Partition of the notes about runs whose messages are not known to be in the queue."""
KEEP: Final = timedelta(days=30)
REPORT_LEASE: Final = timedelta(seconds=30)
"""How long one invocation has for reporting the totals, before another may."""


class Run(msgspec.Struct, frozen=True, kw_only=True):
    """A run as the ledger holds it; times are UTC, ISO 8601."""

    run_id: str
    status: Status
    trigger: Trigger
    started_at: str
    deadline: int
    """Epoch seconds after which what is left is not attempted."""
    planner: str
    """Request id of the invocation that plans it."""
    origin: str | None = None
    """The run that this one replays."""
    locked: int = 0
    """1 for a full run, which holds the lock."""
    planned: int = 0
    messages_planned: int = 0
    messages_done: int = 0
    planned_at: str | None = None
    """When its plan was fixed: the commit point. None while it is planned, and for a run that never was."""
    totals: Totals = Totals()
    all_sent_at: str | None = None
    closed_at: str | None = None
    emitted_at: str | None = None
    gate_reason: str = ""
    """Why the deploy gate let it start, or did not."""
    reason: str | None = None
    """Why it ended early."""
    headers: Mapping[str, str] = {}
    """Trace headers of the run's span."""
    check_in_id: str | None = None
    """The cron monitor's check-in of this attempt; a retry has another."""

    @property
    def is_open(self) -> bool:
        """Whether its messages are worked on and committed."""
        return self.status in OPEN

    @property
    def goes_on(self) -> bool:
        """True if its messages are handed to LML."""
        return self.status in {"sending", "running"}

    @property
    def may_be_planned(self) -> bool:
        """Nothing was sent yet: a start of the same run begins anew."""
        return self.status in {"planning", "refused", "failed"}

    @property
    def is_planned(self) -> bool:
        """It is past the commit point, so that its totals are to be reported."""
        return self.planned_at is not None or self.planned > 0

    @property
    def is_unsent(self) -> bool:
        """It is planned, and a crash left messages that are not known to be in the queue."""
        return self.status in {"sending", "stopping"} and self.all_sent_at is None

    @property
    def is_done(self) -> bool:
        """Every message is committed and nothing but closing is left to do."""
        return self.status in {"running", "stopping"} and self.messages_done == self.messages_planned

    @property
    def is_unreported(self) -> bool:
        """It has ended, and nobody has marked its totals and its check-in as reported."""
        return self.closed_at is not None and self.emitted_at is None

    @property
    def seconds(self) -> float:
        """From the start to the close, 0 while it is open."""
        if self.closed_at is None:
            return 0.0
        return (datetime.fromisoformat(self.closed_at) - datetime.fromisoformat(self.started_at)).total_seconds()


class Runs(msgspec.Struct, frozen=True):
    """Every change is conditional on the status that it starts from (docs/design/ledger.md)."""

    table: Table

    def read(self, run_id: str) -> Run | None:
        item = self.table.read(*_key(run_id))
        return None if item is None else _run(run_id, item)

    def name_for(self, request_id: str, proposed: str, now: datetime) -> str:
        """Return the run id of an invocation: a retry, which has the same request id, gets that of the first try."""
        key = (f"START#{request_id}", "START")
        item: Item = {"pk": key[0], "sk": key[1], "run_id": proposed, "expires_at": expiry(now)}
        if self.table.put(item, "attribute_not_exists(pk)"):
            return proposed
        return str((self.table.read(*key) or item)["run_id"])

    def of_day(self, day: date) -> str | None:
        """Return the id of the run that a schedule's time named and that planned on this day (UTC) last."""
        item = self.table.read(*_day(day))
        return None if item is None else str(item["run_id"])

    def note_day(self, run_id: str, day: date, now: datetime) -> None:
        """Let a start without a time find this run as the day's."""
        self.table.update(
            *_day(day),
            "SET run_id = :run, expires_at = :expires",
            "attribute_not_exists(run_id) OR run_id <> :run",
            run=run_id,
            expires=expiry(now),
        )

    def unsent(self) -> Iterator[str]:
        """Ids of the runs that were opened, and are not known to be in the queue whole or to have ended."""
        for item in self.table.query(_UNSENT, "RUN#"):
            yield str(item["sk"]).removeprefix("RUN#")

    def forget_unsent(self, run_id: str) -> None:
        """Take a run off `unsent`: all its messages are in the queue, or it has ended."""
        self.table.delete(_UNSENT, f"RUN#{run_id}", "attribute_exists(pk)")

    def replays_of(self, run_id: str) -> Iterator[str]:
        """Ids of the runs that were opened to replay a run."""
        for item in self.table.query(_key(run_id)[0], "REPLAY#"):
            yield str(item["sk"]).removeprefix("REPLAY#")

    def open(self, run: Run) -> bool:
        """Begin planning, for the first time or over again; False from a status that does not allow it.

        Before that the run is noted where `unsent` and `replays_of` find it: a note without a run harms nobody.
        """
        pk, sk = _key(run.run_id)
        expires = expiry(datetime.fromisoformat(run.started_at))
        notes: list[Item] = [{"pk": _UNSENT, "sk": f"RUN#{run.run_id}", "expires_at": expires}]
        if run.origin is not None:
            notes.append({"pk": _key(run.origin)[0], "sk": f"REPLAY#{run.run_id}", "expires_at": expires})
        for note in notes:
            self.table.put(note, "attribute_not_exists(pk)")
        fields = msgspec.structs.asdict(run)
        totals = msgspec.structs.asdict(fields.pop("totals"))
        del fields["run_id"]
        item = {name: value for name, value in (fields | totals).items() if value is not None}
        return self.table.put(
            {"pk": pk, "sk": sk, "expires_at": expires, **item},
            "attribute_not_exists(pk) OR #status IN (:planning, :refused, :failed)",
            planning="planning",
            refused="refused",
            failed="failed",
        )

    def begin_sending(self, run: Run, *, planned: int, messages_planned: int, now: datetime) -> bool:
        """Fix what the run holds: the commit point. False when another invocation plans it, or it was ended."""
        return self.table.update(
            *_key(run.run_id),
            "SET #status = :sending, planned = :planned, messages_planned = :messages, gate_reason = :gate, "
            "planned_at = :now",
            "#status IN (:planning, :sending) AND planner = :planner",  # the SDK repeats it after a lost answer
            sending="sending",
            planning="planning",
            planner=run.planner,
            planned=planned,
            messages=messages_planned,
            gate=run.gate_reason,
            now=moment_text(now),
        )

    def finish_sending(self, run_id: str, now: datetime) -> None:
        """Mark that every message is in the queue; a run that was stopped meanwhile stays stopping."""
        key, sent_at = _key(run_id), moment_text(now)
        if not self.table.update(
            *key,
            "SET #status = :running, all_sent_at = :now",
            "#status = :sending",
            running="running",
            sending="sending",
            now=sent_at,
        ):
            self.table.update(*key, "SET all_sent_at = :now", "#status = :stopping", stopping="stopping", now=sent_at)

    def end_unplanned(
        self, run: Run, status: Literal["refused", "failed", "stopped"], reason: str, lock: Lock, now: datetime
    ) -> bool:
        """End a run that has sent nothing, and free the lock if it holds it; False when it is past that point."""
        ending = self.table.updating(
            *_key(run.run_id),
            "SET #status = :status, reason = :reason, gate_reason = :gate, closed_at = :now",
            "#status = :planning AND planner = :planner",
            status=status,
            reason=reason,
            gate=run.gate_reason,
            planning="planning",
            planner=run.planner,
            now=moment_text(now),
        )
        return self._end(ending, run, lock, now)

    def stop(self, run_id: str, reason: str) -> bool:
        """Let the deliveries of an open run commit without calling LML; False when it is stopping or over."""
        return self.table.update(
            *_key(run_id),
            "SET #status = :stopping, reason = :reason",
            "#status IN (:sending, :running)",
            stopping="stopping",
            sending="sending",
            running="running",
            reason=reason,
        )

    def mark_cause_reported(self, run_id: str, cause: str) -> bool:
        """True if this run has not reported this cause yet; from now on it counts as reported."""
        return self.table.update(
            *_key(run_id),
            "ADD said :causes",
            "attribute_exists(pk) AND NOT contains(said, :cause)",
            causes=frozenset({cause}),
            cause=cause,
        )

    def close(self, run: Run, lock: Lock, now: datetime) -> bool:
        """Close a run whose messages are all done, and free the lock if it holds it; False when another has.

        It is complete if every id has its verdict, and not every verdict is an error.
        """
        complete = run.status == "running" and not run.totals.not_attempted and not run.totals.all_failed
        status = "complete" if complete else "stopped"
        closing = self.table.updating(
            *_key(run.run_id),
            "SET #status = :closed, closed_at = :now",
            "#status = :status AND messages_done = messages_planned",
            closed=status,
            status=run.status,
            now=moment_text(now),
        )
        return self._end(closing, run, lock, now)

    def finalise(self, run: Run, reason: str, lock: Lock, now: datetime) -> bool:
        """Stop an open run for good with what it has; False when it moved meanwhile."""
        stopping = self.table.updating(
            *_key(run.run_id),
            "SET #status = :stopped, reason = :reason, closed_at = :now, not_attempted = :rest",
            "#status = :status AND identities_scanned = :scanned",
            stopped="stopped",
            reason=reason,
            now=moment_text(now),
            rest=run.planned - run.totals.identities_scanned,
            status=run.status,
            scanned=run.totals.identities_scanned,
        )
        return self._end(stopping, run, lock, now)

    def claim_report(self, run_id: str, now: datetime) -> bool:
        """True if this caller is to report the totals now; nobody else may for REPORT_LEASE."""
        return self.table.update(
            *_key(run_id),
            "SET emitting_until = :until, emitter = :me",
            "attribute_not_exists(emitted_at) "
            "AND (attribute_not_exists(emitter) OR emitter = :me OR emitting_until < :now)",
            me=secrets.token_hex(8),  # the SDK's repeat after a lost answer must not find itself in the way
            until=int((now + REPORT_LEASE).timestamp()),
            now=int(now.timestamp()),
        )

    def mark_reported(self, run_id: str, now: datetime) -> None:
        """Note that a run that has ended is reported; one that was opened anew meanwhile is not."""
        self.table.update(*_key(run_id), "SET emitted_at = :now", "attribute_exists(closed_at)", now=moment_text(now))

    def adding(self, run_id: str, totals: Totals, *, done: bool) -> Action:
        """The run's share of a commit: its totals grow while it is open."""
        grown = {name: value for name, value in msgspec.structs.asdict(totals).items() if value}
        adds = ", ".join(f"{name} :{name}" for name in (*grown, "messages_done"))
        return self.table.updating(
            *_key(run_id),
            f"ADD {adds}",
            "#status IN (:sending, :running, :stopping)",
            sending="sending",
            running="running",
            stopping="stopping",
            messages_done=int(done),
            **grown,
        )

    def _end(self, closing: Action, run: Run, lock: Lock, now: datetime) -> bool:
        held = lock.holder(now)
        actions = [closing, lock.releasing(run.run_id)] if held and held.run_id == run.run_id else [closing]
        try:
            self.table.transact(actions)
        except TransactionRefusedError as refusal:
            if refusal.failed(0):
                return False
            if len(actions) > 1 and refusal.failed(1):  # the lock changed hands since it was read
                return self._end(closing, run, lock, now)
            raise
        return True


def _key(run_id: str) -> tuple[str, str]:
    return f"RUN#{run_id}", "RUN"


def _day(day: date) -> tuple[str, str]:
    return f"DAY#{day.isoformat()}", "DAY"


def expiry(now: datetime) -> int:
    return int((now + KEEP).timestamp())


def _run(run_id: str, item: Item) -> Run:
    fields = {name: item[name] for name in Run.__struct_fields__ if name in item}
    totals = Totals(**{name: cast("int", item.get(name, 0)) for name in TOTALS})
    return msgspec.convert({**fields, "run_id": run_id, "totals": msgspec.structs.asdict(totals)}, Run)
