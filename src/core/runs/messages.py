"""Deliveries of refresh messages: read, located in the ledger, committed once, handed on."""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import datetime
from typing import Final

import msgspec
from botocore.exceptions import BotoCoreError, ClientError

from core.aws import events
from core.aws.queues import Headers, ParkedQueue, RefreshQueue
from core.runs.ledger import Commit, CommitOutcome, Message, Progress, Run
from core.runs.lifecycle import RunLifecycle, RunService
from core.runs.plan import RefreshMessage
from core.telemetry import Telemetry
from core.validation import in_words

_TRACE: Final = frozenset({"sentry-trace", "baggage"})


class ClaimedError(Exception):
    """Another invocation is at this part, or at the totals of its run; SQS delivers the message again."""


class Delivery(msgspec.Struct, frozen=True, kw_only=True):
    """One message as SQS delivers it."""

    body: str
    headers: Headers
    receive_count: int
    request_id: str
    message_id: str = ""
    """SQS's id of the message, with which a delivery is given back."""
    is_sample: bool = False
    """True for the console's sample, which lies in no queue, so that an unreadable one is not parked."""


class _Attribute(msgspec.Struct):
    stringValue: str = ""  # noqa: N815 - SQS's name


class _Record(msgspec.Struct):
    body: str
    messageId: str = ""  # noqa: N815 - SQS's name
    receiptHandle: object = ""  # noqa: N815 - SQS's name
    attributes: dict[str, str] = {}
    messageAttributes: dict[str, _Attribute] = {}  # noqa: N815 - SQS's name


class _Event(msgspec.Struct):
    Records: list[_Record]


def read_deliveries(event: object, request_id: str) -> list[Delivery]:
    """Take an SQS event apart; raises `ValueError` for anything else, such as a message without its envelope."""
    try:
        records = msgspec.convert(event, _Event).Records
    except msgspec.ValidationError as error:
        raise ValueError(f"not an SQS event (events/refresh-message.json is one): {in_words(error)}") from None
    return [
        Delivery(
            body=record.body,
            headers={name: value.stringValue for name, value in record.messageAttributes.items() if name in _TRACE},
            receive_count=int(record.attributes.get("ApproximateReceiveCount", "1")),
            request_id=request_id,
            message_id=record.messageId,
            is_sample=events.is_sample(record.receiptHandle),
        )
        for record in records
    ]


class DeliveryBatch:
    """The deliveries of an SQS event, and the answer to it: which of them SQS is to deliver again, in Lambda's form.

    An event without messages, such as a test of the console, has no deliveries, and is answered. Raises `ValueError`
    for one whose messages have no envelope.
    """

    def __init__(self, event: object, request_id: str, telemetry: Telemetry) -> None:
        self._telemetry = telemetry
        self._given_back: list[dict[str, str]] = []
        self.answer: dict[str, object] = {"batchItemFailures": self._given_back}
        self.deliveries: list[Delivery] = []
        if events.is_of_sqs(event):
            self.deliveries = read_deliveries(event, request_id)
        else:
            hint = "this is no SQS event, and nothing was done; events/refresh-message.json is one"
            telemetry.warning("init", hint)
            self.answer = events.ignored(hint)

    @contextmanager
    def giving_back(self, delivery: Delivery) -> Iterator[None]:
        """Give a delivery back that another invocation is at; no error, since SQS delivers messages at least once."""
        try:
            yield
        except ClaimedError as claimed:
            self._telemetry.info("slice_error", f"delivered again later: {claimed}")
            self._given_back.append({"itemIdentifier": delivery.message_id})


class Located(msgspec.Struct, frozen=True):
    """A part that its run still waits for: what the ledger knows of the message, and what is left of it."""

    run: Run
    item: Message
    left: RefreshMessage


