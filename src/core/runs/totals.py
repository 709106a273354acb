"""The accounts of a part and of a run (docs/design/formats.md)."""

from typing import Final

import msgspec


class Totals(msgspec.Struct, frozen=True, kw_only=True):
    """The accounts of a part or of a run; all ints, and `scanned == resolved + lml_error` on each."""

    identities_scanned: int = 0
    identities_resolved: int = 0
    warmed_releases: int = 0
    warmed_artists: int = 0
    not_found: int = 0
    not_implemented: int = 0
    lml_error: int = 0
    not_attempted: int = 0
    artist_errors: int = 0
    lml_requests: int = 0
    retries: int = 0
    discogs_calls_estimated: int = 0
    warmed_without_artists: int = 0
    """Warmed releases without any artist: tombstones, unless Discogs was down."""
    breaker_rest_seconds: int = 0
    """Paced seconds for which this run had everybody rest, since LML's breaker was open."""
    discogs_rest_seconds: int = 0
    """The same, since Discogs was down."""

    @property
    def rested(self) -> list[str]:
        """How long everybody rested for this run and why, for a person; empty if nobody did."""
        rests = {"LML's breaker was open": self.breaker_rest_seconds, "Discogs was down": self.discogs_rest_seconds}
        return [f"rested {seconds} s, since {why}" for why, seconds in rests.items() if seconds]

    @property
    def all_failed(self) -> bool:
        """There were verdicts, and every one of them was an error."""
        return self.lml_error == self.identities_scanned > 0

    def __add__(self, other: "Totals") -> "Totals":
        return Totals(**{name: getattr(self, name) + getattr(other, name) for name in TOTALS})


TOTALS: Final = Totals.__struct_fields__
REPORTED_TOTALS: Final = TOTALS[:7]
"""The totals that alert rules, dashboards and the span know by name (docs/design/formats.md)."""
ERROR_TOTALS: Final = Totals(identities_scanned=1, lml_error=1)
"""The share of an identity whose last attempt failed."""
