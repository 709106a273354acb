"""Item `LOCK` / `refresh`: one full run at a time."""

from contextlib import suppress
from datetime import datetime, timedelta
from typing import Final

import msgspec
from botocore.exceptions import BotoCoreError, ClientError

from core.aws.table import Action, Table

LEASE: Final = timedelta(hours=3)
_KEY: Final = ("LOCK", "refresh")


class Holder(msgspec.Struct, frozen=True):
    """The run that holds the lock, and whether its lease still runs."""

    run_id: str
    is_live: bool


class Lock(msgspec.Struct, frozen=True):
    """A lease of three hours; the fence is RUN's status, so an overrun lease alone harms nothing."""

    table: Table

    def holder(self, now: datetime) -> Holder | None:
        """Return who holds the lock; None when nobody does."""
        item = self.table.read(*_KEY)
        return None if item is None else Holder(str(item["holder"]), int(str(item["until"])) > now.timestamp())

    def acquire(self, run_id: str, now: datetime, *, instead_of: str | None = None) -> bool:
        """Take the free lock, renew one's own, or take over from a run that has been finalised."""
        pk, sk = _KEY
        return self.table.put(
            {"pk": pk, "sk": sk, "holder": run_id, "until": _lease_end(now)},
            "attribute_not_exists(pk) OR holder IN (:me, :old)",
            me=run_id,
            old=instead_of or run_id,
        )

    def renew(self, run_id: str, now: datetime) -> bool:
        """Extend one's own lease; False when it is another's, or cannot be had now: RUN's status fences, not this."""
        with suppress(BotoCoreError, ClientError):
            return self.table.update(*_KEY, "SET #until = :until", "holder = :me", me=run_id, until=_lease_end(now))
        return False

    def release(self, run_id: str) -> bool:
        """Give the lock back; False when it is another's."""
        return self.table.delete(*_KEY, "holder = :me", me=run_id)

    def releasing(self, run_id: str) -> Action:
        """The same as a part of the transaction that closes a run."""
        return self.table.deleting(*_KEY, "holder = :me", me=run_id)


def _lease_end(now: datetime) -> int:
    return int((now + LEASE).timestamp())
