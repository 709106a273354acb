"""A stand-in for as much of Sentry's web API as `rotation sentry` and `preflight` use: one organization, in memory.

Like Sentry's it answers with more than it was sent, a monitor's project as an object, dashboards without widgets in
their list, and lists in pages. Spans are searched by attributes, `has:tags[NAME,TYPE]` joined by OR.
"""

import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

ORGANIZATION: Final = "station"
PROJECT: Final = "backend"
PROJECT_ID: Final = 42
TOKEN: Final = "stand-in-token"  # noqa: S105 - of a stand-in
COLLECTIONS: Final = ("alert-rules", "monitors", "dashboards", "discover/saved", "explore/saved")
PAGE: Final = 2

Object = dict[str, Any]


@dataclass(slots=True)
class ApiFault:
    """A fault of requests with this method and end of path; with `done` the request is carried out first."""

    method: str
    path: str
    status: int
    times: int = 1
    headers: dict[str, str] = field(default_factory=dict)
    done: bool = False


@dataclass(slots=True)
class StoredSpan:
    """A span that Sentry received `hours` ago."""

    name: str
    hours_ago: float
    attributes: dict[str, str | float]

    def has(self, term: tuple[str, str]) -> bool:
        """Whether it has an attribute of a name and a type: to Sentry a number and a text are two attributes."""
        name, kind = term
        return name in self.attributes and isinstance(self.attributes[name], str) is (kind == "string")


