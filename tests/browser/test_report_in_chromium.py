"""The report as a real browser shows it: Debian's Chromium, headless. Skipped where it is not installed."""

import re
import socket
import subprocess
import threading

import pytest

from core.runs.totals import TOTALS, Totals
from ops.report import write_report
from tests.browser import devtools
from tests.browser.devtools import CHROMIUM
from tests.unit.report.runs import delivery, material, message, row, run

FLAGS = [
    *devtools.FLAGS,
    "--disable-quic",
    "--enable-logging=stderr",
    "--virtual-time-budget=3000",
    "--dump-dom",
]
ITS_OWN = ("google.com", "googleapis.com", "gvt1.com")
"""Hosts that Chromium asks of itself, whatever the page and the flags."""
LONG = "An\u200bImpossiblyLongTitle" * 20

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed (apt-get install chromium)")


@pytest.fixture
def browse(tmp_path):
    """Open a page; gives its DOM, what the console said, and which hosts were asked for something."""

    def open_it(path, *flags):
        asked = []
        with socket.create_server(("127.0.0.1", 0)) as proxy:

            def listen():
                while True:
                    try:
                        connection, _ = proxy.accept()
                    except OSError:
                        return
                    host = connection.recv(2000).decode().partition("Host: ")[2].partition("\r")[0].partition(":")[0]
                    connection.close()
                    if host and not host.endswith(ITS_OWN):  # a connection opened in advance asks for nothing
                        asked.append(host)

            threading.Thread(target=listen, daemon=True).start()
            command = [
                CHROMIUM,
                *FLAGS,
                f"--user-data-dir={tmp_path / 'profile'}",
                f"--proxy-server=127.0.0.1:{proxy.getsockname()[1]}",
                *flags,
                path.as_uri(),
            ]
            done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)  # noqa: S603
            proxy.shutdown(socket.SHUT_RDWR)
        return done.stdout, [line for line in done.stderr.splitlines() if "CONSOLE" in line], asked

    return open_it


@pytest.fixture
def page(tmp_path):
    """Write the page of a run in which everything happened."""
    numbers = {name: number for number, name in enumerate(TOTALS, start=100)}
    scanned = {"identities_scanned": 900 + numbers["lml_error"], "identities_resolved": 900}
    totals = Totals(**numbers | scanned)
    titles = [LONG, "<script>document.title = 'owned'</script>", "\u202eright to left\u202c \u05e9\u05dc\u05d5\u05dd"]
    rows = {identity: [row(identity, title, title)] for identity, title in enumerate(titles, start=1)}
    made = material(
        run=run(totals=totals, planned=totals.identities_scanned + totals.not_attempted, reason=LONG),
        messages=[message(not_found=[1, 2, 3], failed={4: LONG})],
        rows=rows,
        lines=[delivery(requests=((5.0, 2.0, 4.0),) * 30), delivery(1, after=9.0, requests=((3.0, 1.0, 1.0),) * 50)],
        earlier=[run()] * 3,
    )
    return made, write_report(made, tmp_path / "report.html")


def test_the_figures_that_the_browser_shows_are_the_ledger_s(browse, page):
    made, path = page

    dom, _, _ = browse(path)

    shown = {name: int(value) for name, value in re.findall(r'<data id="total-(\w+)" value="(\d+)"', dom)}
    assert shown == {"planned": made.run.planned} | {name: getattr(made.run.totals, name) for name in TOTALS}
    assert dom.count("<svg") == 3


def test_the_console_is_silent_and_nobody_is_asked_for_anything(browse, page):
    """A title that is a script does not run either."""
    _, path = page

    dom, console, asked = browse(path)

    assert console == []
    assert asked == []
    assert "owned</title>" not in dom


def test_a_console_message_and_a_request_would_be_seen(browse, tmp_path):
    """Else the test above proves nothing."""
    path = tmp_path / "loud.html"
    path.write_text("<script>console.error('loud')</script><img src='http://elsewhere.test/x.png'>")

    _, console, asked = browse(path)

    assert console
    assert asked == ["elsewhere.test"]


@pytest.mark.parametrize("width", [320, 390, 1200])
def test_the_page_is_not_wider_than_the_screen(browse, page, tmp_path, width):
    """No sideways scrolling of the page; a chart's letters are as high as 11 px at least on a phone, and inside it."""
    _, path = page
    probe = """<script>onload = () => {
      const texts = [...document.querySelectorAll('svg text')].filter(text => text.textContent.trim());
      const height = text => parseFloat(getComputedStyle(text).fontSize) * text.getScreenCTM().a;
      const cut = texts.filter(text => {
        const [its, all] = [text, text.ownerSVGElement].map(element => element.getBoundingClientRect());
        return its.left < all.left || its.right > all.right || its.top < all.top || its.bottom > all.bottom;
      });
      const least = Math.min(...texts.map(height));
      const told = cut.map(text => text.textContent);
      parent.postMessage([document.documentElement.scrollWidth, Math.floor(10 * least), ...told], '*');
    }</script>"""
    bare = re.sub(r"<meta http-equiv=[^>]*>", "", path.read_text(encoding="utf-8"))
    (tmp_path / "probed.html").write_text(bare + probe, encoding="utf-8")
    frame = tmp_path / "frame.html"
    frame.write_text(
        f"<iframe src=probed.html style='width:{width}px;height:800px;border:0'></iframe>"
        "<script>onmessage = event => { document.title = event.data.join(' ') }</script>"
    )

    dom, _, _ = browse(frame, "--window-size=1300,900")

    wide, letters, *cut = re.search(r"<title>(.*)</title>", dom)[1].split()
    assert int(wide) <= width
    assert int(letters) >= (110 if width >= 390 else 90)
    assert cut == []
