"""`rotation loadtest`: what a pace does to DJs and how long the job takes, beside every pattern of readers."""

import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import replace
from itertools import islice
from pathlib import Path
from statistics import fmean
from typing import Final
from urllib.parse import urlsplit

import click
import msgspec
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TimeElapsedColumn

from core import settings
from core.clock import SystemClock
from core.lml.client import RefreshClient
from local.lml.orders import Order
from ops.answer import ALARM, Answer
from ops.loadtest import lines, live, page, runtime
from ops.loadtest.harm import Summary
from ops.loadtest.lines import Line
from ops.loadtest.options import (
    SHARED_MINUTE,
    ids_in,
    lml_at,
    make_writable,
    must_answer,
    refuse_unused,
)
from ops.loadtest.patterns import PACES, PATTERNS, Pattern
from ops.loadtest.report import MeasuredBeside, Report, ReportOrigin, markdown, minutes
from ops.loadtest.sweep import (
    CHOSEN,
    REPLACED,
    WARM,
    WHOLE,
    Case,
    Policy,
    at_pace,
    measure_all,
    summarised,
)

STAND_IN_SPEED: Final = 10.0
WARM_PATTERN: Final = "20 in fives"


def loadtest(
    *,
    names: tuple[str, ...],
    readers: float | None,
    calls: int,
    at_once: int,
    identities: int,
    warm: int,
    paces: tuple[int, ...] | None,
    days: int,
    check: bool,
    stand_in: bool,
    lml_url: str | None,
    ids_file: Path | None,
    speed: float | None,
    measured_for: float | None,
    directory: Path | None,
) -> Answer:
    """Run days of the job beside readers, in the model or over HTTP; or watch an LML."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that the stand-in is ended then too
    watch_only = measured_for is not None
    refuse_unused(stand_in=stand_in, lml_url=lml_url, ids=ids_file, speed=speed, watch_only=watch_only)
    if names and readers is not None:
        raise click.UsageError("--runtime-per-minute takes the place of --pattern")
    if lml_url and urlsplit(lml_url).hostname != "127.0.0.1":
        click.echo(SHARED_MINUTE, err=True)
    if measured_for is not None:
        return _measured(lml_at(lml_url), measured_for)
    if directory:
        make_writable(directory)
    order = Order(per_minute=20 if readers is None else readers, calls=calls, at_once=at_once)
    patterns = {name: PATTERNS[name] for name in names or PATTERNS}
    if readers is not None:
        patterns = {f"{readers:g} by --runtime-per-minute": Pattern(readers=order)}
    if stand_in:
        one = next(iter(patterns.values())) if names or readers is not None else PATTERNS[WARM_PATTERN]
        cases = [Case(pattern=one, seed=seed, identities=identities, warm_percent=warm) for seed in _seeds(days)]
        report = _against_stand_in(cases, speed or STAND_IN_SPEED)
    elif lml_url:
        lml, ids = lml_at(lml_url), ids_in(ids_file)[:identities]
        if speed not in {None, 1} and urlsplit(lml.url).hostname != "127.0.0.1":
            raise click.UsageError(f"--speed is for a stand-in: this LML would get {speed:g} times the pace")
        must_answer(lml, refresh=True)
        report = _against(lml, ids, order, speed=speed or 1)
    else:
        every = sorted({*(paces or PACES), CHOSEN.limits.budget})
        cold = Case(pattern=PATTERNS[WARM_PATTERN], identities=identities, warm_percent=warm)
        report = _by_model(cold, patterns, every, days=days, check=check)
    answer = Answer(list(markdown(report)), msgspec.to_builtins(report), ok=report.holds)
    return answer if directory is None else _written(directory, report, answer)


def _days(number: int, kind: str = "") -> str:
    return " ".join((str(number), *([kind] if kind else []), "day" if number == 1 else "days"))


def _seeds(days: int) -> range:
    return range(1, days + 1)


def _by_model(day: Case, patterns: dict[str, Pattern], paces: Sequence[int], *, days: int, check: bool) -> Report:
    policies: tuple[Policy, ...] = (*map(at_pace, paces), WHOLE, REPLACED)
    seeds = _seeds(days)
    cold = [
        replace(day, pattern=pattern, policies=policies, seed=seed) for pattern in patterns.values() for seed in seeds
    ]
    warm = [replace(day, warm_percent=percent, seed=seed) for percent in WARM for seed in seeds if check]
    with _progress("days", len(cold) + len(warm) + check * lines.KINDS_OF_DAY * days) as (step, _):
        measured = measure_all([*cold, *warm], step)
        beside: dict[str, MeasuredBeside] = {}
        for name in patterns:
            some = list(islice(measured, days))
            foreseen = fmean(one.foreseen for one in some)
            beside[name] = MeasuredBeside(policies=summarised(policies, some), clairvoyant=foreseen)
        by_percent = {
            percent: summarised((CHOSEN,), list(islice(measured, days)))[CHOSEN.name] for percent in WARM if check
        }
        found: list[Line] = []
        if check:
            found += lines.of_cold_days({name: one.policies[CHOSEN.name] for name, one in beside.items()})
            found += lines.of_warm_days(by_percent)
            found += lines.of_days_in_trouble(seeds, step)
    share = f"{day.warm_percent} % warm" if day.warm_percent else "cold"
    return Report(
        origin=ReportOrigin.here(),
        days=f"{_days(days, share)} of {day.identities} identities for each pattern, in the model",
        chosen=CHOSEN.name,
        patterns=beside,
        warm=by_percent,
        lines=tuple(found),
    )


def _against_stand_in(cases: Sequence[Case], speed: float) -> Report:
    over_http = []
    with _progress("days", len(cases)) as (step, show):
        for case in cases:
            over_http.append(live.run_stand_in(case, speed=speed, show=show))
            step()
    model = summarised((CHOSEN,), list(measure_all(cases, lambda: None)))[CHOSEN.name]
    there = Summary(days=tuple(over_http))
    return Report(
        origin=ReportOrigin.here(),
        days=f"{_days(len(cases))} of {cases[0].identities} identities against the stand-in at speed {speed:g} and in "
        "the model",
        chosen=CHOSEN.name,
        patterns={
            "over HTTP": MeasuredBeside(policies={CHOSEN.name: there}),
            "model": MeasuredBeside(policies={CHOSEN.name: model}),
        },
        lines=tuple(lines.of_the_stand_in(there, model)),
    )


def _against(lml: settings.Lml, ids: Sequence[int], readers: Order, *, speed: float) -> Report:
    clock = live.DayClock(speed)
    with _progress("days", 1) as (_, show), closing(live.HttpAudience(lml.url, lml.api_key, clock)) as audience:
        day, alone = live.run(lml, audience, ids, clock=clock, readers=readers, limits=CHOSEN.limits, show=show)
    lost = [sum(reading.outcome == "failed" for reading in some.readings) for some in (alone, day)]
    return Report(
        origin=ReportOrigin.here(),
        days=f"one day of {len(ids)} identities against {lml.url} at {CHOSEN.name}, {readers.per_minute:g} readers a "
        f"minute: {minutes(day.makespan)}, of it {minutes(day.rests)} of rest; of the readers' calls {lost[0]} of "
        f"{len(alone.readings)} got no answer before the job, and {lost[1]} of {len(day.readings)} beside it",
        chosen=CHOSEN.name,
        lines=(
            Line(
                f"identities without a verdict, of {len(ids)}", len(ids) - day.totals.identities_resolved, len(ids) - 1
            ),
        ),
    )


def _measured(lml: settings.Lml, seconds: float) -> Answer:
    must_answer(lml, refresh=False)
    with (
        _progress("samples", int(seconds // runtime.SAMPLE_EVERY)) as (step, _),
        RefreshClient(lml, SystemClock()) as client,
    ):
        seen = runtime.measure(client, SystemClock(), seconds, step)
    return Answer(list(seen.lines()), msgspec.to_builtins(seen) | {"several": seen.several}, ok=seen.usable)


def _written(directory: Path, report: Report, answer: Answer) -> Answer:
    """Write what `-o` asks for and add where it is; days that cannot be kept are reported all the same."""
    try:
        (directory / "loadtest.md").write_text("\n".join(markdown(report)) + "\n")
        line, data, ok = f"page: {page.write(directory, report)}", answer.data, answer.ok
    except OSError as error:
        line, data, ok = f"{ALARM('not written')}: {error}", {**answer.data, "error": str(error)}, False
    return Answer([*answer.lines, "", line], data, ok)


@contextmanager
def _progress(what: str, total: int) -> Iterator[tuple[Callable[[], None], live.Show]]:
    """Show on stderr how many of a total are done; gives a function that counts a step, and one that shows a line."""
    columns = ("[progress.description]{task.description}", BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True)) as bar:
        task = bar.add_task(what, total=total)
        yield lambda: bar.advance(task), lambda text: bar.update(task, description=text)
