"""Events that ask for no work: tests of Lambda's console, and pings that keep an environment warm."""

from collections.abc import Mapping
from typing import Final

NOT_WANTED: Final = "ignored"
"""The outcome of such an event: it is answered, so that no alarm rings, and changes nothing."""
_NOBODY: Final = "123456789012"
"""The account in AWS's samples of EventBridge events, and in no real one."""
_NO_RECEIPT: Final = "MessageReceiptHandle"
"""The receipt in the console's sample of an SQS event; a real one is long, and no word."""


def ignored(hint: str) -> dict[str, object]:
    """Return the answer to an event that asks for no work."""
    return {"outcome": NOT_WANTED, "hint": hint}


def is_of_eventbridge(event: Mapping[str, object]) -> bool:
    """True if a rule or a schedule of EventBridge has sent this; the console's samples do not count."""
    return "detail-type" in event and event.get("account") != _NOBODY


def is_of_sqs(event: object) -> bool:
    """True if this holds messages of SQS in any shape: it has records, and one is of SQS or has a body."""
    records = event.get("Records") if isinstance(event, dict) else None
    if not isinstance(records, list):
        return False
    return any(isinstance(it, dict) and ("body" in it or it.get("eventSource") == "aws:sqs") for it in records)


def is_sample(receipt: object) -> bool:
    """True if a message with this receipt comes from the console, and so lies in no queue."""
    return receipt == _NO_RECEIPT
