"""Names that all of telemetry uses, importable without Sentry's SDK."""

from collections.abc import Mapping
from typing import Final, TypeAlias

TOOL: Final = "rotation-artist-backfill"
RUN_OP: Final = "job.run"
TOTALS_OP: Final = f"{TOOL}.totals"

TraceHeaders: TypeAlias = Mapping[str, str]
"""`sentry-trace` and `baggage` of a run; those that are empty are left out."""
