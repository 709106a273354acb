"""Sending to SQS: refresh messages ten at a time or one by one with a delay, and messages that nobody can read."""

import random
import time
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Final, TypeAlias

import msgspec
from botocore.exceptions import ClientError

from core.runs.plan import RefreshMessage, encode

if TYPE_CHECKING:
    from mypy_boto3_sqs import SQSClient
    from mypy_boto3_sqs.type_defs import MessageAttributeValueTypeDef, SendMessageBatchRequestEntryTypeDef

SEND_BATCH: Final = 10
"""Messages that one SendMessageBatch takes."""
LONGEST_DELAY: Final = 900
"""Seconds that SQS can hold a message back."""
LARGEST_MESSAGE: Final = (1_048_576, 262_144)
"""Bytes that a queue takes in a message, attributes included: as queues are made now, and as they were until 2025."""
_REASON_SHOWN: Final = 256  # characters of a reason beside a parked body
_REASON_ROOM: Final = 300  # bytes for it, its name and its type
_MAX_TRIES: Final = 8
"""Tries of the entries that SQS refused for a reason of its own."""

Headers: TypeAlias = Mapping[str, str]
"""Trace headers that travel as message attributes; empty ones are left out, since SQS refuses them."""


class SendError(Exception):
    """SQS did not take every message of a batch; what it took stays sent."""


class RefreshQueue(msgspec.Struct, frozen=True):
    """The queue of refresh messages."""

    client: "SQSClient"
    url: str
    sleep: Callable[[float], None] = time.sleep

    def send_all(self, messages: Sequence[RefreshMessage], headers: Headers) -> None:
        """Send up to ten messages; raises `SendError` naming those that SQS keeps refusing."""
        attributes = _attributes(headers)
        entries: list[SendMessageBatchRequestEntryTypeDef] = [
            {"Id": str(at), "MessageBody": encode(message), "MessageAttributes": attributes}
            for at, message in enumerate(messages)
        ]
        for tried in range(1, _MAX_TRIES + 1):
            refused = {
                fault["Id"]: fault
                for fault in self.client.send_message_batch(QueueUrl=self.url, Entries=entries).get("Failed", [])
            }
            entries = [entry for entry in entries if entry["Id"] in refused]
            if not entries:
                return
            if any(fault["SenderFault"] for fault in refused.values()):
                break
            self.sleep(random.uniform(0, min(2.0, 0.05 * 2**tried)))  # noqa: S311 - jitter
        numbers = ", ".join(str(messages[int(entry["Id"])].message) for entry in entries)
        codes = ", ".join(sorted({fault["Code"] for fault in refused.values()}))
        raise SendError(f"SQS refused messages {numbers}: {codes}; start the run again, which sends what is left")

    def send(self, message: RefreshMessage, headers: Headers, *, delay: int) -> None:
        """Send one message; SQS delivers it after `delay` wall seconds."""
        self.client.send_message(
            QueueUrl=self.url,
            MessageBody=encode(message),
            MessageAttributes=_attributes(headers),
            DelaySeconds=min(delay, LONGEST_DELAY),
        )


class ParkedQueue(msgspec.Struct, frozen=True):
    """The queue of bodies that no function can read, for a person."""

    client: "SQSClient"
    url: str

    def park(self, body: str, reason: str) -> None:
        """Keep a body as it came, its reason beside it; of one that leaves the reason no room, as much as fits."""
        size = len(body.encode())
        for limit in LARGEST_MESSAGE:
            room = limit - _REASON_ROOM
            note = "" if size <= room else f" (cut: the first {room} of {size} bytes)"
            shown = ascii(reason)[1:-1][: _REASON_SHOWN - len(note)] + note
            try:
                self.client.send_message(
                    QueueUrl=self.url,
                    MessageBody=body.encode()[:room].decode(errors="ignore"),
                    MessageAttributes=_attributes({"reason": shown}),
                )
            except ClientError as error:
                too_long = "InvalidParameterValue" in error.response["Error"]["Code"] and size > LARGEST_MESSAGE[-1]
                if not too_long or limit == LARGEST_MESSAGE[-1]:
                    raise
            else:
                return


def _attributes(texts: Headers) -> "dict[str, MessageAttributeValueTypeDef]":
    return {name: {"DataType": "String", "StringValue": text} for name, text in texts.items() if text}
