"""Item `PACE` / `discogs`: the budget that all slots share."""

from typing import Final

import msgspec

from core.aws.table import Item, Table
from core.budget.pacing import Pace

_KEY: Final = ("PACE", "discogs")
_decode = msgspec.json.Decoder(Pace).decode
_encode = msgspec.json.Encoder().encode


class PaceItem(msgspec.Struct, frozen=True):
    """`throttle.PaceStore` over DynamoDB; the state is one JSON text, so that a person can read it in the console."""

    table: Table

    def read_pace(self) -> tuple[Pace, int]:
        """Return the state and its revision; an absent item is a fresh budget at revision 0."""
        item = self.table.read(*_KEY)
        return (Pace(), 0) if item is None else (_decode(str(item["state"])), int(str(item["revision"])))

    def write_pace(self, pace: Pace, revision: int) -> bool:
        """Replace the state that was read at `revision`; False when another slot was faster."""
        item: Item = dict(zip(("pk", "sk"), _KEY, strict=True))
        item |= {"state": _encode(pace).decode(), "revision": revision + 1}
        if revision == 0:
            return self.table.put(item, "attribute_not_exists(pk)")
        return self.table.put(item, "revision = :revision", revision=revision)
