"""The part of Sentry's web API that is needed; every refusal becomes a sentence with what to do."""

import time
from collections.abc import Callable, Iterator
from typing import Any, Final, Literal, Self
from urllib.parse import urlencode, urlsplit

import httpx

from ops.target import OperatorError

Path = Literal["alert-rules", "monitors", "dashboards", "discover/saved", "explore/saved"]
"""A collection of an organization; its objects are JSON of many shapes: an edge, where Any is the honest type."""
SentryObject = dict[str, Any]

TRIES: Final = 4
LONGEST_WAIT: Final = 60.0  # seconds; a longer Retry-After is told instead of waited for
_ADVICE: Final = {
    400: "it does not take what was sent, which is a defect here: report it",
    401: "the token is not valid (any more): set SENTRY_AUTH_TOKEN to one that is",
    403: "the token may not do this: it needs the scopes org:read, project:read, alerts:write and org:write",
    404: "there is no such organization, project or object for this token: look at SENTRY_ORG and SENTRY_PROJECT",
    429: "it has had too many requests; try again later",
}


class SentryError(OperatorError):
    """Sentry refused, or could not be reached; the sentence says which request and what to do."""


class Api:
    """One organization, through one token. A context manager."""

    def __init__(self, url: str, organization: str, token: str, sleep: Callable[[float], None] = time.sleep) -> None:
        try:
            parts = urlsplit(url)
            base_url = httpx.URL(f"{url.rstrip('/')}/api/0/")
        except (ValueError, httpx.InvalidURL):
            raise SentryError(f"{url!r} is no address: set SENTRY_URL, or leave it out for sentry.io") from None
        if parts.scheme != "https" and parts.hostname not in {"127.0.0.1", "localhost", "::1"}:
            raise SentryError(f"{url} is not https, so that others could read the token: correct SENTRY_URL or --url")
        self.organization = organization
        self._sleep = sleep
        headers = {"Authorization": f"Bearer {token}"}
        self._client = httpx.Client(base_url=base_url, headers=headers, timeout=30)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._client.close()

    def project_id(self, project: str) -> int:
        """Return the number of a project; raises SentryError, also for a token or an organization that is not good."""
        return int(_decoded(self._request("GET", f"projects/{self.organization}/{project}/"))["id"])

    def newest_span(self, project_id: int, query: str, period: str) -> SentryObject | None:
        """Return name and time of the newest span that a search finds within a period, say 14d; None without one."""
        # Without the last parameter Sentry may search a sample, in which one span a day is easily missing.
        parameters = {
            "dataset": "spans",
            "project": project_id,
            "query": query,
            "statsPeriod": period,
            "field": ["id", "span.description", "timestamp"],
            "sort": "-timestamp",
            "per_page": 1,
            "sampling": "HIGHEST_ACCURACY",
        }
        path = f"organizations/{self.organization}/events/?{urlencode(parameters, doseq=True)}"
        found = _decoded(self._request("GET", path))
        if not isinstance(found, dict) or not isinstance(found.get("data"), list):
            raise SentryError(
                "Sentry, GET events: the answer has no list of spans; is SENTRY_URL the address of Sentry itself?"
            )
        return found["data"][0] if found["data"] else None

    def all(self, path: Path) -> Iterator[SentryObject]:
        """Yield every object of a collection, page by page, as its list has them: dashboards without their widgets."""
        following: str | None = self._of(path)
        while following:
            answer = self._request("GET", following)
            yield from _decoded(answer)
            after = answer.links.get("next", {})
            following = after["url"] if after.get("results") == "true" else None

    def in_full(self, path: Path) -> Iterator[SentryObject]:
        """Yield every object of a collection with all that is in it."""
        for found in self.all(path):
            yield self.read(path, str(found["id"])) if path == "dashboards" else found

    def read(self, path: Path, key: str) -> SentryObject:
        found: SentryObject = _decoded(self._request("GET", self._of(path, key)))
        return found

    def create(self, path: Path, body: SentryObject) -> None:
        self._request("POST", self._of(path), body)

    def update(self, path: Path, key: str, body: SentryObject) -> None:
        project = body.get("project")  # answered as an object, taken as its slug
        self._request(
            "PUT", self._of(path, key), body | ({"project": project["slug"]} if type(project) is dict else {})
        )

    def delete(self, path: Path, key: str) -> None:
        self._request("DELETE", self._of(path, key))

    def _of(self, path: Path, key: str | None = None) -> str:
        return f"organizations/{self.organization}/{path}/" + (f"{key}/" if key is not None else "")

    def _request(self, method: str, path: str, body: SentryObject | None = None) -> httpx.Response:
        """Send a request, again after 429 and, where nothing can have been written by it, after a 5xx."""
        if self._client.base_url.host != self._client.base_url.join(path).host:
            raise SentryError(
                f"Sentry sends its next page from elsewhere, where the token must not go: {path}; set SENTRY_URL to "
                "the host that answers"
            )
        what = f"Sentry, {method} {path.removeprefix(str(self._client.base_url)).partition('?')[0]}"
        for tried in range(1, TRIES + 1):
            try:
                answer = self._client.request(method, path, json=body)
            except httpx.TransportError as error:
                raise SentryError(
                    f"{what}: no answer ({type(error).__name__}); look at SENTRY_URL and the network"
                ) from None
            if answer.is_success:
                return answer
            wait = self._wait(answer, tried) if answer.status_code == 429 or method == "GET" else None
            if wait is None or tried == TRIES:
                break
            self._sleep(wait)
        advice = _ADVICE.get(
            answer.status_code,
            "an error on its side, try again later" if answer.is_server_error else "not understood: look at SENTRY_URL",
        )
        raise SentryError(f"{what}: {answer.status_code}, {advice}: {answer.text[:200]}")

    @staticmethod
    def _wait(answer: httpx.Response, tried: int) -> float | None:
        """Return the seconds until another try; None if there is to be none."""
        if answer.status_code == 429:
            retry_after = answer.headers.get("Retry-After", "")
            wait = float(retry_after) if retry_after.isdigit() else float(2**tried)
            return wait if wait <= LONGEST_WAIT else None
        return float(2**tried) if answer.is_server_error else None


def _decoded(answer: httpx.Response) -> Any:  # noqa: ANN401 - any JSON
    """Return the JSON of an answer; raises SentryError for another body, such as a login page, whatever its status."""
    try:
        return answer.json()
    except ValueError:
        raise SentryError(
            f"{answer.url.host} answered {answer.status_code} without JSON: is SENTRY_URL the address of Sentry itself?"
        ) from None
