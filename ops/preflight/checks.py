"""Preflight's checks with AWS, LML and the database, for the deployment that is planned."""

import re
from collections.abc import Mapping
from math import floor
from pathlib import Path
from typing import Final

from core import settings
from core.clock import SystemClock
from core.lml import gate as deploy_gate
from core.lml.client import RefreshClient
from core.rotation import table as rotation
from core.rotation.table import DatabaseError
from ops.checklist import CannotLookError, CheckFinding
from ops.loadtest.document import PATH, Document
from ops.loadtest.options import SHARED_MINUTE
from ops.preflight.planned import PlannedStack
from ops.target import database_of

COVERAGE_PERCENT: Final = 99
UNRESERVED: Final = 100  # executions at once that Lambda wants left to functions without a reserve
PACE: Final = ("DISCOGS_BUDGET_PER_MINUTE", "DiscogsBudgetPerMinute")
"""The pace as a variable and as a parameter."""
DATABASE: Final = tuple(
    variable.name
    for variable in settings.VARIABLES
    if variable.name.startswith("DB_") or variable.name in {"WXYC_SCHEMA_NAME", "LOCAL_DEV"}
)
_SUFFIX: Final = "_SECRET_ARN"
_MEASURE: Final = "measure it: rotation loadtest --lml-url https://... --measure-runtime 60m"


def gate(plan: PlannedStack) -> CheckFinding:
    """Check that the deploy gate would let a run start, and that LML takes the key."""
    read = settings.SettingsReader(plan.environment, plan.target.secret)
    lml, token = read.checked((read.lml(), read.secret("GITHUB_TOKEN")))
    with RefreshClient(lml, SystemClock()) as client:
        verdict = deploy_gate.check(client, local_dev=read.local_dev, github=deploy_gate.Github(token))
        if not verdict.allowed:
            return CheckFinding(ok=False, reason=verdict.reason, advice="put LML right, or LibraryMetadataUrl")
        client.round_trip()  # the gate lets a 500 pass
    return CheckFinding(ok=True, reason=verdict.reason)


def coverage(plan: PlannedStack, here: Mapping[str, str] | None) -> CheckFinding:
    """Check that enough rows have an identity (docs/design/settings.md); `here` overrides the function's variables."""
    environment = dict(plan.environment)
    if here is not None:
        own = {name: here[name] for name in DATABASE if here.get(name)}
        if not own:
            raise CannotLookError("--database-env, and no variable of the database is set here", "set DB_HOST, DB_PORT")
        if "DB_PASSWORD" in own:
            environment.pop(f"DB_PASSWORD{_SUFFIX}", None)
        environment |= own
    database = database_of(environment, plan.target.secret)
    try:
        with rotation.connect(database) as table:
            counted, missing = table.coverage(), table.uncovered_rows()
    except DatabaseError as error:
        advice = (
            "if it is in a VPC, look from a machine inside or through a tunnel, with --database-env and DB_HOST, "
            "DB_PORT, ... of this shell; else --skip coverage, and `rotation run --dry-run` logs coverage_percent"
        )
        return CheckFinding(ok=False, reason=str(error), advice=advice)
    details = [str(row) for row in missing]
    beside = f"{_percent(counted.active_with_identity, counted.active)} of all {counted.active} active rows"
    if counted.percent is None:
        reason = f"unknown: no active row has a Discogs release; {beside} have an identity"
        return CheckFinding(ok=False, reason=reason, advice=f"look at {database.schema}.rotation in {database.name}")
    share = _percent(counted.resolvable_with_identity, counted.resolvable)
    reason = f"{share} of {counted.resolvable} resolvable rows have an identity, {beside}"
    if counted.percent >= COVERAGE_PERCENT:
        return CheckFinding(ok=True, reason=reason, details=details)
    advice = f"have the backend give these {len(missing)} rows an lml_identity_id"
    return CheckFinding(ok=False, reason=f"{reason}; {COVERAGE_PERCENT} % are needed", advice=advice, details=details)


