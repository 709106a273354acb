"""The deploy gate: a run starts only against an LML that has the refresh endpoint and takes our key."""

import json
from typing import Final
from urllib.parse import quote

import msgspec

from core.lml.client import RefreshClient, RefreshError
from core.lml.http import Bearer, BoundedHttp, NoReplyError
from core.settings import Secret, SettingsError

GATE_COMMIT: Final = "8a1344c"  # the first commit of LML with the endpoint
_COMPARE: Final = "/repos/WXYC/library-metadata-lookup/compare/{gate}...{sha}"
_GITHUB_HEADERS: Final = {"Accept": "application/vnd.github+json", "X-GitHub-Api-Version": "2022-11-28"}
_NEXT: Final = "see that LML is up and well, then start the run again"
_GITHUB_LIMIT: Final = 15.0  # wall seconds: GitHub's clock is never faster


class Gate(msgspec.Struct, frozen=True):
    """The verdict, and a sentence for the run's record, the log and the span."""

    allowed: bool
    reason: str


class Github(msgspec.Struct, frozen=True):
    """GitHub's compare, which knows what a commit contains."""

    token: Secret
    url: str = "https://api.github.com"

    def compare(self, sha: str) -> str:
        """Return how `sha` stands to the gate commit: identical, ahead, behind or diverged.

        Raises LookupError with the reason when GitHub does not tell: unreachable, rate-limited, unknown commit, a
        token that cannot be read.
        """
        url = self.url + _COMPARE.format(gate=_encoded(GATE_COMMIT), sha=_encoded(sha))
        try:
            with BoundedHttp(_GITHUB_HEADERS) as http:  # for this one request: most gates need none
                reply = http.send("GET", url, limit=_GITHUB_LIMIT, auth=Bearer(self.token))
        except NoReplyError as error:
            raise LookupError(f"GitHub gave no answer ({error})") from None
        except SettingsError as error:  # the token is optional, and must not cost a run
            raise LookupError(f"GitHub was not asked ({error})") from None
        if reply.status != 200:
            raise LookupError(f"GitHub answered {reply.status}")
        try:
            status = json.loads(reply.body)["status"]
        except (ValueError, TypeError, LookupError, RecursionError):
            raise LookupError("GitHub's answer has no status") from None
        if status not in ("identical", "ahead", "behind", "diverged"):
            raise LookupError("GitHub's answer has an unknown status")
        return str(status)


def check(lml: RefreshClient, *, local_dev: bool, github: Github) -> Gate:
    """Decide by LML's commit, and by a request with an empty list, which shows whether LML takes our key."""
    try:
        health = lml.health()
    except RefreshError as error:
        return Gate(allowed=False, reason=f"LML's health is not known: {error}; {_NEXT}")
    if not 200 <= health.status_code <= 299:
        return Gate(allowed=False, reason=f"LML is not healthy: GET /health answered {health.status_code}; {_NEXT}")
    by_commit = _by_commit(health.body.get("commit_sha"), local_dev=local_dev, github=github)
    return _by_probe(lml, by_commit.reason) if by_commit.allowed else by_commit


def _by_commit(commit: object, *, local_dev: bool, github: Github) -> Gate:
    """Refuse an LML that is known to be too old; an unknown commit is no reason to refuse."""
    sha = commit.strip() if isinstance(commit, str) else ""
    if not sha:
        return Gate(
            allowed=True, reason=f"LML does not tell its commit{'; allowed because LOCAL_DEV=1' if local_dev else ''}"
        )
    if sha.startswith(GATE_COMMIT):
        return Gate(allowed=True, reason=f"LML runs the gate commit {GATE_COMMIT}")
    try:
        status = github.compare(sha)
    except LookupError as error:
        return Gate(allowed=True, reason=f"{error.args[0]} about LML's commit {_short(sha)}")
    reason = f"LML's commit {_short(sha)} is {status} compared with the gate commit {GATE_COMMIT}"
    if status in {"identical", "ahead"}:
        return Gate(allowed=True, reason=reason)
    return Gate(allowed=False, reason=f"{reason}: deploy an LML that has the refresh endpoint first")


def _by_probe(lml: RefreshClient, why: str) -> Gate:
    """Send an empty list; every status but these four shows that the endpoint exists and takes the key."""
    try:
        status = lml.probe()
    except RefreshError as error:
        return Gate(allowed=False, reason=f"{why}, and its endpoint gave no answer: {error}; {_NEXT}")
    except SettingsError as error:
        return Gate(allowed=False, reason=str(error))
    match status:
        case 404 | 405:
            verdict = "this LML has no refresh endpoint: deploy a newer one, or check LIBRARY_METADATA_URL"
        case 401 | 403:
            verdict = "the refresh endpoint is there, but LML does not accept this key: check LML_API_KEY"
        case _:
            return Gate(
                allowed=True, reason=f"{why}; its refresh endpoint is there (answered {status} to an empty list)"
            )
    return Gate(allowed=False, reason=f"{why}; {verdict} (answered {status} to an empty list)")


def _encoded(ref: str) -> str:
    return quote(ref, safe="", errors="replace")


def _short(sha: str) -> str:
    return ascii(sha[:12])[1:-1]
