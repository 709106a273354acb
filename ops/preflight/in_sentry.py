"""Preflight's checks with Sentry: dashboards use the new names, and the old job is off."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

from core.utc import utc_text
from ops.checklist import CannotLookError, CheckFinding
from ops.sentry import migrate
from ops.sentry.api import Api, SentryError

OFF_AFTER: Final = timedelta(hours=26)
"""Silence after which the old job, which ran once a day, counts as off."""
LOOKED_BACK: Final = "14d"
# Each old attribute by its whole name: the new job's begin with `backfill.` too. Whichever type it travelled as.
OLD_SPANS: Final = " OR ".join(
    f"has:tags[{name},{kind}]" for name in (*migrate.SUCCESSORS, *migrate.NO_SUCCESSOR) for kind in ("number", "string")
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    """Sentry's address and credentials; None for what is not set."""

    url: str
    organization: str | None
    project: str | None
    token: str | None

    @contextmanager
    def api(self) -> Iterator[Api]:
        """Open the API; raises CannotLookError if something to ask it with is missing."""
        wanted = {"SENTRY_ORG": self.organization, "SENTRY_AUTH_TOKEN": self.token}
        if missing := [name for name, value in wanted.items() if not value]:
            raise CannotLookError("Sentry cannot be asked", f"set {' and '.join(missing)}")
        if not (str(self.token).isascii() and str(self.token).isprintable()):
            raise CannotLookError("SENTRY_AUTH_TOKEN holds a character that no token has", "set it anew")
        with Api(self.url, str(self.organization), str(self.token)) as api:
            yield api


def dashboards(account: Account) -> CheckFinding:
    """Check that `rotation sentry migrate` has nothing left to rewrite."""
    with account.api() as api:
        uses = migrate.inventory(api)
    left = [f"{use.change.path} {use.change.name!r}" for use in uses if use.rewritten]
    by_hand = [f"{use.change.path} {use.change.name!r}: by hand" for use in uses if not use.rewritten]
    if left:
        reason = f"{len(left)} dashboards, saved queries or alert rules still use the old job's attributes"
        return CheckFinding(ok=False, reason=reason, advice="`rotation sentry migrate --apply`", details=left + by_hand)
    reason = "nothing that can be rewritten uses the old job's attributes"
    if by_hand:
        reason += f"; {len(by_hand)} use some that have no successor"
    return CheckFinding(ok=True, reason=reason, details=by_hand)


def old_job(account: Account, now: datetime) -> CheckFinding:
    """Check that no span with the old job's attributes is younger than OFF_AFTER."""
    with account.api() as api:
        if not account.project:
            raise CannotLookError("it is not known where the old job's spans went", "set SENTRY_PROJECT")
        newest = api.newest_span(api.project_id(account.project), OLD_SPANS, LOOKED_BACK)
    if newest is None:
        return CheckFinding(ok=True, reason=f"no span of it in project {account.project} in {LOOKED_BACK}")
    try:
        moment = datetime.fromisoformat(newest["timestamp"])
        seen = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    except (LookupError, TypeError, ValueError):
        raise SentryError(
            "Sentry, GET events: the span has no timestamp; is SENTRY_URL the address of Sentry itself?"
        ) from None
    reason = f"its last span, {newest.get('span.description')}, is of {utc_text(seen)}"
    if now - seen > OFF_AFTER:
        return CheckFinding(ok=True, reason=reason)
    off = utc_text(seen + OFF_AFTER)
    advice = f"take out its cron entry and end its containers; without another run it counts as off from {off}"
    return CheckFinding(ok=False, reason=f"it has run in the last 26 h: {reason}", advice=advice)
