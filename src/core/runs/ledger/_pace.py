"""Item `PACE` / `discogs`: the pace that all slots share."""

from typing import Final

import msgspec

from core.aws.table import Table
from core.budget.pacing import Pace

_KEY: Final = {"pk": "PACE", "sk": "discogs"}


class _Stored(Pace, frozen=True, kw_only=True):
    revision: int


class PaceItem(msgspec.Struct, frozen=True):
    """`throttle.PaceStore` over DynamoDB: an attribute for each field of `Pace` that is not empty, and `revision`."""

    table: Table

    def read_pace(self) -> tuple[Pace, int]:
        """Return the state and its revision; an absent item, or one of an older shape, leaves nothing to wait for.

        Raises `msgspec.ValidationError` for an item that this job cannot have written: nothing is sent unpaced.
        """
        item = self.table.read(**_KEY)
        if item is None:
            return Pace(), 0
        stored = msgspec.convert(item, _Stored)
        return Pace(**{name: getattr(stored, name) for name in Pace.__struct_fields__}), stored.revision

    def write_pace(self, pace: Pace, revision: int) -> bool:
        """Replace the state that was read at `revision`; False when another slot was faster."""
        known = {name: value for name, value in msgspec.structs.asdict(pace).items() if value not in {None, ""}}
        item = {**_KEY, **known, "revision": revision + 1}
        if revision == 0:
            return self.table.put(item, "attribute_not_exists(pk)")
        return self.table.put(item, "revision = :revision", revision=revision)
