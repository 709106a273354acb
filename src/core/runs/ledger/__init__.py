"""The accounts of every run, in one DynamoDB table (docs/design/ledger.md).

Each class owns one kind of item. A method is one request, or one request repeated until it is answered; what a crash
between two of them leaves behind is repaired by whoever reads next.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING

import msgspec

from core.aws.table import Table
from core.runs.ledger._lock import Lock
from core.runs.ledger._messages import Commit, CommitOutcome, Message, Messages
from core.runs.ledger._pace import PaceItem
from core.runs.ledger._progress import Progress, ProgressItems
from core.runs.ledger._runs import OPEN, Run, Runs, Status

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

__all__ = [
    "OPEN",
    "Commit",
    "CommitOutcome",
    "Ledger",
    "Lock",
    "Message",
    "Messages",
    "PaceItem",
    "Progress",
    "Run",
    "Runs",
    "Status",
]


class Ledger(msgspec.Struct, frozen=True):
    """The table, by kind of item."""

    runs: Runs
    messages: Messages
    lock: Lock
    pace: PaceItem
    progress: ProgressItems


def open_ledger(client: "DynamoDBClient", table_name: str, redact: Callable[[str], str] = str) -> Ledger:
    """Wire a ledger to its table, in which every text is written as `redact` leaves it; makes no request."""
    table = Table(client, table_name, redact=redact)
    return Ledger(Runs(table), Messages(table), Lock(table), PaceItem(table), ProgressItems(table))
