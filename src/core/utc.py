"""How UTC times are written in run ids and in the ledger."""

from datetime import UTC, datetime


def utc_text(when: datetime) -> str:
    """Write an aware time to the second, as in `2026-02-03T04:30:00Z`."""
    return when.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def moment_text(when: datetime) -> str:
    """Write an aware time to the millisecond, so that texts sort as what happened: `2026-02-03T04:30:00.000Z`."""
    return when.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
