"""When the job runs: the template's schedule, in the forms in which it travels (docs/design/telemetry.md)."""

import re
from typing import TYPE_CHECKING, Final

import msgspec

if TYPE_CHECKING:
    from sentry_sdk._types import MonitorConfig

CHECK_IN_MARGIN: Final = 15
"""Minutes by which a run may begin late before Sentry calls it missed."""
LONGEST_ON_TIME: Final = 180
"""Minutes that a run may take before Sentry calls it timed out; a longer one is late by design (docs/runbook.md)."""
_FIELDS: Final = ((0, 59), (0, 23), (1, 31), (1, 12), (0, 6))
"""Lowest and highest of minute, hour, day of the month, month, day of the week, as crontab counts them."""
_WEEKDAY: Final = 4


class Schedule(msgspec.Struct, frozen=True):
    """Five fields of crontab, and the IANA time zone that they are in."""

    crontab: str
    time_zone: str

    @property
    def monitor(self) -> "MonitorConfig":
        """The configuration of Sentry's cron monitor, which goes along with each check-in."""
        return {
            "schedule": {"type": "crontab", "value": self.crontab},
            "timezone": self.time_zone,
            "checkin_margin": CHECK_IN_MARGIN,
            "max_runtime": LONGEST_ON_TIME,
        }


def crontab_of(expression: str) -> str:
    """Return five fields of crontab for these, or for EventBridge's `cron(...)`; raises ValueError for another form.

    EventBridge has six fields, counts the days of the week from 1, and writes `?` for a day that the other field says.
    """
    match = re.fullmatch(r"cron\((.*)\)", expression.strip())
    fields = (match[1] if match else expression).split()
    if match:
        if len(fields) != len(_FIELDS) + 1 or fields.pop() != "*":
            raise ValueError("it must have six fields, the last of them *")
        fields[_WEEKDAY] = re.sub(r"(?<![\d/])\d+", lambda number: str(int(number[0]) - 1), fields[_WEEKDAY])
    if len(fields) != len(_FIELDS):
        raise ValueError("it must be cron(...) with six fields, or five fields")
    return " ".join(map(_field, fields, range(len(_FIELDS))))


def _field(text: str, at: int) -> str:
    lowest, highest = _FIELDS[at]
    value = r"(\d{1,2}|[A-Za-z]{3})"
    if text == "?":
        return "*"
    if not re.fullmatch(rf"(\*|{value}(-{value})?)(/\d+)?(,{value}(-{value})?(/\d+)?)*", text):
        raise ValueError(f"crontab has no form for {text}")
    if not all(lowest <= int(number) <= highest for number in re.findall(r"(?<![\d/])\d+", text)):
        raise ValueError(f"{text} is not within {lowest} to {highest}")
    return re.sub(r"(?<![\d-])(\d+)/", rf"\1-{highest}/", text)  # from a number on, which crontab says as a range
