"""A page of another origin reads tracks in a real browser: Debian's Chromium, headless, against the picker's server."""

import json
import re
import subprocess
from html import unescape

import pytest
from starlette.applications import Starlette
from starlette.responses import HTMLResponse, Response
from starlette.routing import Route

from core.picker.api import PATH
from local import serve
from local.process import end
from ops import picker as served
from tests.browser import devtools
from tests.browser.devtools import CHROMIUM
from tests.integration.build import KEY
from tests.integration.picking import RELEASE
from tests.signing import SETTINGS, bearer, key_set

pytest_plugins = ("tests.integration.picker.conftest",)

FLAGS = [
    *devtools.FLAGS,
    "--virtual-time-budget=10000",  # it stands still while a request is under way
    "--dump-dom",
]
PAGE = """<!doctype html><title>waiting</title><pre></pre><script>
const ask = async headers => {
  const answer = await fetch(URL_OF_TRACKS, {headers, cache: 'no-store'});
  return {status: answer.status, etag: answer.headers.get('ETag'), body: await answer.json().catch(() => null)};
};
(async () => {
  const told = [];
  for (const headers of REQUESTS) told.push(await ask(headers).catch(error => ({error: String(error)})));
  document.querySelector('pre').textContent = JSON.stringify(told);
})();
</script>"""

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed (apt-get install chromium)")


class Frontend:
    """A web site: its page asks the picker; it is also where the issuer publishes its keys."""

    page = ""

    def app(self):
        async def page(_):
            return HTMLResponse(self.page)

        async def keys(_):
            return Response(key_set())

        return Starlette(routes=[Route("/", page), Route("/jwks", keys)])


@pytest.fixture
def frontend():
    site = Frontend()
    with serve.in_thread(site.app()) as url:
        site.url = url
        yield site


@pytest.fixture
def read_from_page(frontend, station, lml, tmp_path):
    """Have a page of the frontend ask for a row's tracks with some headers; gives what the page could read."""
    lml.answers("release", RELEASE)
    path = PATH.format(rotation_id=station.row(release=11))
    started = []

    def read(origins, *requests):
        environment = {
            **station.environment,
            **SETTINGS,
            "LIBRARY_METADATA_URL": lml.url,
            "LML_API_KEY": KEY,
            "LOCAL_DEV": "1",
            "PICKER_JWKS_URL": f"{frontend.url}/jwks",
            "PICKER_CORS_ORIGINS": origins,
        }
        process, url = served.start(environment, tmp_path, warm=False)
        started.append(process)
        page = PAGE.replace("URL_OF_TRACKS", json.dumps(url + path)).replace("REQUESTS", json.dumps(requests))
        frontend.page = page
        command = [CHROMIUM, *FLAGS, f"--user-data-dir={tmp_path / 'profile'}", frontend.url]
        done = subprocess.run(command, capture_output=True, text=True, timeout=90, check=True)  # noqa: S603
        return json.loads(unescape(re.search(r"<pre>(.*?)</pre>", done.stdout)[1]))

    yield read
    end(started)


def test_a_page_of_the_frontend_reads_tracks_with_its_token_and_sees_why_it_may_not(read_from_page, frontend):
    tracks, nobody, forbidden = read_from_page(
        frontend.url, {"Authorization": bearer()}, {}, {"Authorization": bearer(role="listener")}
    )

    assert (tracks["status"], tracks["body"][0]["title"]) == (200, "Opening Balance")
    assert tracks["etag"].startswith('"')
    assert (nobody["status"], nobody["body"]) == (401, {"message": "Unauthorized"})
    assert forbidden["status"] == 403


def test_a_page_of_another_origin_reads_nothing(read_from_page):
    (kept_away,) = read_from_page("https://dj.example", {"Authorization": bearer()})
    assert "Failed to fetch" in kept_away["error"]
