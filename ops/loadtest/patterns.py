"""The patterns of readers beside the job, with which a pace is measured."""

from typing import Final

import msgspec
from msgspec.structs import replace

from local.lml.orders import Order

IDENTITIES: Final = 310
"""Of a day."""
PACES: Final = (4, 6, 8, 10, 12, 16, 20)
"""The paces that are tried unless options name others, in calls a minute."""
LOOKUP_OF_A_SONG: Final = 26
"""Discogs calls of a lookup of artist and song, five at once (docs/design/lml.md)."""


class Pattern(msgspec.Struct, frozen=True, kw_only=True):
    """Readers, and what else calls; `unseen` is another LML with the same token."""

    readers: Order
    others: Order | None = None
    unseen: Order | None = None
    workers: int = 1
    """Processes of LML behind its address; three have 16 calls a minute each."""

    def seeded(self, seed: int) -> "Pattern":
        """Return the pattern of one day."""
        return replace(
            self,
            readers=replace(self.readers, seed=seed),
            others=self.others and replace(self.others, seed=1_000_000 + seed),
            unseen=self.unseen and replace(self.unseen, seed=2_000_000 + seed),
        )


PATTERNS: Final = {
    "2 in fives": Pattern(readers=Order(2)),
    "5 in fives": Pattern(readers=Order(5)),
    "10 in fives": Pattern(readers=Order(10)),
    "20 in fives": Pattern(readers=Order(20)),
    "30 in fives": Pattern(readers=Order(30)),
    "10 in fives at once": Pattern(readers=Order(10, at_once=5)),
    "20 in fives at once": Pattern(readers=Order(20, at_once=5)),
    "10 geometric, mean five": Pattern(readers=Order(10, geometric=True)),
    "20 geometric, mean five": Pattern(readers=Order(20, geometric=True)),
    "20 singly": Pattern(readers=Order(20, calls=1)),
    "40 singly": Pattern(readers=Order(40, calls=1)),
    "half-hours of 30 and 2": Pattern(readers=Order(30, quiet_per_minute=2)),
    "bursts of 25 every 75 s": Pattern(
        readers=Order(LOOKUP_OF_A_SONG * 60 / 75, calls=LOOKUP_OF_A_SONG, at_once=5, steady=True)
    ),
    "10 in fives, another job of 25": Pattern(readers=Order(10), others=Order(25, calls=1, steady=True)),
    "10 in fives, staging 5 unseen": Pattern(readers=Order(10), unseen=Order(5)),
    "20 in fives, three workers": Pattern(readers=Order(20), workers=3),
}
"""Calls a minute, and how they come; in fives is one after another."""
