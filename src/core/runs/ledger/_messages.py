"""Items `RUN#<id>` / `MESSAGE#00003`: what is left of each message, and which invocation works on it."""

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime
from enum import Enum, auto
from itertools import islice

import msgspec

from core.aws.table import BATCH, Action, Item, Table, TransactionRefusedError
from core.runs.ledger._runs import Runs, expiry
from core.runs.plan import RefreshMessage, decode, encode
from core.runs.totals import Totals


class Message(msgspec.Struct, frozen=True, kw_only=True):
    """A message as the ledger holds it; its lists are JSON texts there, as the body of the next part is."""

    run_id: str
    number: int
    planned: tuple[int, ...]
    next_part: int
    sent_part: int
    """The last part that is known to be in the queue; -1 for none."""
    left: RefreshMessage | None
    """Part `next_part`: the ids without a verdict; None once there are none, or they are not attempted."""
    claimed_by: str | None = None
    claimed_until: int = 0
    not_found: tuple[int, ...] = ()
    without_artists: tuple[int, ...] = ()
    not_attempted: tuple[int, ...] = ()
    failed: dict[int, str] = {}
    """Id to reason, for every `lml_error`."""

    def is_claimed(self, now: datetime, *, by_other_than: str) -> bool:
        """True if another invocation works on it."""
        return self.claimed_by not in {None, by_other_than} and self.claimed_until > now.timestamp()


class Commit(msgspec.Struct, frozen=True, kw_only=True):
    """What one part of `message` adds to the accounts, once; `left` goes on as the next part."""

    message: Message
    request_id: str
    totals: Totals
    left: RefreshMessage | None = None
    not_found: tuple[int, ...] = ()
    without_artists: tuple[int, ...] = ()
    not_attempted: tuple[int, ...] = ()
    failed: Mapping[int, str] = {}

    @property
    def winner(self) -> str:
        """The invocation and the part of this commit, as the ledger keeps them."""
        return f"{self.message.next_part}/{self.request_id}"

    @property
    def token(self) -> str:
        """The same for every repeat of this commit, and for nothing else."""
        name = f"{self.message.run_id}/{self.message.number}/{self.winner}"
        return hashlib.sha256(name.encode()).hexdigest()[:36]


class CommitOutcome(Enum):
    COMMITTED = auto()
    ALREADY_DONE = auto()
    """Another delivery of the same part was first; nothing was added."""
    RUN_ENDED = auto()
    """The run was closed or finalised meanwhile; nothing was added."""


class Messages(msgspec.Struct, frozen=True):
    """Planned, claimed, committed and handed on, each step conditional on the one before it."""

    table: Table

    def plan(self, messages: Iterable[RefreshMessage], now: datetime) -> tuple[int, int]:
        """Write the items of a plan over whatever an earlier try left; returns (messages, ids) written."""
        remaining = iter(messages)
        count = ids = 0
        while batch := list(islice(remaining, BATCH)):
            self.table.write_all([_planned(message, now) for message in batch])
            count += len(batch)
            ids += sum(len(message.identity_ids) for message in batch)
        return count, ids

    def read(self, run_id: str, number: int) -> Message | None:
        item = self.table.read(*_key(run_id, number))
        return None if item is None else _message(run_id, item)

    def all(self, run_id: str, messages_planned: int) -> Iterator[Message]:
        """Every message of a run; items numbered above the plan are leftovers of an earlier try."""
        for item in self.table.query(_key(run_id, 0)[0], "MESSAGE#"):
            message = _message(run_id, item)
            if message.number < messages_planned:
                yield message

    def mark_sent(self, run_id: str, parts: Mapping[int, int]) -> None:
        """Note for each message number (at most 100) which part is in the queue; a later part's mark stays."""
        pending = dict(parts)
        while pending:
            try:
                self.table.transact([self._marking(run_id, *sent) for sent in pending.items()])
            except TransactionRefusedError as refusal:
                kept = {number: part for at, (number, part) in enumerate(pending.items()) if not refusal.failed(at)}
                if len(kept) == len(pending):
                    raise
                pending = kept
            else:
                return

    def claim(self, message: Message, request_id: str, now: datetime, until: datetime) -> bool:
        """Take the next part for this invocation until its deadline; False when it is another's, or done."""
        return self.table.update(
            *_key(message.run_id, message.number),
            "SET claimed_by = :me, claimed_until = :until",
            "next_part = :part AND (attribute_not_exists(claimed_by) OR claimed_by = :me OR claimed_until <= :now)",
            me=request_id,
            until=int(until.timestamp()),
            now=int(now.timestamp()),
            part=message.next_part,
        )

    def commit(self, commit: Commit, runs: Runs) -> CommitOutcome:
        """Add a part to the accounts in one transaction, at most once whoever repeats it."""
        adding = runs.adding(commit.message.run_id, commit.totals, done=commit.left is None)
        try:
            self.table.transact([self._advancing(commit), adding], token=commit.token)
        except TransactionRefusedError as refusal:
            if refusal.failed(0):
                mine = refusal.old[0].get("winner") == commit.winner
                return CommitOutcome.COMMITTED if mine else CommitOutcome.ALREADY_DONE
            if refusal.failed(1):
                return CommitOutcome.RUN_ENDED
            raise
        return CommitOutcome.COMMITTED

    def _advancing(self, commit: Commit) -> Action:
        before = commit.message
        texts: dict[str, str] = {
            "not_found": _text(before.not_found + commit.not_found),
            "without_artists": _text(before.without_artists + commit.without_artists),
            "not_attempted": _text(before.not_attempted + commit.not_attempted),
            "failed": _text({**before.failed, **commit.failed}),
        }
        if commit.left is not None:
            texts["body"] = encode(commit.left)
        sets = ", ".join(f"{name} = :{name}" for name in texts)
        return self.table.updating(
            *_key(before.run_id, before.number),
            f"SET next_part = :next, winner = :winner, {sets} "
            f"REMOVE claimed_by, claimed_until{', body' if commit.left is None else ''}",
            "next_part = :part",
            next=before.next_part + 1,
            part=before.next_part,
            winner=commit.winner,
            **texts,
        )

    def _marking(self, run_id: str, number: int, part: int) -> Action:
        return self.table.updating(*_key(run_id, number), "SET sent_part = :part", "sent_part < :part", part=part)


_LISTS = ("planned", "not_found", "without_artists", "not_attempted", "failed")
_encode = msgspec.json.Encoder().encode


def _text(value: object) -> str:
    return _encode(value).decode()


def _key(run_id: str, number: int) -> tuple[str, str]:
    return f"RUN#{run_id}", f"MESSAGE#{number:05}"


def _planned(message: RefreshMessage, now: datetime) -> Item:
    pk, sk = _key(message.run_id or "", message.message)
    return {
        "pk": pk,
        "sk": sk,
        "planned": _text(message.identity_ids),
        "body": encode(message),
        "next_part": 0,
        "sent_part": -1,
        "expires_at": expiry(now),
    }


def _message(run_id: str, item: Item) -> Message:
    texts = {name: str(item[name]) for name in _LISTS if name in item}
    lists = {name: msgspec.json.decode(text) for name, text in texts.items()}
    fields: dict[str, object] = {name: item[name] for name in ("next_part", "sent_part") if name in item}
    fields |= {name: item[name] for name in ("claimed_by", "claimed_until") if name in item}
    fields["run_id"], fields["number"] = run_id, int(str(item["sk"]).removeprefix("MESSAGE#"))
    fields["left"] = decode(str(item["body"])) if "body" in item else None
    return msgspec.convert(fields | lists, Message, strict=False)
