"""Items `RUN#<id>` / `PROGRESS#00003`: the state of a part under way, for people; no account depends on it."""

from collections.abc import Iterator
from datetime import datetime
from typing import Final

import msgspec

from core.aws.table import Item, Table
from core.runs.ledger._runs import expiry
from core.runs.totals import Totals
from core.utc import moment_text

_NO_TOTALS: Final = Totals()


class Progress(msgspec.Struct, frozen=True, kw_only=True):
    """One message's part under way; `totals` are not in the run's yet, and empty once they are."""

    totals: Totals = _NO_TOTALS
    answered_at: str | None = None
    """When LML last answered a request for ids, in UTC."""
    error: str | None = None
    """What went wrong with the last request; None if it was answered."""
    at: str = ""
    """When this was written, in UTC."""


_decode = msgspec.json.Decoder(Progress).decode
_encode = msgspec.json.Encoder().encode


class ProgressItems(msgspec.Struct, frozen=True):
    """Written over the item before, after each request, by the invocation that works on the message."""

    table: Table

    def write(self, run_id: str, message: int, progress: Progress, now: datetime) -> None:
        dated = msgspec.structs.replace(progress, at=moment_text(now))
        pk, sk = f"RUN#{run_id}", f"PROGRESS#{message:05}"
        item: Item = {"pk": pk, "sk": sk, "progress": _encode(dated).decode(), "expires_at": expiry(now)}
        self.table.put(item, "attribute_exists(pk) OR attribute_not_exists(pk)")

    def all(self, run_id: str) -> Iterator[Progress]:
        for item in self.table.query(f"RUN#{run_id}", "PROGRESS#"):
            yield _decode(str(item["progress"]))
