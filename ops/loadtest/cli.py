"""`rotation loadtest`: whether the job keeps its budget, and what another budget would do."""

import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

import click
import msgspec
from msgspec.structs import replace as replaced
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TimeElapsedColumn

from core import settings
from core.clock import SystemClock
from core.lml.client import Lml
from core.settings import Pacing
from local.lml.readers import Order
from ops.answer import Answer, answers
from ops.loadtest import live, page, proof, runtime
from ops.loadtest.measures import Summary
from ops.loadtest.options import Budgets, Duration, ids_in, limits, lml_at, make_writable, must_answer, refuse_unused
from ops.loadtest.page import Shown
from ops.loadtest.proof import Line
from ops.loadtest.report import Origin, Report, markdown
from ops.loadtest.sweep import (
    BUDGETS,
    MEASURED,
    TODAY,
    TODAY_UNPUNISHED,
    WHOLE,
    Case,
    chosen,
    days,
    open_loop,
    sweep,
)

STAND_IN_SPEED: Final = 10.0


@click.command()
@click.option(
    "--runtime-per-minute",
    "readers",
    type=click.FloatRange(0, 200),
    default=20.0,
    show_default=True,
    help="Readers beside the job.",
)
@click.option("--identities", type=click.IntRange(1, 5000), default=310, show_default=True)
@click.option("--cold/--warm", default=True, help="What LML has cached at the start.  [default: cold]")
@click.option(
    "--budget",
    "budgets",
    type=Budgets(),
    help="DISCOGS_BUDGET_PER_MINUTE to sweep; over HTTP the largest of them up to the default is tried there, the "
    "others in the model.  [default: 16,18,20,22,24,30; over HTTP measured room]",
)
@click.option(
    "--seeds", type=click.IntRange(1, 1000), default=3, show_default=True, help="Days of each kind, seeds 1 to N."
)
@click.option(
    "--proof", "prove", is_flag=True, help="Also check every line that has to hold; exit status 1 if one is broken."
)
@click.option("--stand-in", is_flag=True, help="Over HTTP against the stand-in, instead of the model.")
@click.option("--lml-url", help="Over HTTP against this LML, with LML_API_KEY; really refreshes the ids of --ids.")
@click.option(
    "--ids",
    "ids_file",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Identity ids for --lml-url, one a line.",
)
@click.option(
    "--speed",
    type=click.FloatRange(0.1, 50),
    help="Paced seconds in a second, over HTTP.  [default: 10 for the stand-in, else 1]",
)
@click.option(
    "--measure-runtime",
    "measured_for",
    type=Duration(),
    help="Only watch the LML of --lml-url, say for 60m, and propose --runtime-per-minute.",
)
@click.option(
    "-o",
    "directory",
    type=click.Path(file_okay=False, path_type=Path),
    help="Write an HTML page, its SVG plots and the runbook's table there.",
)
@answers
def loadtest(
    *,
    readers: float,
    identities: int,
    cold: bool,
    budgets: tuple[int, ...] | None,
    seeds: int,
    prove: bool,
    stand_in: bool,
    lml_url: str | None,
    ids_file: Path | None,
    speed: float | None,
    measured_for: float | None,
    directory: Path | None,
) -> Answer:
    """Run whole days of the job beside readers, in a model of LML or over HTTP, and tell what Discogs and they saw.

    The model runs the job's own throttle in virtual time, a cold day in a second. It sweeps open-loop budgets, and
    adds measured room, slices of 50 and the job of today.
    """
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that the stand-in is ended then too
    watch_only = measured_for is not None
    refuse_unused(stand_in=stand_in, lml_url=lml_url, ids=ids_file, speed=speed, watch_only=watch_only)
    if measured_for is not None:
        return _measured(lml_at(lml_url), measured_for)
    if directory:
        make_writable(directory)
    warm = 0 if cold else identities
    cases = [Case(seed=seed, identities=identities, warm=warm, readers=readers) for seed in range(1, seeds + 1)]
    if stand_in:
        with _progress("days", seeds) as (step, say):
            policy = replace(MEASURED, limits=limits(budgets))
            cases = [replace(case, policy=policy) for case in cases]
            report, shown = _against_stand_in(cases, budgets or (), speed or STAND_IN_SPEED, step, say)
    elif lml_url:
        lml, ids, pacing = lml_at(lml_url), ids_in(ids_file)[:identities], limits(budgets)
        if speed not in {None, 1} and urlsplit(lml.url).hostname != "127.0.0.1":
            raise click.UsageError(f"--speed is for a stand-in: this LML would get {speed:g} times the budget")
        must_answer(lml, refresh=True)
        with _progress("days", 1) as (_, say):
            order = Order(per_minute=readers)
            report, shown = _against(lml, ids, order, pacing, speed=speed or 1, say=say)
            cases = [replace(case, identities=len(ids), warm=warm and len(ids)) for case in cases]
            model = sweep([MEASURED, *map(open_loop, budgets or BUDGETS)], cases, lambda: None)
            report = replaced(report, summaries=report.summaries | model)
    else:
        report, shown = _by_model(cases, budgets or BUDGETS, prove=prove)
    answer = Answer(list(markdown(report)), msgspec.to_builtins(report), ok=report.holds)
    return answer if directory is None else _written(directory, report, shown, answer)


