"""`python -m bench.cost`, which is `make cost`: a cold and a warm day in dollars.

What a day uses is measured (`bench.days`), what stands by is counted in the template, prices are below. Free tiers
and the picker are left out, and so is the table's storage: 30 days of accounts are less than a megabyte.
"""

from argparse import ArgumentParser
from collections.abc import Iterator
from dataclasses import dataclass
from math import ceil
from pathlib import Path
from typing import Any, Final

import msgspec

from bench.days import STORED, Day, Measured
from local import deploy

PRICED_ON: Final = "2026-11-22"
"""When these prices were looked up: AWS's public ones, US East (N. Virginia), on demand, first tier, without tax."""
GB_SECOND: Final = {"arm64": 0.0000133334, "x86_64": 0.0000166667}
LAMBDA_REQUEST: Final = 0.20 / 1e6
WRITE_UNIT: Final = 0.625 / 1e6
READ_UNIT: Final = 0.125 / 1e6
SQS_REQUEST: Final = 0.40 / 1e6
LOG_BYTE: Final = 0.50 / 1e9
SECRET_READ: Final = 0.05 / 1e4
METRIC_HOUR: Final = 0.30 / 730  # a custom metric is billed for the hours that it is written in
ALARM_METRIC_MONTH: Final = 0.10  # for each metric that an alarm looks at
DASHBOARD_MONTH: Final = 3.00
SECRET_MONTH: Final = 0.40
NAT_HOUR: Final = 0.045
MONTH: Final = 365 / 12  # days

POLLERS: Final = 5  # of an event source that waits; each asks anew after 20 s (Lambda's documentation)
POLL_SECONDS: Final = 20
SECRETS: Final = {"FanOutFunction": 3, "RefreshFunction": 2}
"""Secrets that a start reads: Sentry's DSN and LML's key, fan-out also the database's password."""
STARTS: Final = {"FanOutFunction": 1, "RefreshFunction": 2}
"""Environments that a day begins with: nothing of the day before is warm, and two slots refresh."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One line of a bill: what is used on a cold and on a warm day, in a unit, and the unit's price in dollars."""

    what: str
    cold: float
    warm: float
    price: float
    digits: int = 0

    @property
    def dollars(self) -> tuple[float, float]:
        return self.cold * self.price, self.warm * self.price

    def row(self) -> str:
        used = (f"{number:,.{self.digits}f}" for number in (self.cold, self.warm))
        return "| " + " | ".join([self.what, *used, *map(_dollars, self.dollars)]) + " |"


def of_a_run(measured: Measured, template: deploy.Template) -> list[Line]:
    """Return what the day's run costs."""
    resources, cold, warm = template["Resources"], measured.cold, measured.warm

    def line(what: str, price: float, used: tuple[float, float], digits: int = 0) -> Line:
        return Line(what=what, cold=used[0], warm=used[1], price=price, digits=digits)

    def gigabyte_seconds(day: Day) -> float:
        used = 0.0
        for name, work in day.functions.items():
            seconds = work.seconds + STARTS.get(name, 0) * measured.init_seconds
            used += seconds * resources[name]["Properties"]["MemorySize"] / 1024
        return used

    def each(day: Day) -> dict[str, float]:
        invocations = sum(work.invocations for work in day.functions.values())
        return {
            "compute": gigabyte_seconds(day),
            "invocations": invocations,
            # The event source receives and deletes what the functions send.
            "sqs": sum(day.sqs_requests.values()) + 2 * day.functions["RefreshFunction"].invocations,
            "metrics": day.metrics * (ceil(day.makespan_seconds / 3600) + 1),
        }

    of_cold, of_warm = each(cold), each(warm)
    secrets = sum(STARTS[name] * number for name, number in SECRETS.items())
    architecture = template["Parameters"]["Architecture"]["Default"]
    return [
        line("Lambda, GB-seconds", GB_SECOND[architecture], (of_cold["compute"], of_warm["compute"]), 1),
        line("Lambda, invocations", LAMBDA_REQUEST, (of_cold["invocations"], of_warm["invocations"])),
        line("DynamoDB, write units", WRITE_UNIT, (cold.write_units, warm.write_units)),
        line("DynamoDB, read units", READ_UNIT, (cold.read_units, warm.read_units)),
        line("SQS, requests for messages", SQS_REQUEST, (of_cold["sqs"], of_warm["sqs"])),
        line("CloudWatch, bytes of logs", LOG_BYTE, (cold.log_bytes, warm.log_bytes)),
        line("CloudWatch, hours of custom metrics", METRIC_HOUR, (of_cold["metrics"], of_warm["metrics"])),
        line("Secrets Manager, reads", SECRET_READ, (secrets, secrets)),
    ]


