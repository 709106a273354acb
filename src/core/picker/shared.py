"""The second level of the picker's caches, a table of its own: answers, claims, turns, and the bucket of calls."""

import hashlib
import uuid
from collections.abc import Callable
from math import ceil
from typing import Final, Generic, TypeVar

import msgspec
from botocore.exceptions import BotoCoreError, ClientError

from core.aws.table import Item, Table
from core.clock import Clock
from core.picker.caches import CLAIM_SECONDS, DAY, CachedValue, KeptAnswer, Standing
from core.picker.order import Last, Survey
from core.picker.tracks import LookupKey

_BUCKET: Final = ("PACE", "lookup")
_ANSWER: Final = "ANSWER"
_CLAIM: Final = "CLAIM"
_TURN: Final = "TURN"
_NAMES_LIFE: Final = 8 * DAY
"""Seconds for which an answer's item outlives it: a row's marker is obeyed for seven days, unless its names changed."""
_TURN_LIFE: Final = 400 * DAY
"""Longer than the walks need to come by all of 30,000 rows where LML is slow: about 300 days."""
_V = TypeVar("_V", bound=CachedValue)


class SharedAnswers(msgspec.Struct, Generic[_V], frozen=True):
    """`caches.SharedLevel` over items `<kind>#<id>`; an answer is one JSON text, for a person to read too.

    Of a row the latest answer is kept, with the names that were asked for; under other names it is none.
    Reading and claiming raise the SDK's errors. Writing and giving a claim back do not: the answer is there already,
    and a claim lapses; `warn` hears of it.
    """

    table: Table
    kind: str
    shape: type[_V]
    clock: Clock
    warn: Callable[[Exception], None]

    def read(self, key: int | LookupKey) -> KeptAnswer[_V] | None:
        """Return an answer; one that an older version wrote in another shape is none."""
        item = self.table.read(self._pk(key), _ANSWER)
        if item is None or (isinstance(key, LookupKey) and _names(item) != key[1:]):
            return None
        try:
            value = msgspec.json.decode(str(item["answer"]), type=self.shape)
            return KeptAnswer(value, _number(item, "kept_at"), _number(item, "until"))
        except (msgspec.DecodeError, KeyError):
            return None

    def last(self, rotation_id: int) -> Last | None:
        """Return what a row was last asked under, and when; raises the SDK's errors."""
        item = self.table.read(self._pk(rotation_id), _ANSWER)
        return None if item is None else _last(item)

    def write(self, key: int | LookupKey, kept: KeptAnswer[_V]) -> None:
        item: Item = {
            "pk": self._pk(key),
            "sk": _ANSWER,
            "answer": msgspec.json.encode(kept.value).decode(),
            "found": int(kept.value.found),
            "release_id": kept.value.fetches or 0,
            "kept_at": ceil(kept.at),  # not before a marker of the same second
            "until": int(kept.until),
            "expires_at": int(kept.until + _NAMES_LIFE),
        }
        if isinstance(key, LookupKey):
            item |= {"artist": key.artist, "album": key.album}
        try:
            self.table.write_all([item])
        except (BotoCoreError, ClientError) as error:  # among others: an answer above an item's 400 kB
            self.warn(error)

    def claim(self, key: int | LookupKey) -> str | None:
        now = self.clock.utc().timestamp()
        claim, lapses_at = uuid.uuid4().hex, int((now + CLAIM_SECONDS) * 1000)
        item: Item = {"pk": self._pk(key), "sk": _claim(key), "claim": claim, "lapses_at": lapses_at}
        item["expires_at"] = lapses_at // 1000 + 1
        free = self.table.put(item, "attribute_not_exists(pk) OR lapses_at <= :now", now=int(now * 1000))
        return claim if free else None

    def release(self, key: int | LookupKey, claim: str) -> None:
        try:
            self.table.delete(self._pk(key), _claim(key), "claim = :mine", mine=claim)
        except (BotoCoreError, ClientError) as error:
            self.warn(error)

    def _pk(self, key: int | LookupKey) -> str:
        return f"{self.kind}#{key.rotation_id if isinstance(key, LookupKey) else key}"


class SharedTurns(msgspec.Struct, frozen=True):
    """When the walk last asked LML for each row, whatever came of it; and how all the answers stand."""

    table: Table
    clock: Clock
    warn: Callable[[Exception], None]

    def note(self, rotation_id: int) -> None:
        """Note that a row has had its turn; a turn that cannot be noted costs the next walk a call at most."""
        now = int(self.clock.utc().timestamp())
        item: Item = {"pk": f"PICK#{rotation_id}", "sk": _TURN, "kept_at": now, "expires_at": int(now + _TURN_LIFE)}
        try:
            self.table.write_all([item])
        except (BotoCoreError, ClientError) as error:
            self.warn(error)

    def survey(self) -> Survey:
        """Read the table through, without the answers themselves; raises the SDK's errors."""
        found = Survey()
        for item in self.table.scan("pk", "sk", "artist", "album", "found", "release_id", "kept_at", "until"):
            kind, _, number = str(item["pk"]).partition("#")
            match kind, item["sk"]:
                case "PICK", "TURN":
                    found.turns[int(number)] = _number(item, "kept_at")
                case "PICK", "ANSWER":
                    last = _last(item)
                    if last is not None:
                        found.picks[int(number)] = last
                case "RELEASE", "ANSWER":
                    found.releases[int(number)] = _standing(item)
                case _:
                    pass
        return found


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


def _claim(key: int | LookupKey) -> str:
    """Return the sort key of a claim: nobody waits for an answer under the names of before."""
    if not isinstance(key, LookupKey):
        return _CLAIM
    return f"{_CLAIM}#{hashlib.blake2b(repr(key[1:]).encode(), digest_size=12).hexdigest()}"


def _names(item: Item) -> tuple[object, object]:
    return item.get("artist"), item.get("album")


def _last(item: Item) -> Last | None:
    artist, album = _names(item)
    if not isinstance(artist, str) or not isinstance(album, str):
        return None
    return Last(artist, album, _standing(item))


def _standing(item: Item) -> Standing:
    return Standing(
        _number(item, "kept_at"),
        _number(item, "until"),
        bool(item.get("found")),
        int(str(item.get("release_id", 0))) or None,
    )


def _number(item: Item, name: str) -> float:
    return float(str(item.get(name, 0)))