def _by_model(cases: Sequence[Case], budgets: Sequence[int], *, prove: bool) -> tuple[Report, Shown]:
    policies = [TODAY, TODAY_UNPUNISHED, WHOLE, *map(open_loop, budgets), MEASURED]
    with _progress("days", len(policies) * len(cases) + prove * len(cases) * proof.KINDS_OF_DAY) as (step, _):
        summaries = sweep(policies, cases, step)
        lines = tuple(proof.prove([case.seed for case in cases], step)) if prove else ()
    report = Report(
        origin=Origin.here(),
        days=f"{_kind(cases)}, in the model",
        summaries=summaries,
        chosen_budget=chosen(summaries, budgets),
        lines=lines,
    )
    shown = {policy.name: days(replace(cases[0], policy=policy)) for policy in (MEASURED, TODAY_UNPUNISHED)}
    return report, shown


def _against_stand_in(
    cases: Sequence[Case], budgets: Sequence[int], speed: float, step: Callable[[], None], say: live.Say
) -> tuple[Report, Shown]:
    measured, shown = [], Shown()
    for case in cases:
        day, alone, figures = live.run_stand_in(case, speed=speed, say=say)
        measured.append(figures)
        shown.setdefault(MEASURED.name, (day, alone))
        step()
    model = sweep([cases[0].policy, *map(open_loop, budgets)], cases, lambda: None)
    over_http = Summary(days=tuple(measured))
    report = Report(
        origin=Origin.here(),
        days=f"{_kind(cases)}, against the stand-in at speed {speed:g} and in the model",
        summaries={"over HTTP": over_http, **model},
        lines=tuple(proof.lines_of_the_stand_in(over_http, model[cases[0].policy.name], cases[0])),
    )
    return report, shown


def _against(
    lml: settings.Lml, ids: Sequence[int], readers: Order, pacing: Pacing, *, speed: float, say: live.Say
) -> tuple[Report, Shown]:
    clock = live.DayClock(speed)
    with closing(live.HttpAudience(lml.url, lml.api_key, clock)) as audience:
        day, alone, figures = live.run(lml, audience, ids, clock=clock, readers=readers, limits=pacing, say=say)
    report = Report(
        origin=Origin.here(),
        days=f"one day of {len(ids)} identities against {lml.url}, {readers.per_minute:g} readers a minute, of whom "
        f"{audience.unanswered} got no answer and are left out (calls: the others' and what the job was charged); the "
        "other rows are the model's",
        summaries={"over HTTP": Summary(days=(figures,))},
        lines=(Line(f"identities without a verdict, of {len(ids)}", figures.without_verdict, len(ids) - 1),),
    )
    return report, {MEASURED.name: (day, alone)}


def _measured(lml: settings.Lml, seconds: float) -> Answer:
    must_answer(lml, refresh=False)
    with _progress("samples", int(seconds // runtime.SAMPLE_EVERY)) as (step, _), Lml(lml, SystemClock()) as client:
        seen = runtime.measure(client, SystemClock(), seconds, step)
    return Answer(list(seen.lines()), msgspec.to_builtins(seen), ok=seen.minutes > 0)


def _kind(cases: Sequence[Case]) -> str:
    first = cases[0]
    days = f"{len(cases)} {'warm' if first.warm else 'cold'} {'day' if len(cases) == 1 else 'days'}"
    return f"{days} of {first.identities} identities, {first.readers:g} readers a minute"


def _written(directory: Path, report: Report, shown: Shown, answer: Answer) -> Answer:
    """Write what `-o` asks for and add where it is; days that cannot be kept are told all the same."""
    try:
        (directory / "loadtest.md").write_text("\n".join(markdown(report)) + "\n")
        told, data, ok = f"page: {page.write(directory, report, shown)}", answer.data, answer.ok
    except OSError as error:
        told, data, ok = f"[bold red]not written[/]: {escape(str(error))}", {**answer.data, "error": str(error)}, False
    return Answer([*answer.lines, "", told], data, ok)


@contextmanager
def _progress(what: str, total: int) -> Iterator[tuple[Callable[[], None], live.Say]]:
    """Show on stderr how many of a total are done; gives the step, and a way to say what happens meanwhile."""
    columns = ("[progress.description]{task.description}", BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True)) as bar:
        task = bar.add_task(what, total=total)
        yield lambda: bar.advance(task), lambda text: bar.update(task, description=text)