def standing_by(template: deploy.Template) -> list[Line]:
    """Return what a day costs even if nothing runs."""
    kinds: dict[str, list[dict[str, Any]]] = {}
    for resource in template["Resources"].values():
        if resource.get("Condition") != "PickerEnabled":
            kinds.setdefault(resource["Type"], []).append(resource["Properties"])
    polls = len(kinds["AWS::Lambda::EventSourceMapping"]) * POLLERS * 86_400 / POLL_SECONDS
    watched = sum(
        sum("MetricStat" in metric for metric in alarm.get("Metrics", [])) or 1
        for alarm in kinds["AWS::CloudWatch::Alarm"]
    )
    monthly = (
        ("CloudWatch, metrics with an alarm", watched, ALARM_METRIC_MONTH),
        ("CloudWatch, dashboard", len(kinds["AWS::CloudWatch::Dashboard"]), DASHBOARD_MONTH),
        ("Secrets Manager, secrets", max(SECRETS.values()), SECRET_MONTH),
    )
    return [
        Line(what="SQS, requests of event sources that wait", cold=polls, warm=polls, price=SQS_REQUEST),
        *(Line(what=what, cold=number, warm=number, price=price / MONTH) for what, number, price in monthly),
    ]


def table(measured: Measured, template: deploy.Template) -> Iterator[str]:
    """Yield the lines of a Markdown table."""
    run, idle = of_a_run(measured, template), standing_by(template)
    yield "| | cold: used | warm: used | cold: dollars | warm: dollars |"
    yield "| --- | ---: | ---: | ---: | ---: |"
    yield from (line.row() for line in run)
    yield _sum("**the run**", run)
    yield from (line.row() for line in idle)
    yield _sum("**standing by**", idle)
    yield _sum("**the day**", run + idle)
    yield Line(what="a NAT gateway, if it is for this job alone, hours", cold=24, warm=24, price=NAT_HOUR).row()


def source(measured: Measured) -> str:
    """Say where the figures come from."""
    cold, warm = measured.cold, measured.warm
    return (
        f"Measured on {measured.on}, commit {measured.commit}, {measured.machine}, at {measured.speed:g} times real "
        f"time: {cold.identities} identities, {measured.readers:g} readers a minute, {cold.makespan_seconds:,.0f} s "
        f"for the cold run and {warm.makespan_seconds:,.0f} s for the warm one. Prices of {PRICED_ON}, us-east-1."
    )


def _sum(what: str, lines: list[Line]) -> str:
    cold, warm = (sum(line.dollars[day] for line in lines) for day in (0, 1))
    return f"| {what} | | | **{_dollars(cold)}** | **{_dollars(warm)}** |"


def _dollars(amount: float) -> str:
    return f"{amount:.4f}"


def read(path: Path = STORED) -> Measured:
    return msgspec.json.decode(path.read_bytes(), type=Measured)


def main() -> None:
    parser = ArgumentParser(prog="python -m bench.cost", description=__doc__)
    parser.add_argument("--days", type=Path, default=STORED, help="what `python -m bench.days` wrote [%(default)s]")
    measured = read(parser.parse_args().days)
    template = deploy.transform(deploy.read())
    print("\n".join([*table(measured, template), "", source(measured)]))  # noqa: T201 - its answer


if __name__ == "__main__":
    main()
