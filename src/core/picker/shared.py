"""The second level of the picker's caches, in the ledger's table: answers, claims, and the bucket of calls."""

import uuid
from collections.abc import Callable
from typing import Final, Generic, TypeVar

import msgspec
from botocore.exceptions import BotoCoreError, ClientError

from core.aws.table import Item, Table
from core.clock import Clock
from core.picker.caches import CLAIM_SECONDS

_BUCKET: Final = ("PACE", "lookup")
_ANSWER: Final = "ANSWER"
_CLAIM: Final = "CLAIM"
_V = TypeVar("_V")


class SharedAnswers(msgspec.Struct, Generic[_V], frozen=True):
    """`caches.SharedLevel` over items `<kind>#<key>`; an answer is one JSON text, for a person to read too.

    Reading and claiming raise the SDK's errors. Writing and giving a claim back do not: the answer is there already,
    and a claim lapses; `warn` hears of it.
    """

    table: Table
    kind: str
    shape: type[_V]
    clock: Clock
    warn: Callable[[Exception], None]

    def read(self, key: int) -> tuple[_V, float] | None:
        """Return an answer and its end; one that an older version wrote in another shape is none."""
        item = self.table.read(self._pk(key), _ANSWER)
        if item is None:
            return None
        try:
            return msgspec.json.decode(str(item["answer"]), type=self.shape), float(str(item["expires_at"]))
        except msgspec.DecodeError:
            return None

    def write(self, key: int, value: _V, until: float) -> None:
        answer = msgspec.json.encode(value).decode()
        try:
            self.table.write_all([{"pk": self._pk(key), "sk": _ANSWER, "answer": answer, "expires_at": int(until)}])
        except (BotoCoreError, ClientError) as error:  # among others: an answer above an item's 400 kB
            self.warn(error)

    def claim(self, key: int) -> str | None:
        now = self.clock.utc().timestamp()
        claim, lapses_at = uuid.uuid4().hex, int((now + CLAIM_SECONDS) * 1000)
        item: Item = {"pk": self._pk(key), "sk": _CLAIM, "claim": claim, "lapses_at": lapses_at}
        item["expires_at"] = lapses_at // 1000 + 1
        free = self.table.put(item, "attribute_not_exists(pk) OR lapses_at <= :now", now=int(now * 1000))
        return claim if free else None

    def release(self, key: int, claim: str) -> None:
        try:
            self.table.delete(self._pk(key), _CLAIM, "claim = :mine", mine=claim)
        except (BotoCoreError, ClientError) as error:
            self.warn(error)

    def _pk(self, key: int) -> str:
        return f"{self.kind}#{key}"


class SharedMeter(msgspec.Struct, frozen=True):
    """`limiter.Meter` over item `PACE` / `lookup`: one bucket for every environment."""

    table: Table

    def read(self) -> int:
        item = self.table.read(*_BUCKET)
        return 0 if item is None else int(str(item["full_at"]))

    def write(self, full_at: int, seen: int) -> bool:
        pk, sk = _BUCKET
        item: Item = {"pk": pk, "sk": sk, "full_at": full_at}
        if seen == 0:
            return self.table.put(item, "attribute_not_exists(pk)")
        return self.table.put(item, "full_at = :seen", seen=seen)
