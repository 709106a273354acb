"""Identity ids to refresh messages: the wire format of docs/design/formats.md and the batching rule."""

from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Annotated, Final, Literal

import msgspec

from core.settings import LML_REFRESH_BATCH_CAP
from core.validation import in_words

MAX_PARTS: Final = 100
"""Parts of one message before what is left counts as not attempted (docs/design/throttle.md)."""

MAX_PARTS_BY_HAND: Final = 10
"""The same for a message without a run, which no ledger watches (docs/design/formats.md)."""

IdentityId = Annotated[int, msgspec.Meta(ge=1, le=2**63 - 1)]
Count = Annotated[int, msgspec.Meta(ge=0, le=2**31 - 1)]
Attempts = Annotated[int, msgspec.Meta(ge=1, le=2**31 - 1)]
Moment = Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)]


class MalformedMessageError(ValueError):
    """A body that is no refresh message; its text is the reason under which it is parked."""


class Carried(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """The knowledge that a part hands to the next one; times are whole paced seconds."""

    in_doubt: dict[int, Moment] = {}
    """Id to when it was first answered as warmed without artists: asked again after all others."""
    artists_shed: dict[int, Attempts] = {}
    """Id to how often LML's breaker has turned away artists of it: asked again after all fresh ids."""
    discogs_up: Moment = 0
    """When Discogs was last seen to be up."""
    not_before: Moment = 0
    """The end of a back-off that is longer than SQS can hold a message back."""


NOTHING_CARRIED: Final = Carried()


class RefreshMessage(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Up to 50 identities on their way to LML; `failed` holds how often an id has failed so far."""

    version: Literal[1]
    run_id: Annotated[str, msgspec.Meta(min_length=1, max_length=128)] | None = None
    message: Count = 0
    part: Count = 0
    identity_ids: Annotated[tuple[IdentityId, ...], msgspec.Meta(min_length=1, max_length=LML_REFRESH_BATCH_CAP)]
    failed: dict[IdentityId, Attempts] = {}
    carried: Carried | msgspec.UnsetType = msgspec.UNSET

    def __post_init__(self) -> None:
        if len(set(self.identity_ids)) != len(self.identity_ids):
            raise ValueError("identity_ids repeats an id")
        reasons = {"failed": self.failed, "in_doubt": self.known.in_doubt, "artists_shed": self.known.artists_shed}
        for name, ids in reasons.items():
            if strangers := ids.keys() - set(self.identity_ids):
                raise ValueError(f"{name} names ids that are not in identity_ids: {sorted(strangers)}")

    @property
    def known(self) -> Carried:
        """What the part before this one has handed on."""
        return NOTHING_CARRIED if self.carried is msgspec.UNSET else self.carried

    @property
    def attempts(self) -> dict[int, int]:
        """Every id of this message with how often it has failed so far, in sending order."""
        return {identity: self.failed.get(identity, 0) for identity in self.identity_ids}

    def next_part(self, attempts: dict[int, int], carried: Carried = NOTHING_CARRIED) -> "RefreshMessage":
        """The message that carries on with what is left (`attempts`: id to failures, not empty)."""
        return RefreshMessage(
            version=1,
            run_id=self.run_id,
            message=self.message,
            part=self.part + 1,
            identity_ids=tuple(attempts),
            failed={identity: count for identity, count in attempts.items() if count},
            carried=msgspec.UNSET if carried == NOTHING_CARRIED else carried,
        )


_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(RefreshMessage).decode


def encode(message: RefreshMessage) -> str:
    """The SQS body."""
    return _encode(message).decode()


def decode(body: str) -> RefreshMessage:
    """The message in an SQS body; raises `MalformedMessageError` with the reason."""
    try:
        return _decode(body)
    except (msgspec.MsgspecError, ValueError) as error:
        raise MalformedMessageError(f"not a refresh message: {in_words(error)}") from None


def batches(ids: Iterable[int], size: int) -> Iterator[tuple[int, ...]]:
    """`ids` in their order, `size` at a time; the last batch may be smaller, none is empty."""
    if not 1 <= size <= LML_REFRESH_BATCH_CAP:
        raise ValueError(f"a message carries 1 to {LML_REFRESH_BATCH_CAP} ids, not {size}")
    remaining = iter(ids)
    while batch := tuple(islice(remaining, size)):
        yield batch
