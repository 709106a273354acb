"""`rotation preflight`: checks whether this may be deployed. A check that cannot be made counts as failed."""

import os
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

from botocore.exceptions import BotoCoreError, ClientError
from rich.console import Console

from ops.answer import Answer
from ops.checklist import Check, CheckFinding, answer, under_way, work_off
from ops.cli import PREFLIGHT_CHECKS
from ops.preflight import checks, in_sentry
from ops.preflight.issuer import tokens
from ops.preflight.planned import SAMCONFIG, Configured, PlannedStack, assignment, configured, plan, template_for
from ops.target import OperatorError

__all__ = ["preflight"]


def preflight(
    *,
    stack_name: str | None,
    region: str | None,
    config_env: str | None,
    config_file: Path | None,
    given: Sequence[str],
    database_env: bool,
    skipped: Sequence[str],
    token: str | None,
    sentry_url: str,
    sentry_org: str | None,
    sentry_project: str | None,
) -> Answer:
    """Make every check that is not skipped; one that cannot be made counts as failed."""
    section = configured(config_file or SAMCONFIG, config_env) if config_env else Configured(None, None, {})
    parameters = section.parameters | dict(map(assignment, given))
    console, template = Console(stderr=True), template_for(parameters)
    planned: PlannedStack | Exception
    try:
        with under_way("parameters", console):
            planned = plan(template, stack_name or section.stack_name, region or section.region, parameters)
    except (OperatorError, BotoCoreError, ClientError) as error:
        planned = error  # each check that goes by the plan tells it; the others are made all the same
    account = in_sentry.Account(
        url=sentry_url,
        organization=sentry_org,
        project=sentry_project,
        token=os.environ.get("SENTRY_AUTH_TOKEN"),
    )
    of_the_plan: dict[str, Callable[[PlannedStack], CheckFinding]] = {
        "gate": checks.gate,
        "coverage": partial(checks.coverage, here=os.environ if database_env else None),
        "concurrency": checks.concurrency,
        "secrets": checks.secrets,
        "tokens": partial(tokens, token=token),
        "budget": checks.budget,
    }
    all_checks: dict[str, Check] = {name: partial(_of, planned, check) for name, check in of_the_plan.items()}
    all_checks["dashboards"] = partial(in_sentry.dashboards, account)
    all_checks["old-job"] = partial(in_sentry.old_job, account, datetime.now(UTC))
    lines = work_off({name: all_checks[name] for name in PREFLIGHT_CHECKS}, console, skipped)
    named = stack_name or section.stack_name
    where = (
        planned.target.title if isinstance(planned, PlannedStack) else f"stack {named}" if named else "the local cloud"
    )
    return answer(lines, f"may be deployed to {where}", f"not to be deployed to {where}", target=where)


def _of(planned: PlannedStack | Exception, check: Callable[[PlannedStack], CheckFinding]) -> CheckFinding:
    if isinstance(planned, Exception):
        raise planned
    return check(planned)