@dataclass(slots=True)
class SentryApi:
    """The organization; a test reads and writes `objects` and `spans`, orders `faults`, and sees all `writes`."""

    objects: dict[str, dict[str, Object]] = field(default_factory=lambda: {name: {} for name in COLLECTIONS})
    spans: list[StoredSpan] = field(default_factory=list)
    faults: list[ApiFault] = field(default_factory=list)
    writes: list[tuple[str, str]] = field(default_factory=list)
    before_write: Callable[[], None] = lambda: None
    """Called before each write, so that a test can change an object meanwhile."""
    _last_id: int = 100

    def add(self, collection: str, **body: Any) -> str:  # noqa: ANN401 - any JSON
        """Put an object there; returns its id."""
        self._last_id += 1
        key = str(self._last_id)
        self.objects[collection][key] = _stored(collection, key, body)
        return key

    def app(self) -> Starlette:
        routes = [
            Route(f"/api/0/projects/{ORGANIZATION}/{PROJECT}/", self._guarded(self._project)),
            Route(f"/api/0/organizations/{ORGANIZATION}/events/", self._guarded(self._events)),
        ]
        for name in COLLECTIONS:
            at = f"/api/0/organizations/{ORGANIZATION}/{name}/"
            routes += [
                Route(at, self._guarded(self._many), methods=["GET", "POST"], name=name),
                Route(f"{at}{{key}}/", self._guarded(self._one), methods=["GET", "PUT", "DELETE"], name=name),
            ]
        return Starlette(routes=routes)

    def _guarded(self, endpoint: Callable[[Request], Awaitable[Response]]) -> Callable[[Request], Awaitable[Response]]:
        async def guarded(request: Request) -> Response:
            if request.headers.get("Authorization") != f"Bearer {TOKEN}":
                return JSONResponse({"detail": "Invalid token"}, 401)
            if request.method != "GET":
                self.writes.append((request.method, request.url.path.partition(f"{ORGANIZATION}/")[2]))
            for fault in self.faults:
                if fault.times and fault.method == request.method and request.url.path.endswith(fault.path):
                    fault.times -= 1
                    if fault.done:
                        await endpoint(request)
                    return JSONResponse({"detail": "ordered"}, fault.status, fault.headers)
            return await endpoint(request)

        return guarded

    async def _project(self, _: Request) -> Response:
        return JSONResponse({"id": str(PROJECT_ID), "slug": PROJECT})

    async def _events(self, request: Request) -> Response:
        """Answer a search for spans, the newest first; a query that Sentry would not take is a 400."""
        asked = request.query_params
        period = re.fullmatch(r"([0-9]+)([hd])", asked.get("statsPeriod", ""))
        terms = [re.fullmatch(r"has:tags\[([\w.]+),(number|string)\]", it) for it in asked["query"].split(" OR ")]
        fields = asked.getlist("field")
        if asked["dataset"] != "spans" or period is None or None in terms or "timestamp" not in fields:
            return JSONResponse({"detail": "Invalid query"}, 400)
        if asked["project"] != str(PROJECT_ID):
            return JSONResponse({"detail": "You do not have permission to perform this action"}, 403)
        hours = int(period[1]) * {"h": 1, "d": 24}[period[2]]
        wanted = [(term[1], term[2]) for term in terms if term]
        found = [it for it in self.spans if it.hours_ago <= hours and any(map(it.has, wanted))]
        newest = sorted(found, key=lambda it: it.hours_ago)[: int(asked["per_page"])]
        return JSONResponse({"data": [_shown(it) for it in newest], "meta": {"dataset": "spans"}})

    async def _many(self, request: Request) -> Response:
        collection = _collection(request)
        if request.method == "POST":
            self.before_write()
            key = self.add(collection, **await request.json())
            return JSONResponse(self.objects[collection][key], 201)
        first = int(request.query_params.get("cursor", "0"))
        found = list(self.objects[collection].values())
        more = "true" if len(found) > first + PAGE else "false"
        link = f'<{request.url.replace(query=f"cursor={first + PAGE}")}>; rel="next"; results="{more}"'
        page = found[first : first + PAGE]
        if collection == "dashboards":
            page = [{name: value for name, value in it.items() if name != "widgets"} for it in page]
        return JSONResponse(page, headers={"Link": link})

    async def _one(self, request: Request) -> Response:
        collection, named = _collection(request), request.path_params["key"]
        objects = self.objects[collection]
        key = next((key for key, it in objects.items() if named in {key, it.get("slug")}), None)
        if key is None:
            return JSONResponse({"detail": "The requested resource does not exist"}, 404)
        if request.method == "DELETE":
            del objects[key]
            return Response(status_code=204)
        if request.method == "PUT":
            self.before_write()
            body = await request.json()
            if isinstance(body.get("project"), dict):
                return JSONResponse({"project": ["Not a valid string."]}, 400)
            objects[key] = _stored(collection, key, body)
        return JSONResponse(objects[key])


def with_old_objects() -> SentryApi:
    """Return an organization whose dashboards and alerts use the old job's attributes, for `sentry migrate`."""
    api = SentryApi()
    old = "backfill.releases_ok"
    api.add("dashboards", title="Nightly backfill", widgets=[{"title": "Releases", "queries": [{"fields": [old]}]}])
    api.add("discover/saved", name="Releases that were warmed", fields=["timestamp", old], query=f"has:{old}")
    return api


def _collection(request: Request) -> str:
    rest = request.url.path.partition(f"/organizations/{ORGANIZATION}/")[2]
    return next(name for name in COLLECTIONS if rest.startswith(name))


def _shown(span: StoredSpan) -> Object:
    at = datetime.now(UTC) - timedelta(hours=span.hours_ago)
    return {"id": "f" * 16, "span.description": span.name, "timestamp": at.isoformat(timespec="seconds")}


def _stored(collection: str, key: str, body: Object) -> Object:
    own: Object = {"id": key, "dateModified": f"2026-01-01T00:00:00.{key}Z", "createdBy": {"email": "dj@station.test"}}
    if collection == "monitors" and isinstance(body.get("project"), str):
        own["project"] = {"slug": body["project"], "id": str(PROJECT_ID)}
    if collection == "alert-rules":
        own["triggers"] = [{"actions": [], **trigger} for trigger in body.get("triggers", [])]
    return {**body, **own}
