"""`rotation smoke`: checks that an LML does what the job relies on, with one real id; all else costs LML nothing."""

import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Final

import msgspec
from rich.console import Console

from core import settings
from core.clock import SystemClock
from core.lml import gate as deploy_gate
from core.lml.client import LML_REFRESH_BATCH_CAP, RefreshClient
from core.lml.http import Bearer, BoundedHttp, NoReplyError
from core.rotation import table as rotation
from core.rotation.table import DatabaseError
from core.settings import Secret
from core.validation import in_words
from ops.answer import Answer
from ops.checklist import CannotLookError, Check, CheckFinding, answer, work_off
from ops.cli import UNKNOWN_ID
from ops.target import OperatorError, Target, database_of, find, no_secret

CHECKS: Final = ("gate", "empty-list", "too-many-ids", "one-id", "stale-id")
LIMIT: Final = 60.0  # seconds for a request of one id (docs/design/throttle.md#handing-on)
_ANOTHER_FORM: Final = (
    "LML's interface has changed: compare its answer with docs/design/lml.md, and start no run before that is done"
)
_REFRESH: Final = "/api/v1/cache/refresh-for-identities"


class _Artist(msgspec.Struct):
    external_id: str
    outcome: str
    message: str | None = None


class _Source(msgspec.Struct):
    release_outcome: str
    artists: list[_Artist | None] | None = None
    message: str | None = None


class Result(msgspec.Struct):
    """LML's result for an id (docs/design/lml.md); new values may appear in its enums."""

    identity_id: int
    status: str
    sources: dict[str, _Source | None] | None = None
    message: str | None = None


class _Body(msgspec.Struct):
    results: list[Result]


@dataclass(frozen=True, slots=True, kw_only=True)
class Contract:
    """The LML to ask, and for which ids; `identity_id` is called when its turn comes, and may raise."""

    lml: settings.Lml
    github_token: Secret
    local_dev: bool
    identity_id: Callable[[], int]
    stale_id: int = UNKNOWN_ID

    def checks(self) -> dict[str, Check]:
        made = (self._gate, self._empty_list, self._too_many_ids, self._one_id, self._stale_id)
        return dict(zip(CHECKS, made, strict=True))

    def _gate(self) -> CheckFinding:
        with RefreshClient(self.lml, SystemClock()) as client:
            github = deploy_gate.Github(self.github_token)
            gate = deploy_gate.check(client, local_dev=self.local_dev, github=github)
        return CheckFinding(
            gate.allowed, gate.reason, "" if gate.allowed else "put that right: until then no run starts"
        )

    def _empty_list(self) -> CheckFinding:
        with RefreshClient(self.lml, SystemClock()) as client:
            client.round_trip()
        return CheckFinding(ok=True, reason="refused with 422")

    def _too_many_ids(self) -> CheckFinding:
        """Send one id more than LML takes, without our own client, which would refuse it."""
        ids = [self.stale_id] * (LML_REFRESH_BATCH_CAP + 1)  # should LML take them after all, they cost nothing
        url = self.lml.url + _REFRESH
        try:
            with BoundedHttp() as http:
                auth = Bearer(self.lml.api_key)
                status = http.send("POST", url, limit=LIMIT, auth=auth, json={"identity_ids": ids}).status
        except NoReplyError as error:
            raise CannotLookError(f"POST {url}: {error}", "look at the address, and whether LML is up") from None
        explained = f"{len(ids)} ids were answered with {status}"
        if status == 400:
            return CheckFinding(ok=True, reason=explained)
        advice = "check LML_API_KEY" if status in {401, 403} else "see what LML takes now"
        return CheckFinding(ok=False, reason=f"{explained}, not 400", advice=advice)

    def _one_id(self) -> CheckFinding:
        result = self._refreshed(self.identity_id())
        explained = f"identity {result.identity_id} is {result.status}"
        if result.status == "error":
            reason = f"{explained}: {result.message}"
            return CheckFinding(ok=False, reason=reason, advice="look at LML's breaker in GET /health, then again")
        return CheckFinding(ok=True, reason=explained)

    def _stale_id(self) -> CheckFinding:
        result = self._refreshed(self.stale_id)
        explained = f"identity {result.identity_id} is {result.status}"
        if result.status == "not_found":
            return CheckFinding(ok=True, reason=explained)
        return CheckFinding(
            ok=False, reason=f"{explained}, not not_found", advice="name an id that LML does not know: --stale-id"
        )

    def _refreshed(self, identity_id: int) -> Result:
        """Have one id refreshed; raises RefreshError, and CannotLookError for an answer of another form."""
        with RefreshClient(self.lml, SystemClock()) as client:
            body = client.refresh([identity_id], limit=LIMIT).body
        try:
            results = msgspec.convert(body, _Body).results
        except msgspec.ValidationError as error:
            raise CannotLookError(f"a 200 of another form: {in_words(error)}", _ANOTHER_FORM) from None
        if [result.identity_id for result in results] != [identity_id]:
            ids = [result.identity_id for result in results]
            named = ", ".join(map(str, ids[:3])) or "nobody"
            raise CannotLookError(f"asked for {identity_id}, LML answers for {named}", _ANOTHER_FORM)
        return results[0]


