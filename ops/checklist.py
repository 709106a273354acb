"""Checks, made one by one whatever fails; each has a line for people and an object for programs."""

import time
import traceback
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Final, Literal, TypeAlias

import click
from botocore.exceptions import BotoCoreError, ClientError
from rich.console import Console

from core.environment import SettingsError
from core.lml.client import RefreshError
from core.rotation.table import DatabaseError
from ops.answer import ALARM, GOOD, Answer, advice_of
from ops.target import OperatorError

DETAILS_SHOWN: Final = 20
_COLOURS: Final = {"ok": "green", "failed": "red", "skipped": "yellow"}


@dataclass(frozen=True, slots=True)
class CheckFinding:
    """What a check found; `advice` is the next step, `details` are lines below its own."""

    ok: bool
    reason: str
    advice: str = ""
    details: Sequence[str] = ()


class CannotLookError(OperatorError):
    """A check cannot be made: why not, and what would let it."""

    def __init__(self, reason: str, advice: str) -> None:
        super().__init__(reason)
        self.advice = advice


Check: TypeAlias = Callable[[], CheckFinding]
"""Looks at one thing; what it raises is a failure with that reason."""


@dataclass(frozen=True, slots=True)
class CheckLine:
    """A check and its outcome; `seconds` is how long it took."""

    name: str
    status: Literal["ok", "failed", "skipped"]
    finding: CheckFinding
    seconds: float = 0.0

    @property
    def data(self) -> dict[str, object]:
        return {
            "check": self.name,
            "status": self.status,
            "reason": self.finding.reason,
            "next": self.finding.advice,
            "details": list(self.finding.details),
            "seconds": round(self.seconds, 3),
        }

    def shown(self, width: int) -> Iterator[str]:
        finding = self.finding
        status = click.style(f"{self.status:<7}", fg=_COLOURS[self.status], bold=self.status == "failed")
        following = f" Next: {one_line(finding.advice)}." if finding.advice else ""
        took = "" if self.status == "skipped" else f" ({self.seconds:.2f} s)"
        yield f"{status} {self.name:<{width}}  {one_line(finding.reason)}.{following}{took}"
        yield from (f"  {one_line(detail)}" for detail in finding.details[:DETAILS_SHOWN])
        if len(finding.details) > DETAILS_SHOWN:
            yield f"  and {len(finding.details) - DETAILS_SHOWN} more; --json has them all"


def work_off(checks: Mapping[str, Check], console: Console, skipped: Collection[str] = ()) -> list[CheckLine]:
    """Make every check that is not skipped, and show on the console which one is under way."""
    lines = []
    for name, check in checks.items():
        if name in skipped:
            lines.append(CheckLine(name, "skipped", CheckFinding(ok=True, reason=f"nobody looked: --skip {name}")))
            continue
        began = time.monotonic()
        with under_way(name, console):
            finding = _made(check)
        lines.append(CheckLine(name, "ok" if finding.ok else "failed", finding, time.monotonic() - began))
    return lines


def answer(lines: Sequence[CheckLine], good: str, bad: str, **data: object) -> Answer:
    """Return all lines and a summary: `good` or `bad`, and which checks were skipped."""
    failed = [line.name for line in lines if line.status == "failed"]
    skipped = [line.name for line in lines if line.status == "skipped"]
    verdict = f"{ALARM(bad)}: {', '.join(failed)}" if failed else GOOD(good)
    if skipped:
        verdict += f"; not looked at: {', '.join(skipped)}"
    width = max((len(line.name) for line in lines), default=0)
    shown = [text for line in lines for text in line.shown(width)]
    return Answer([*shown, verdict], {"ok": not failed, **data, "checks": [line.data for line in lines]}, ok=not failed)


def one_line(text: str) -> str:
    """Return a text as a terminal can show it: on one line, nothing that moves the cursor, no final full stop."""
    return " ".join("".join(c if c.isprintable() else " " for c in text).split()).removesuffix(".")


def _made(check: Check) -> CheckFinding:
    try:
        return check()
    except (OperatorError, SettingsError, DatabaseError, RefreshError) as error:
        return CheckFinding(ok=False, reason="; ".join(str(error).splitlines()), advice=_advice(error))
    except (BotoCoreError, ClientError) as error:
        return _refused_by_aws(error)
    except Exception as error:  # noqa: BLE001 - a check that breaks must not hide what the others found
        frame = traceback.extract_tb(error.__traceback__)[-1]  # not its text, which may hold anything
        reason = f"the check itself broke: {type(error).__name__} in {frame.name}, line {frame.lineno}"
        return CheckFinding(ok=False, reason=reason, advice="this is a defect: report it")


def _advice(error: Exception) -> str:
    match error:
        case CannotLookError():
            return error.advice
        case SettingsError():
            return "correct what is named"
        case RefreshError():
            return "see how LML is: GET /health"
        case _:
            return ""  # its text says what to do


def _refused_by_aws(error: Exception) -> CheckFinding:
    what = "AWS says no" if isinstance(error, ClientError) else "AWS cannot be asked"
    return CheckFinding(ok=False, reason=f"{what}: {error}", advice=advice_of(error))


def under_way(name: str, console: Console) -> AbstractContextManager[object]:
    """Show what is being looked at: a spinner on a terminal, a line elsewhere."""
    if console.is_terminal:
        return console.status(name)
    console.print(f"{name} ...", highlight=False)
    return nullcontext()
