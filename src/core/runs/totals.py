"""The accounts of a part and of a run (docs/design/formats.md).

Whoever counts, reports, checks or shows totals takes their names and their rules from here.
"""

from typing import Final, Literal, TypeAlias, get_args

import msgspec

LmlStatus: TypeAlias = Literal["warmed", "not_found", "not_implemented"]
"""What LML resolves an identity as; each but `warmed` is a total of the same name."""
UNWARMED: Final[tuple[LmlStatus, ...]] = tuple(status for status in get_args(LmlStatus) if status != "warmed")
"""The totals of identities that are resolved and were not warmed."""

Trigger: TypeAlias = Literal["scheduled", "manual"]
"""Who started a run; alarms look at the totals of scheduled ones alone."""


class ReportedTotals(msgspec.Struct, frozen=True, kw_only=True):
    """The totals that alert rules, dashboards and the old job's attributes know by name; all are counts."""

    identities_scanned: int = 0
    identities_resolved: int = 0
    warmed_releases: int = 0
    warmed_artists: int = 0
    not_found: int = 0
    not_implemented: int = 0
    lml_error: int = 0


class Totals(ReportedTotals, frozen=True, kw_only=True):
    """The accounts of a part or of a run; all ints."""

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
    def unwarmed(self) -> int:
        """Identities that are resolved and were not warmed."""
        return sum(getattr(self, name) for name in UNWARMED)

    @property
    def warmed(self) -> int:
        """Identities that were warmed."""
        return self.identities_resolved - self.unwarmed

    @property
    def accounted(self) -> int:
        """Identities with a verdict, and those that were not attempted: all that a closed run has planned."""
        return self.identities_scanned + self.not_attempted

    @property
    def balanced(self) -> bool:
        """Every scanned identity is resolved or an error, and what was not warmed lies inside the resolved."""
        return self.identities_scanned == self.identities_resolved + self.lml_error and self.warmed >= 0

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
REPORTED_TOTALS: Final = ReportedTotals.__struct_fields__
SUMMARY_TOTALS: Final = (*REPORTED_TOTALS, "not_attempted")
"""The totals that together account for every planned identity."""
ACCOUNTS: Final = (*SUMMARY_TOTALS, "warmed_without_artists")
"""The accounts that are reported of a run that has ended, on its totals span and in CloudWatch."""


def resolved(status: LmlStatus, **of_sources: int) -> Totals:
    """The share of one identity that LML has resolved; `of_sources` are the totals of what lies under it."""
    verdict = {} if status == "warmed" else {status: 1}
    return Totals(identities_scanned=1, identities_resolved=1, **verdict, **of_sources)


def errors(count: int) -> Totals:
    """The share of identities whose last attempt failed."""
    return Totals(identities_scanned=count, lml_error=count)
