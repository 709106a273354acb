"""`rotation demo`: the whole job on this machine, from an empty cloud to one finished run and its audit."""

import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import click
import msgspec
from rich.box import SIMPLE
from rich.console import Console
from rich.markup import escape
from rich.table import Column, Table

from core import settings
from core.clock import SystemClock
from core.rotation import table as rotation
from core.rotation.table import RotationRow
from core.runs.ledger import Run, open_ledger
from core.runs.request import Start
from core.runs.totals import SUMMARY_TOTALS, TOTALS, Totals
from local import cloud, started
from local.cloud import Cloud, Options
from local.deploy import DeployError
from local.postgres import PostgresError
from local.process import ProcessError
from local.world import World
from ops import evidence, watch
from ops import picker as ops_picker
from ops.audit import Finding, audit
from ops.beside import Beside, have_djs
from ops.cli import NOT_TO_BE_SET, WARM_PERCENT
from ops.report import REPORTS, duration, gather, write_report
from ops.target import OperatorError, local_target, no_secret
from ops.watch import View

SPEED: Final = 200.0
PATIENCE: Final = 60.0  # seconds until fan-out must have opened its run
FAILED_SHOWN: Final = 20
_AGAIN: Final = "Put right what is named, and call the demo again."
INIT_FAILED: Final = "Worker init failed"  # the emulator's words


class DemoError(Exception):
    """The demo did not reach a finished run; `run` is the run as far as it came."""

    def __init__(self, message: str, run: Run | None = None) -> None:
        super().__init__(message)
        self.run = run


@dataclass(frozen=True, slots=True, kw_only=True)
class DemoReport:
    """What the demo leaves: the run, what the audit found, and the stale ids with their rows."""

    run: Run
    findings: Sequence[Finding]
    stale: Sequence[RotationRow]
    failed: Mapping[int, str]
    beside: Beside | None
    """What DJs' calls met; None for a real LML, which has no record of it."""
    page: Path | None
    no_page: str = ""
    """Why there is no page."""

    @property
    def holds(self) -> bool:
        return all(finding.holds for finding in self.findings)