def concurrency(plan: PlannedStack) -> CheckFinding:
    """Check that the account has room for what is reserved; a deployed stack gives back its own reserve."""
    if wrong := [text for text in plan.reserved.values() if not re.fullmatch("[0-9]{1,9}", text)]:
        raise CannotLookError(f"{wrong[0]!r} is no number of executions to reserve", "correct RefreshConcurrency")
    functions, names = plan.target.client("lambda"), plan.target.names
    limit = functions.get_account_settings()["AccountLimit"]
    held = sum(
        functions.get_function_concurrency(FunctionName=names[name]).get("ReservedConcurrentExecutions", 0)
        for name in plan.functions & names.keys()
    )
    wanted = sum(map(int, plan.reserved.values()))
    left = limit["UnreservedConcurrentExecutions"] + held - wanted
    reason = (
        f"{wanted} of the account's {limit['ConcurrentExecutions']} executions at once would be reserved here (now "
        f"{held}), which leaves {left} to all else"
    )
    if left >= UNRESERVED:
        return CheckFinding(ok=True, reason=reason)
    advice = f"raise Lambda's quota Concurrent executions by {UNRESERVED - left}, or free reserves of other functions"
    return CheckFinding(ok=False, reason=f"{reason}; Lambda wants {UNRESERVED} left", advice=advice)


def secrets(plan: PlannedStack) -> CheckFinding:
    """Check that every secret can be read and used, and is the same one for all functions that need it."""
    named: dict[str, dict[str, list[str]]] = {}
    for function, environment in sorted(plan.environments.items()):
        for variable, arn in environment.items():
            if variable.endswith(_SUFFIX):
                named.setdefault(variable.removesuffix(_SUFFIX), {}).setdefault(arn, []).append(function)
    faults = []
    for name, arns in sorted(named.items()):
        if len(arns) > 1:
            users = "; ".join(f"{', '.join(functions)}: {arn or 'not made yet'}" for arn, functions in arns.items())
            faults.append(f"{name}{_SUFFIX} differs between functions ({users})")
        for arn in filter(None, arns):
            secret = settings.Secret(name, arn=arn, fetch=plan.target.secret)
            try:
                secret.login() if name == "DB_PASSWORD" else secret.get()
            except settings.SettingsError as error:
                faults.append(f"{error} [{arn}]")
        if "" in arns:
            faults.append(f"{name}{_SUFFIX}'s secret is not made yet")
    if faults:
        advice = "deploy with ScheduleState DISABLED, fill them, look again" if not plan.target.names else ""
        return CheckFinding(ok=False, reason="; ".join(faults), advice=advice)
    return CheckFinding(ok=True, reason=f"{', '.join(sorted(named))} can be read and used")


def budget(plan: PlannedStack, page: Path = PATH) -> CheckFinding:
    """Check that the pace is the load test's, and for production that it fits the calls of LML's other callers.

    How many calls those make is measured at LML (`rotation loadtest --measure-runtime`) and written into the page.
    """
    named = f"docs/{page.name}"
    try:
        document = Document.read(page)
    except (OSError, ValueError) as error:
        raise CannotLookError(f"{named} cannot be read: {error}", "run this in a checkout of the project") from None
    variable, parameter = PACE
    pace, chosen = plan.parameters[parameter], document.chosen.get(variable)
    if pace != str(chosen):
        advice = f"deploy the number of {named}, or repeat the load test as the runbook says"
        return CheckFinding(ok=False, reason=f"{parameter} is {pace}, the load test chose {chosen}", advice=advice)
    where, figure = plan.parameters["SentryEnvironment"], document.figure()
    if where != "production":
        return CheckFinding(ok=True, reason=f"{parameter} {pace} is the load test's. {SHARED_MINUTE}")
    if figure is None:
        reason = f"{named} has no figure of an hour of LML's counter"
        advice = f"{_MEASURE}, and write the figure into {named}; nothing has to be run in staging. {SHARED_MINUTE}"
        return CheckFinding(ok=False, reason=reason, advice=advice)
    seen = f"others make {figure.others:g} calls a minute (measured on {figure.when} for {figure.minutes} minutes)"
    fit = document.fitting(figure.others)
    if fit is None or int(pace) > fit.pace:
        fits = f"at most {fit.pace} a minute fits beside" if fit else "no pace fits beside"
        advice = f"deploy a pace that fits ({named}), or {_MEASURE} again at another time of day"
        return CheckFinding(ok=False, reason=f"{seen}: {parameter} is {pace}, {fits} so many", advice=advice)
    return CheckFinding(ok=True, reason=f"{parameter} {pace} is the load test's, and fits: {seen}")


def _percent(part: int, whole: int) -> str:
    """Return a share in percent, rounded down: 98.999 is not 99."""
    return f"{floor(10_000 * part / whole) / 100:.2f} %" if whole else "unknown"
