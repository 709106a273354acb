"""Sending to SQS: refresh messages ten at a time or one by one with a delay, and messages that nobody can read."""

import random
import time
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Final, TypeAlias

import msgspec

from core.runs.plan import RefreshMessage, encode

if TYPE_CHECKING:
    from mypy_boto3_sqs import SQSClient
    from mypy_boto3_sqs.type_defs import MessageAttributeValueTypeDef, SendMessageBatchRequestEntryTypeDef

SEND_BATCH: Final = 10
"""Messages that one SendMessageBatch takes."""
LONGEST_DELAY: Final = 900
"""Seconds that SQS can hold a message back."""
_MAX_TRIES: Final = 8
"""Tries of the entries that SQS refused for a reason of its own."""

Headers: TypeAlias = Mapping[str, str]
"""Trace headers that travel as message attributes; empty ones are left out, since SQS refuses them."""


class SendError(Exception):
    """SQS did not take every message of a batch; what it took stays sent."""


class RefreshQueue(msgspec.Struct, frozen=True):
    """Where refresh messages wait."""

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
        raise SendError(f"SQS refused messages {numbers}: {codes}")

    def send(self, message: RefreshMessage, headers: Headers, *, delay: int) -> None:
        """Send one message that nobody sees for `delay` seconds of wall time."""
        self.client.send_message(
            QueueUrl=self.url,
            MessageBody=encode(message),
            MessageAttributes=_attributes(headers),
            DelaySeconds=min(delay, LONGEST_DELAY),
        )


class ParkedQueue(msgspec.Struct, frozen=True):
    """Where bodies wait for a person that no function can work on."""

    client: "SQSClient"
    url: str

    def park(self, body: str, reason: str) -> None:
        """Keep a body as it came, its reason beside it."""
        self.client.send_message(
            QueueUrl=self.url, MessageBody=body, MessageAttributes=_attributes({"reason": ascii(reason)[1:-1][:256]})
        )


def _attributes(texts: Headers) -> "dict[str, MessageAttributeValueTypeDef]":
    return {name: {"DataType": "String", "StringValue": text} for name, text in texts.items() if text}
