"""`rotation dead-letters`: messages and starts that could not be worked on; lists, replays or discards them."""

import json
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

from msgspec.structs import replace

from core.aws.queues import RefreshQueue
from core.runs.plan import decode
from core.utc import utc_text
from ops.answer import ALARM, Answer, at_a_target, sure
from ops.runs import invoke
from ops.snapshot import LETTER_QUEUES, LetterKind
from ops.target import OperatorError, Target

if TYPE_CHECKING:
    from mypy_boto3_sqs import SQSClient
    from mypy_boto3_sqs.type_defs import MessageTypeDef

HELD: Final = 60  # seconds for which a listed message is ours
SHOWN: Final = 100  # characters of a body


@dataclass(frozen=True, slots=True, kw_only=True)
class Letter:
    """A message that waits for a person."""

    kind: LetterKind
    id: str
    sent: str
    reason: str
    body: str
    receipt: str

    @property
    def data(self) -> dict[str, str]:
        return {"kind": self.kind, "id": self.id, "sent": self.sent, "reason": self.reason, "body": self.body}


@at_a_target
def letters(target: Target, *, ids: Sequence[str], replay: bool, discard: bool, yes: bool) -> Answer:
    """List what waits for a person, or replay or discard it: the messages of these ids, or all."""
    found = _waiting(target)
    held = {letter.id: letter for letter in found}
    lines, not_done = list[str](), list[dict[str, str]]()
    try:
        if unknown := set(ids) - held.keys():
            raise OperatorError(
                f"no such message: {', '.join(sorted(unknown))}; `rotation dead-letters` lists those that wait"
            )
        if discard and found:
            chosen = len(ids) or len(found)
            sure(f"Throw {chosen} message{'' if chosen == 1 else 's'} away for good?", yes=yes)
        for letter in found:
            lines += [f"{letter.kind} {letter.id}, {letter.sent}: {letter.reason}"]
            lines += [f"  {letter.body[:SHOWN]}"]
            if not (replay or discard) or (ids and letter.id not in ids):
                continue
            try:
                if replay:
                    _replay(target, letter)
            except (RecursionError, ValueError, OperatorError) as error:
                why = "it is nested too deeply to be read" if isinstance(error, RecursionError) else str(error)
                why += f"; `rotation dead-letters --discard {letter.id}` throws it away"
                lines += [f"  {ALARM('not replayed')}: {why}"]
                not_done += [{"id": letter.id, "error": why}]
            else:
                _delete(target, held.pop(letter.id))
    finally:
        _give_back(target, held.values())
    done = [letter.id for letter in found if letter.id not in held]
    deed = f", {len(done)} {'replayed' if replay else 'discarded'}" if replay or discard else ""
    lines += [f"{len(found)} found{deed}"]
    return Answer(
        lines, {"letters": [letter.data for letter in found], "done": done, "not_done": not_done}, ok=not not_done
    )


def _replay(target: Target, letter: Letter) -> None:
    """Send a letter to its queue or function again; raises an error with the reason where that cannot be."""
    if letter.kind == "start":
        event = json.loads(letter.body)
        if isinstance(
            event, dict
        ):  # Lambda's record holds the input in a field, the schedule's dead letter is the input
            event = event.get("requestPayload", event)
        invoke(target, event)
        return
    message = decode(letter.body)
    if letter.kind == "parked":
        message = replace(message, run_id=None, message=0, part=0, failed={})
    RefreshQueue(target.client("sqs"), target.names["RefreshQueue"]).send(message, {}, delay=0)


def _waiting(target: Target) -> list[Letter]:
    """Take all that wait in the three queues; the looks take a second each, so they are taken side by side."""
    sqs = target.client("sqs")  # a client may be shared between threads, a session not
    with ThreadPoolExecutor(len(LETTER_QUEUES)) as pool:
        looks = pool.map(lambda kind: list(_receive(sqs, target.names[LETTER_QUEUES[kind]], kind)), LETTER_QUEUES)
        return [letter for look in looks for letter in look]


def _receive(sqs: "SQSClient", url: str, kind: LetterKind) -> Iterator[Letter]:
    """Take all that wait in a queue; nobody else sees them for a minute."""
    while messages := sqs.receive_message(
        QueueUrl=url,
        MaxNumberOfMessages=10,
        WaitTimeSeconds=1,  # a look that does not wait may miss some
        VisibilityTimeout=HELD,
        MessageAttributeNames=["All"],
        AttributeNames=["SentTimestamp"],
    ).get("Messages"):
        for message in messages:
            sent = datetime.fromtimestamp(int(message["Attributes"]["SentTimestamp"]) / 1000, UTC)
            yield Letter(
                kind=kind,
                id=message["MessageId"],
                sent=utc_text(sent),
                reason=_reason(kind, message),
                body=message["Body"],
                receipt=message["ReceiptHandle"],
            )


def _reason(kind: LetterKind, message: "MessageTypeDef") -> str:
    match kind:
        case "parked":
            reason = message.get("MessageAttributes", {}).get("reason")
            return "no reason given" if reason is None else reason.get("StringValue", "no reason given")
        case "dead":
            return "the dead-letter function has not accounted for it"
        case "start":
            try:
                return str(json.loads(message["Body"])["responsePayload"]["errorMessage"])
            except (ValueError, LookupError, TypeError, RecursionError):
                return "given up"


def _delete(target: Target, letter: Letter) -> None:
    target.client("sqs").delete_message(QueueUrl=target.names[LETTER_QUEUES[letter.kind]], ReceiptHandle=letter.receipt)


def _give_back(target: Target, letters: Iterable[Letter]) -> None:
    sqs = target.client("sqs")
    for letter in letters:
        url = target.names[LETTER_QUEUES[letter.kind]]
        sqs.change_message_visibility(QueueUrl=url, ReceiptHandle=letter.receipt, VisibilityTimeout=0)