def smoke(
    *, lml_url: str | None, stack_name: str | None, region: str | None, identity_id: int | None, stale_id: int
) -> Answer:
    """Ask an LML what the job will ask."""
    if lml_url is None:
        contract = of_target(find(stack_name, region), identity_id, stale_id)
    else:
        contract = of_url(lml_url, os.environ.get("LML_API_KEY", ""), identity_id, stale_id)
    lines = work_off(contract.checks(), Console(stderr=True))
    return answer(lines, f"{contract.lml.url} does what the job needs", "not as the job needs it", lml=contract.lml.url)


def of_target(target: Target, identity_id: int | None, stale_id: int) -> Contract:
    """Return the contract with the LML that fan-out of this cloud asks; raises SettingsError."""
    environment = target.environment("FanOutFunction")
    read = settings.SettingsReader(environment, target.secret)
    lml, token = read.checked((read.lml(), read.secret("GITHUB_TOKEN")))
    return Contract(
        lml=lml,
        github_token=token,
        local_dev=read.local_dev,
        identity_id=partial(_first_active, environment, target.secret) if identity_id is None else lambda: identity_id,
        stale_id=stale_id,
    )


def of_url(url: str, key: str, identity_id: int | None, stale_id: int = UNKNOWN_ID) -> Contract:
    """Return the contract with the LML at an address, https unless it is on this machine; raises SettingsError."""
    environment = {
        "LIBRARY_METADATA_URL": url,
        "LML_API_KEY": key,
        "GITHUB_TOKEN": os.environ.get("GITHUB_TOKEN", ""),
        "LOCAL_DEV": "1" if re.match(r"http://(127\.0\.0\.1|localhost|\[::1\])[:/]", f"{url}/") else "0",
    }
    read = settings.SettingsReader(environment, no_secret)
    try:
        lml, github_token = read.checked((read.lml(), read.secret("GITHUB_TOKEN")))
    except settings.SettingsError as error:
        explained = (
            str(error)
            .replace("LIBRARY_METADATA_URL", "--lml-url")
            .replace(
                "LML_API_KEY or LML_API_KEY_SECRET_ARN is required (unless LOCAL_DEV=1); set one of them",
                "LML_API_KEY is not set in this shell: it is the key that LML shall be asked with",
            )
        )
        raise OperatorError(explained) from None
    return Contract(
        lml=lml,
        github_token=github_token,
        local_dev=read.local_dev,
        identity_id=_nameless if identity_id is None else lambda: identity_id,
        stale_id=stale_id,
    )


def _first_active(environment: Mapping[str, str], fetch: settings.SecretFetcher) -> int:
    try:
        with rotation.connect(database_of(environment, fetch)) as table:
            first = next(table.identity_ids(), None)
    except (DatabaseError, settings.SettingsError) as error:
        raise CannotLookError(str(error), "name an id by --identity-id") from None
    if first is None:
        raise CannotLookError("no active row has an identity", "name an id by --identity-id")
    return first


def _nameless() -> int:
    raise CannotLookError("no id is known at this address", "name one by --identity-id")
