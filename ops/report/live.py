"""A run as a page that updates itself: server-sent events, on 127.0.0.1.

`python -m ops.report.live --url-file FILE --part NAME URL ...` serves the last run of `rotation up`'s cloud, and
`/health` of its parts.
"""

import asyncio
import functools
import json
import threading
import time
from argparse import ArgumentParser
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Final

from botocore.exceptions import BotoCoreError, ClientError
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.middleware import Middleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response, StreamingResponse
from starlette.routing import BaseRoute, Route

from core.settings import SettingsError
from core.utc import moment_text
from local import health, serve
from ops.report import page
from ops.report.material import Material, gather, glance
from ops.snapshot import take
from ops.target import NoRunError, OperatorError, Target, find

if TYPE_CHECKING:
    from ops.watch import View

PERIOD: Final = 1.0
"""Seconds between two looks at a cloud of this machine."""
PERIOD_AWAY: Final = 5.0
"""The same at a deployed stack, where looks cost something."""
SETTLES: Final = 60.0
"""Seconds after its end in which a run's log lines may still come."""
_LAST_STATE_LIMIT: Final = 30.0
"""Seconds for which the end of a watch waits until every page has its last state, on a busy machine."""
_LATE_LINES: Final = 5.0
"""Seconds for which it waits for a run's last log lines."""
_NO_STORE: Final = {"Cache-Control": "no-store"}


@dataclass(frozen=True, slots=True)
class Look:
    """What is sent to pages: `at` is when the data was read, `problem` why it could not be read again."""

    title: str = "no run yet"
    html: str = page.NO_RUN
    data: Mapping[str, object] | None = None
    at: str = ""
    problem: str | None = None


class Feed:
    """Looks at a run for all pages at once, only while one is open; without `run_id` at the last run."""

    def __init__(self, target: Callable[[], Target], run_id: str | None = None) -> None:
        self._target = target
        self._run_id = run_id
        self._changed = threading.Condition()
        self._pages = 0
        self._looking = threading.Lock()
        self._fresh_until = 0.0
        self._look = Look()
        self._shown: View | None = None
        self._ended: Material | None = None
        self._key: Material | None = None
        self._gives_up = 0.0
        self.period = PERIOD
        self.over: str | None = None
        """Why the feed has ended; None while it goes on."""

    def look(self) -> Look:
        """Return the newest look, at most `period` seconds old."""
        with self._looking:
            if time.monotonic() >= self._fresh_until:
                self._look = self._again()
                self._fresh_until = time.monotonic() + self.period
            return self._look

    def end(self, why: str) -> None:
        """Send every page its last state, and that it is the last one."""
        with self._looking:
            self._fresh_until = 0.0
        self._gives_up = time.monotonic() + _LATE_LINES
        self.over = why
        with self._changed:
            self._changed.wait_for(lambda: self._pages == 0, _LAST_STATE_LIMIT)

    async def events(self) -> AsyncIterator[str]:
        """Yield the stream of one page."""
        with self._page():
            last: Look | None = None
            while True:
                over = self.over
                look = await run_in_threadpool(self.look)
                if last is None or look.html != last.html:
                    if look.data is not None:
                        yield _event("run", look.data)
                    yield _event("page", {"title": look.title, "html": look.html})
                yield _event("beat", {"at": look.at, "problem": look.problem})
                if over is not None and (self._is_settled() or time.monotonic() > self._gives_up):
                    yield _event("end", {"text": over})
                    return
                last = look
                await asyncio.sleep(self.period)

    @contextmanager
    def _page(self) -> Iterator[None]:
        with self._changed:
            self._pages += 1
        try:
            yield
        finally:
            with self._changed:
                self._pages -= 1
                self._changed.notify_all()

    def _again(self) -> Look:
        try:
            target = self._target()
            self.period = PERIOD if target.endpoint_url else PERIOD_AWAY
            material = self._material(target)
        except NoRunError:
            return Look(at=moment_text(datetime.now(UTC)))
        except (OperatorError, SettingsError) as error:
            return replace(self._look, problem=str(error))
        except (ClientError, BotoCoreError) as error:
            return replace(self._look, problem=f"AWS does not answer, so this is not of now: {error}")
        seen = material.seen
        key = replace(material, seen=replace(seen, at=""))
        if key == self._key:
            return replace(self._look, at=seen.at, problem=None)
        self._key = key
        return Look(page.title(material), page.content(material), seen.data(), seen.at)

    def _material(self, target: Target) -> Material:
        """Look at the run; at its logs, rows and predecessors once it has ended, until its log lines are there."""
        run = target.run(self._run_id)
        if run.closed_at is not None and not run.is_unreported:
            if self._ended is None or self._ended.run != run or not self._is_settled():
                self._ended = gather(target, run.run_id)
                return self._ended
            return replace(self._ended, seen=take(target, run))
        self._ended = None
        material = glance(target, run)
        before = self._shown if self._shown is not None and self._shown.run.run_id == run.run_id else None
        self._shown = material.seen.view.not_before(before)
        return replace(material, seen=replace(material.seen, view=self._shown))

    def _is_settled(self) -> bool:
        """True if the log lines of a run that has ended are all there, or are too late to come."""
        if self._ended is None:
            return True
        run, seen = self._ended.run, self._ended.seen
        closed = datetime.fromisoformat(run.closed_at or run.started_at)
        late = (datetime.fromisoformat(seen.at) - closed).total_seconds() > SETTLES
        return late or page.requests_in_logs(self._ended) >= run.totals.lml_requests


def build(feed: Feed, more: tuple[BaseRoute, ...] = ()) -> Starlette:
    """Return the app: the page, its events, and other routes beside them."""

    async def shown(_: Request) -> Response:
        look = await run_in_threadpool(feed.look)
        return HTMLResponse(page.render_live(look.title, look.html), headers=_NO_STORE)

    async def events(_: Request) -> Response:
        return StreamingResponse(feed.events(), media_type="text/event-stream", headers=_NO_STORE)

    async def icon(_: Request) -> Response:
        return Response(status_code=204)

    routes = [Route("/", shown), Route("/events", events), Route("/favicon.ico", icon), *more]
    # A page of another site must not read this one under a name that it gives to 127.0.0.1.
    here = Middleware(TrustedHostMiddleware, allowed_hosts=["127.0.0.1", "localhost"])
    return Starlette(routes=routes, middleware=[here])


@contextmanager
def served(target: Target, run_id: str) -> Iterator[str]:
    """Serve a run's page while the context lasts; gives its URL. At the end every open page has the last state."""
    feed = Feed(lambda: target, run_id)
    with serve.in_thread(build(feed)) as url:
        try:
            yield f"{url}/"
        finally:
            feed.end("the watching has ended: this page stays as it is")


def _event(name: str, data: object) -> str:
    return f"event: {name}\ndata: {json.dumps(data)}\n\n"


def main() -> None:
    parser = ArgumentParser(prog="python -m ops.report.live", description="The page and /health of `rotation up`.")
    parser.add_argument("--url-file", type=Path, required=True, help="gets the base URL when it listens")
    parser.add_argument("--part", nargs=2, action="append", metavar=("NAME", "URL"), help="whom to look for")
    options = parser.parse_args()
    feed = Feed(functools.cache(lambda: find(None, None)))
    serve.run(build(feed, (health.route(dict(options.part or [])),)), options.url_file)


if __name__ == "__main__":
    main()