class MessageStore(msgspec.Struct, RunService, frozen=True):
    """The messages of runs. What is left of one is read from the ledger, never from a delivery's body."""

    lifecycle: RunLifecycle
    queue: RefreshQueue
    parked: ParkedQueue

    def locate(self, delivery: Delivery, message: RefreshMessage) -> Located | None:
        """Find the part to work on; None when nothing is to be done: it is over, committed before, or parked now."""
        run_id = message.run_id or ""
        run = self.runs.read(run_id)
        if run is None or run.status == "planning":
            self.park(delivery, f"run {run_id} is not in the ledger as a run that has sent messages")
            return None
        if not run.is_open or run.is_done:
            self._conclude(run)
            return None
        item = self.messages.read(run_id, message.message)
        if item is None or item.number >= run.messages_planned:
            self.park(delivery, f"run {run_id} has no message {message.message}")
            return None
        if message.part > item.next_part:
            self.park(delivery, f"part {message.part} is not due: the ledger waits for part {item.next_part}")
            return None
        if message.part < item.next_part or item.left is None:
            self.repair(run, item)
            self.lifecycle.close_if_done(run_id)
            return None
        return Located(run, item, item.left)

    def park(self, delivery: Delivery, reason: str) -> None:
        """Send a body to the parked queue for a person, with the reason."""
        if delivery.is_sample:
            self.telemetry.warning("slice_error", f"the console's sample message does nothing: {reason}")
            return
        self.telemetry.error("slice_error", f"message parked: {reason}")
        self.parked.park(delivery.body, self.telemetry.redacted(reason))

    def note(self, run_id: str, number: int, progress: Progress) -> None:
        """Write the progress of a part for people who watch; an error of AWS there does not stop the part."""
        notes = self.ledger.progress
        with suppress(BotoCoreError, ClientError):
            notes.write(run_id, number, progress, self.clock.utc())

    def claim(self, located: Located, request_id: str, now: datetime, until: datetime) -> None:
        """Take a part for an invocation until then; raises `ClaimedError` when another is at it."""
        item = located.item
        if not self.messages.claim(item, request_id, now, until):
            part = f"message {item.number} part {item.next_part} of {item.run_id}"
            raise ClaimedError(f"another invocation is at {part}; the message comes again by itself")

    def repair(self, run: Run, item: Message) -> None:
        """Send the part that a crash between commit and send has kept back."""
        if item.left is not None and item.sent_part < item.next_part:
            self.hand_on(run, item.number, item.left, delay=0)

    def hand_on(self, run: Run, number: int, left: RefreshMessage, *, delay: int, why: str | None = None) -> None:
        """Send what is left of a message as its next part, and note that it is in the queue."""
        self.send(run.headers, left, delay=delay, why=why)
        self.messages.mark_sent(run.run_id, {number: left.part})

    def send(self, headers: Headers, left: RefreshMessage, *, delay: int, why: str | None = None) -> None:
        """Send a next part; SQS delivers it after `delay` wall seconds."""
        self.queue.send(left, headers, delay=delay)
        self.telemetry.info(
            "handed_on",
            "what is left goes on as the next part",
            part=left.part,
            ids=len(left.identity_ids),
            delay=delay,
            **({} if why is None else {"why": why}),
        )

    def commit(self, run: Run, commit: Commit) -> bool:
        """Commit a part; False when it adds nothing: the run has ended, or another was first (what it left is sent).

        Raises `ClaimedError` while the invocation that ended the run reports its totals: it may die of that, and this
        delivery may be the last one that could report them.
        """
        outcome = self.messages.commit(commit, self.runs)
        if outcome is CommitOutcome.RUN_ENDED:
            self.telemetry.warning("done", "the run ended meanwhile: what this part did is not counted")
            self._ensure_reported(self.runs.read(run.run_id) or run)
        if outcome is CommitOutcome.ALREADY_DONE:
            item = self.messages.read(run.run_id, commit.message.number)
            if item is not None:
                self.repair(run, item)
        return outcome is CommitOutcome.COMMITTED

    def _conclude(self, run: Run) -> None:
        """Close a run that nobody closed (its last delivery died, or was before the end of sending), or report it."""
        if run.is_done:
            self.lifecycle.close_if_done(run.run_id)
            return
        self._ensure_reported(run)
        again = f"`rotation replay {run.run_id}` asks again"
        self.telemetry.info("done", f"run {run.status}: message ignored; {again}")

    def _ensure_reported(self, run: Run) -> None:
        if not self.lifecycle.report(run):
            raise ClaimedError(
                f"another invocation is reporting the totals of {run.run_id}; the message comes again by itself"
            )


class Consumer(msgspec.Struct, RunService, frozen=True):
    """The base of the two consumers: takes deliveries through `store`, and closes their run when it is done."""

    store: MessageStore
    max_error_percent: int

    @property
    def lifecycle(self) -> RunLifecycle:
        return self.store.lifecycle

    def close_if_done(self, run_id: str) -> None:
        """Stop a run that mostly fails, close one that is done, report what was not reported."""
        self.lifecycle.close_if_done(run_id, max_error_percent=self.max_error_percent)
