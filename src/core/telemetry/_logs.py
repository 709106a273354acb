"""One JSON object a line, on standard output (docs/design/telemetry.md)."""

import logging
import sys
from collections.abc import Mapping
from typing import Final, Literal, TextIO, TypeAlias

from aws_lambda_powertools import Logger

from core.redaction import Redaction
from core.telemetry._names import TOOL

LogStep: TypeAlias = Literal[
    "init",
    "deploy_guard",
    "plan",
    "dry_run",
    "slice_error",
    "malformed_response",
    "unknown_status",
    "resting",
    "handed_on",
    "stopping",
    "done",
    "refused",
    "failed",
    "picker",
    "warm",
]


class _Stdout(logging.StreamHandler[TextIO]):
    """Writes to what sys.stdout is at that moment: the logger, which Python keeps for ever, may outlive it."""

    def emit(self, record: logging.LogRecord) -> None:
        self.stream = sys.stdout
        super().emit(record)


_HANDLER: Final = _Stdout(sys.stdout)  # one for all: Powertools configures the logger of a name once a process


class Logs:
    def __init__(self, redact: Redaction) -> None:
        self._redact = redact
        self._powertools = Logger(
            service=TOOL,
            tool=TOOL,
            logger_handler=_HANDLER,
            log_record_order=["timestamp", "level", "step", "run_id", "message"],
            utc=True,
            use_rfc3339=True,
        )
        self._logger = logging.getLogger(TOOL)  # the one that Powertools has just configured
        self._logger.propagate = False  # Lambda's root handler would write each line again

    def bind(self, run_id: str | None) -> None:
        self._powertools.append_keys(run_id=run_id)  # None: the formatter leaves the key out

    def write(self, level: int, step: LogStep, message: str, fields: Mapping[str, object]) -> None:
        extra = {"step": step} | {name: self._redact(value) for name, value in fields.items()}
        self._logger.log(level, self._redact.text(message), extra=extra, stacklevel=3)
