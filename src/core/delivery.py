"""One delivery of a refresh message, or of a dead one: located in the ledger, worked on, committed once, handed on."""

import math
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Final

import msgspec

from core.ledger import Commit, CommitOutcome, Message, Run
from core.plan import MAX_PARTS, MAX_PARTS_BY_HAND, MalformedMessageError, RefreshMessage, decode, encode
from core.queues import Headers, ParkedQueue, RefreshQueue
from core.refresh import PartResult, Worker
from core.run import Keeper
from core.tally import Totals

_TRACE: Final = frozenset({"sentry-trace", "baggage"})
_DEAD: Final = "received 5 times and never finished"


class ClaimedError(Exception):
    """Another invocation is at this part, or at the totals of its run; SQS delivers the message again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivery:
    """What SQS hands over."""

    body: str
    headers: Headers
    receive_count: int
    request_id: str


class _Attribute(msgspec.Struct):
    stringValue: str = ""  # noqa: N815 - SQS's name


class _Record(msgspec.Struct):
    body: str
    attributes: dict[str, str] = {}
    messageAttributes: dict[str, _Attribute] = {}  # noqa: N815 - SQS's name


class _Event(msgspec.Struct):
    Records: list[_Record]


def read_deliveries(event: object, request_id: str) -> list[Delivery]:
    """Take an SQS event apart; raises `ValueError` for anything else, such as a message without its envelope."""
    try:
        records = msgspec.convert(event, _Event).Records
    except msgspec.ValidationError as error:
        raise ValueError(f"not an SQS event (events/refresh-message.json is one): {error}") from None
    return [
        Delivery(
            body=record.body,
            headers={name: value.stringValue for name, value in record.messageAttributes.items() if name in _TRACE},
            receive_count=int(record.attributes.get("ApproximateReceiveCount", "1")),
            request_id=request_id,
        )
        for record in records
    ]


@dataclass(frozen=True, slots=True)
class Located:
    """A part that its run still waits for: what the ledger knows of the message, and what is left of it."""

    run: Run
    item: Message
    left: RefreshMessage


@dataclass(frozen=True, slots=True)
class Desk:
    """Where deliveries are received; what is left of a message is told by the ledger, never by the body."""

    keeper: Keeper
    queue: RefreshQueue
    parked: ParkedQueue

    def locate(self, delivery: Delivery, message: RefreshMessage) -> Located | None:
        """Find the part to work on; None when nothing is to be done: it is over, committed before, or parked now."""
        run_id = message.run_id or ""
        run = self.keeper.ledger.runs.read(run_id)
        if run is None or run.may_be_planned:
            self.park(delivery, f"run {run_id} is not in the ledger as a run that has sent messages")
            return None
        if not run.is_open:
            if not self.keeper.emit(run):
                raise ClaimedError(f"another invocation is telling the totals of {run_id}")
            self.keeper.telemetry.info(
                "done", f"run {run.status}: message ignored; `rotation replay {run_id}` asks again"
            )
            return None
        item = self.keeper.ledger.messages.read(run_id, message.message)
        if item is None or item.number >= run.messages_planned:
            self.park(delivery, f"run {run_id} has no message {message.message}")
            return None
        if message.part > item.next_part:
            self.park(delivery, f"part {message.part} is not due: the ledger waits for part {item.next_part}")
            return None
        if message.part < item.next_part or item.left is None:
            self.repair(run, item)
            self.keeper.look_after(run_id)
            return None
        return Located(run, item, item.left)

    def park(self, delivery: Delivery, reason: str) -> None:
        """Put a body aside for a person, with the reason."""
        self.keeper.telemetry.error("slice_error", f"message parked: {reason}")
        self.parked.park(delivery.body, reason)

    def repair(self, run: Run, item: Message) -> None:
        """Send the part that a crash between commit and send has kept back."""
        if item.left is not None and item.sent_part < item.next_part:
            self.hand_on(run, item.number, item.left, delay=0)

    def hand_on(self, run: Run, number: int, left: RefreshMessage, *, delay: int) -> None:
        """Send what is left of a message as its next part, and note that it is in the queue."""
        self.send(run.headers, left, delay=delay)
        self.keeper.ledger.messages.mark_sent(run.run_id, {number: left.part})

    def send(self, headers: Headers, left: RefreshMessage, *, delay: int) -> None:
        """Send a next part, for nobody to see for `delay` wall seconds."""
        self.queue.send(left, headers, delay=delay)
        self.keeper.telemetry.info(
            "handed_on",
            "what is left goes on as the next part",
            part=left.part,
            ids=len(left.identity_ids),
            delay=delay,
        )

    def commit(self, run: Run, commit: Commit) -> bool:
        """Commit a part; False when it adds nothing: the run has ended, or another was first (what it left is sent)."""
        outcome = self.keeper.ledger.messages.commit(commit, self.keeper.ledger.runs)
        if outcome is CommitOutcome.RUN_ENDED:
            self.keeper.telemetry.warning("done", "the run ended meanwhile: what this part did is not counted")
        if outcome is CommitOutcome.ALREADY_DONE:
            item = self.keeper.ledger.messages.read(run.run_id, commit.message.number)
            if item is not None:
                self.repair(run, item)
        return outcome is CommitOutcome.COMMITTED


@dataclass(frozen=True, slots=True)
class Receiver:
    """The refresh function: works on what a delivery asks for."""

    desk: Desk
    worker: Worker
    max_error_percent: int

    def receive(self, delivery: Delivery, time_left: Callable[[], float]) -> None:
        """Work on a delivery while there is `time_left` (wall seconds); raises `ClaimedError` when another is at it."""
        try:
            message = decode(delivery.body)
        except MalformedMessageError as error:
            return self.desk.park(delivery, str(error))
        self.desk.keeper.telemetry.bind(run_id=message.run_id)
        if message.run_id is None:
            return self._replay_by_hand(delivery, message, time_left)
        if (located := self.desk.locate(delivery, message)) is None:
            return None
        run, item, left = located.run, located.item, located.left
        now = self.worker.clock.utc()
        until = now + timedelta(seconds=time_left())
        if not self.desk.keeper.ledger.messages.claim(item, delivery.request_id, now, until):
            raise ClaimedError(f"another invocation is at message {item.number} part {item.next_part} of {run.run_id}")
        with self._span(run.headers, delivery, left):
            return self._conclude(delivery, located, self._work(run, left, time_left))

    def _work(self, run: Run, left: RefreshMessage, time_left: Callable[[], float]) -> PartResult:
        if not run.goes_on or self._is_late(run):
            return PartResult(left=left.attempts, ended=True)  # LML is not even asked for its round trip

        def run_goes_on() -> bool:
            now = self.desk.keeper.ledger.runs.read(run.run_id)
            return now is not None and now.goes_on and not self._is_late(run)

        return self.worker.work(left, time_left=self._paced(time_left), run_goes_on=run_goes_on)

    def _conclude(self, delivery: Delivery, located: Located, result: PartResult) -> None:
        keeper, run, left = self.desk.keeper, located.run, located.left
        if result.stop is not None:
            keeper.stop(run.run_id, result.stop.cause, result.stop.reason)
        elif result.ended and self._is_late(run):
            keeper.stop(run.run_id, "deadline", "the run is past its deadline")
        for error in result.rejected:
            keeper.tell_once(run.run_id, f"lml_{error.status}", str(error))
        goes_on = bool(result.left) and not result.ended and left.part + 1 < MAX_PARTS
        given_up = () if goes_on else tuple(result.left)
        commit = Commit(
            message=located.item,
            request_id=delivery.request_id,
            totals=result.totals + Totals(not_attempted=len(given_up)),
            left=left.next_part(result.left) if goes_on else None,
            not_found=tuple(result.not_found),
            not_attempted=given_up,
            failed=result.failed,
        )
        if self.desk.commit(run, commit):
            if commit.left is not None:
                delay = math.ceil(self.worker.clock.wall(result.delay))
                self.desk.hand_on(run, located.item.number, commit.left, delay=delay)
            keeper.ledger.lock.renew(run.run_id, self.worker.clock.utc())
        keeper.look_after(run.run_id, max_error_percent=self.max_error_percent)

    def _replay_by_hand(self, delivery: Delivery, message: RefreshMessage, time_left: Callable[[], float]) -> None:
        """Work on a message without a run: nothing goes into the ledger, its totals are told part by part."""
        telemetry = self.desk.keeper.telemetry
        with self._span(delivery.headers, delivery, message):
            result = self.worker.work(message, time_left=self._paced(time_left), run_goes_on=lambda: True)
        goes_on = bool(result.left) and not result.ended and message.part + 1 < MAX_PARTS_BY_HAND
        totals = msgspec.structs.asdict(result.totals + Totals(not_attempted=0 if goes_on else len(result.left)))
        telemetry.report_totals(
            delivery.headers,
            run_id=None,
            trigger="manual",
            dry_run=False,
            totals=totals,
            run_seconds=None,
            completed=not result.left,
        )
        telemetry.info("done", "replay by hand", part=message.part, failed=result.failed, **totals)
        if goes_on:
            delay = math.ceil(self.worker.clock.wall(result.delay))
            self.desk.send(delivery.headers, message.next_part(result.left), delay=delay)
        elif result.left:
            reason = result.stop.reason if result.stop else f"a replay by hand has {MAX_PARTS_BY_HAND} parts at most"
            rest = msgspec.structs.replace(message.next_part(result.left), part=0)  # a redrive has ten parts again
            self.desk.park(replace(delivery, body=encode(rest)), reason)

    def _span(self, headers: Headers, delivery: Delivery, message: RefreshMessage) -> AbstractContextManager[None]:
        return self.desk.keeper.telemetry.message_span(
            headers,
            run_id=message.run_id,
            message=message.message,
            part=message.part,
            ids=len(message.identity_ids),
            receive_count=delivery.receive_count,
        )

    def _paced(self, time_left: Callable[[], float]) -> Callable[[], float]:
        return lambda: time_left() * self.worker.clock.speed

    def _is_late(self, run: Run) -> bool:
        return self.worker.clock.utc().timestamp() >= run.deadline


@dataclass(frozen=True, slots=True)
class Undertaker:
    """The dead-letter function: commits what was never finished as `lml_error`, so that its run can close."""

    desk: Desk

    def bury(self, delivery: Delivery) -> None:
        """Account for one dead letter; raises `ClaimedError` while an invocation is still at it."""
        keeper = self.desk.keeper
        try:
            message = decode(delivery.body)
        except MalformedMessageError as error:
            return self.desk.park(delivery, str(error))
        keeper.telemetry.bind(run_id=message.run_id)
        keeper.telemetry.metric("DeadLettered", 1)
        keeper.telemetry.error("slice_error", f"dead letter: {_DEAD}", body=delivery.body)
        if message.run_id is None or (located := self.desk.locate(delivery, message)) is None:
            return None
        run, item, left = located.run, located.item, located.left
        if item.is_claimed(keeper.clock.utc(), by_other_than=delivery.request_id):
            raise ClaimedError(f"an invocation is still at message {item.number} part {item.next_part} of {run.run_id}")
        count = len(left.identity_ids)
        commit = Commit(
            message=item,
            request_id=delivery.request_id,
            totals=Totals(identities_scanned=count, lml_error=count),
            failed=dict.fromkeys(left.identity_ids, f"dead letter: {_DEAD}"),
        )
        self.desk.commit(run, commit)
        return keeper.look_after(run.run_id)