def demo(
    *,
    identities: int,
    warm: bool,
    cold: bool,
    speed: float | None,
    lml_url: str | None,
    lml_api_key: str,
    assignments: Sequence[tuple[str, str]],
    picker: bool,
    as_json: bool,
) -> None:
    """Run the job once and check its accounts; exits with 0 only if they agree."""
    console = Console(stderr=as_json)
    if warm and cold:
        raise click.UsageError("--warm and --cold exclude each other")
    if picker:
        if warm or cold or lml_url or lml_api_key or assignments:
            raise click.UsageError("--picker has no use for --warm, --cold, --lml-url, --lml-api-key and --set")
        with started.ending_on_signals():
            sys.exit(0 if _show_picker(World.seeded(identities), speed, as_json=as_json) else 1)
    options = Options(
        world=World.seeded(identities).warmed(identities * (100 if warm else 0 if cold else WARM_PERCENT) // 100),
        speed=speed or (1.0 if lml_url or warm else SPEED),  # what is cached answers so soon that a fast clock hides it
        lml_url=lml_url,
        lml_api_key=lml_api_key,
        settings=dict(assignments),
    )
    report, run = None, None
    try:
        _check(options)
        if problem := started.unwritable(REPORTS):
            console.print(f"[yellow]{escape(problem)}: the run's page will not be kept.[/]", soft_wrap=True)
        with started.ending_on_signals():
            report = play(options, console)
        _print(report, options, console)
        run = report.run
    except settings.SettingsError as error:
        reason = str(error).replace("LIBRARY_METADATA_URL", "--lml-url") if lml_url else str(error)
        console.print(f"[bold red]not begun[/]: {escape(reason)}\n{_AGAIN}", soft_wrap=True)
    except (DemoError, DeployError, OperatorError, PostgresError, ProcessError) as error:
        console.print(f"[bold red]not finished[/]: {escape(str(error))}\n{_AGAIN}", soft_wrap=True)
        run = getattr(error, "run", None)
    if as_json:
        click.echo(json.dumps(_summary(run, report)))
    sys.exit(0 if report is not None and report.holds else 1)


def _show_picker(world: World, speed: float | None, *, as_json: bool) -> bool:
    """Show the picker, as JSON its figures alone; returns whether that came to its end."""
    console = Console(stderr=as_json)
    shown: Mapping[str, object] = dict.fromkeys(("open_cold_ms", "open_warm_ms", "warm"))
    finished = False
    try:
        shown = ops_picker.play(world, console, speed=speed or ops_picker.SPEED)
        finished = True
    except (PostgresError, ProcessError) as error:
        console.print(f"[bold red]not finished[/]: {escape(str(error))}\n{_AGAIN}", soft_wrap=True)
    if as_json:
        click.echo(json.dumps(shown))
    return finished


def play(options: Options, console: Console) -> DemoReport:
    """Start the cloud, fire the schedule, watch the run to its end, audit it, and stop the cloud whatever happens."""
    pace = "in real time" if options.speed == 1 else f"{options.speed:g} times faster than real time"
    console.print(f"Starting the cloud on this machine, {pace}.")
    with started.scratch("demo") as scratch:
        there = cloud.start(options, scratch, lambda line: console.print(f"  {line}", highlight=False, soft_wrap=True))
        try:
            return _play(there, options, console)
        finally:
            cloud.stop(there)


def _play(there: Cloud, options: Options, console: Console) -> DemoReport:
    ledger = open_ledger(there.client("dynamodb"), there.names["LedgerTable"])
    now = datetime.now(UTC)
    run_id = Start(scheduled_time=now).scheduled_id(now)
    if there.stand_in is not None:
        have_djs(there.stand_in)
    console.print(f"Firing the schedule: run {run_id}")
    there.fire(now)
    views = watch.watch(ledger, run_id, SystemClock(options.speed), patience=PATIENCE)
    try:
        run = watch.show(_able(there, views), console)
    except watch.NeverBegunError as error:
        raise DemoError("\n".join([str(error).partition(":")[0], *_complaints(there)])) from None
    if run.status in {"refused", "failed"}:
        raise DemoError(f"run {run_id} was {run.status}: {run.reason}", run)
    messages = list(ledger.messages.all(run_id, run.messages_planned))
    with rotation.connect(evidence.database(there)) as table:
        stale = table.rows_of([identity for message in messages for identity in message.not_found])
    seen = evidence.gather(there, messages, None if options.lml_url else options.world)
    failed = {identity: reason for message in messages for identity, reason in message.failed.items()}
    findings = audit(run, seen)
    material = gather(local_target(there), run_id)
    beside = material.seen.beside
    try:
        page, no_page = write_report(material), ""
    except OperatorError as error:  # the totals are what the demo is for
        page, no_page = None, str(error)
    return DemoReport(run=run, findings=findings, stale=stale, failed=failed, beside=beside, page=page, no_page=no_page)


def _able(there: Cloud, views: Iterator[View]) -> Iterator[View]:
    """Pass views on; raises DemoError as soon as a function cannot start, with the reason."""
    for view in views:
        if failed := [problem for problem in there.problems() if INIT_FAILED in problem]:
            raise DemoError("\n".join(["a function cannot start:", *failed]), view.run)
        yield view


def _check(options: Options) -> None:
    """Read the settings as the functions will, before anything is started; raises `SettingsError`."""
    stand_ins = dict.fromkeys(
        (*NOT_TO_BE_SET, "DB_HOST", "DB_NAME", "DB_USERNAME", "LIBRARY_METADATA_URL"), "http://127.0.0.1"
    )
    given = {"LIBRARY_METADATA_URL": options.lml_url} if options.lml_url else {}
    environment = stand_ins | given | {"LOCAL_DEV": "1", "CLOCK_SPEED": str(options.speed)} | dict(options.settings)
    settings.fan_out(environment, no_secret)
    settings.refresh(environment, no_secret)


def _complaints(there: Cloud) -> list[str]:
    """Return the errors in fan-out's log, and the emulator's errors about functions that cannot start."""
    lines = [str(line["message"]) for line in there.logs("FanOutFunction") if line.get("level") == "ERROR"]
    return lines or there.problems()


def _print(report: DemoReport, options: Options, console: Console) -> None:
    run = report.run
    own = "" if options.speed == 1 else f" ({duration(run.seconds * options.speed)} on its own clock)"
    console.print(f"Run {run.run_id} is {run.status} after {run.seconds:.1f} s{own}.", highlight=False, soft_wrap=True)
    table = Table("total", Column("", justify="right"), box=SIMPLE)
    for name, value in [("planned", run.planned), *((name, getattr(run.totals, name)) for name in TOTALS)]:
        table.add_row(name.replace("_", " "), str(value))
    console.print(table)
    if report.stale:
        console.print(
            f"Stale: LML does not know {len({row.lml_identity_id for row in report.stale})} identities. Their rows:"
        )
        for row in report.stale:
            console.print(f"  {row}", highlight=False, markup=False, soft_wrap=True)
    if report.failed:
        console.print(f"Failed: {len(report.failed)} identities.")
        for identity, reason in list(report.failed.items())[:FAILED_SHOWN]:
            console.print(f"  identity {identity}: {reason}", highlight=False, markup=False)
    for finding in report.findings:
        if not finding.holds:
            console.print(f"[bold red]does not hold[/]: {finding.what}: {finding.found[:400]}", soft_wrap=True)
    held = sum(finding.holds for finding in report.findings)
    witnesses = (
        "the database, Sentry and CloudWatch" if options.lml_url else "the database, LML's log, Sentry and CloudWatch"
    )
    console.print(f"{held} of {len(report.findings)} accounts agree with {witnesses}.")
    for line in report.beside.lines(run.totals, options.speed) if report.beside else ():
        console.print(line, highlight=False)
    page = f"The run as a page: {report.page}" if report.page else f"No page of the run: {report.no_page}"
    console.print(page, highlight=False, markup=False, soft_wrap=True)


def _summary(run: Run | None, report: DemoReport | None) -> dict[str, object]:
    totals = Totals() if run is None else run.totals
    return {
        "run_id": None if run is None else run.run_id,
        "status": "not_started" if run is None else run.status,
        "planned": 0 if run is None else run.planned,
        **{name: getattr(totals, name) for name in SUMMARY_TOTALS},
        "seconds": 0.0 if report is None else round(report.run.seconds, 1),
        "beside": None if report is None or report.beside is None else msgspec.to_builtins(report.beside),
        "report": None if report is None or report.page is None else str(report.page),
    }
