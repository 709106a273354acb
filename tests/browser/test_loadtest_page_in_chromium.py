"""The load test's page in a real browser: on a phone and on a desk, light and dark."""

import pytest
from click.testing import CliRunner

from ops.cli import loadtest
from tests.browser.devtools import CHROMIUM, browser

pytestmark = [
    pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed (apt-get install chromium)"),
    pytest.mark.filterwarnings("ignore:PluginImportFixer:ImportWarning"),
]

LETTERS = """Math.min(...[...document.querySelectorAll('svg text')]
  .filter(it => it.textContent.trim() && it.getBoundingClientRect().height)
  .map(it => parseFloat(getComputedStyle(it).fontSize) * Math.hypot(it.getScreenCTM().a, it.getScreenCTM().b)))"""
CUT = """[...document.querySelectorAll('svg .legend, svg .axis text')].filter(it => {
  const [its, all] = [it, it.ownerSVGElement].map(it => it.getBoundingClientRect());
  return its.left < all.left || its.right > all.right || its.bottom > all.bottom;
}).map(it => it.textContent)"""
BRIGHTNESS = "getComputedStyle(document.body).backgroundColor.match(/[0-9]+/g).map(Number).reduce((a, b) => a + b)"
STYLES = """[...document.querySelectorAll('svg .series path.line')].map(it => getComputedStyle(it))
  .map(it => [it.stroke, it.strokeDasharray, it.strokeWidth].join())"""


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    """Small days of two patterns at three paces."""
    directory = tmp_path_factory.mktemp("loadtest")
    arguments = ["--days", "1", "--identities", "10", "--pace", "4,8,30", "-o", str(directory)]
    arguments += ["--pattern", "10 in fives", "--pattern", "20 in fives at once"]
    done = CliRunner().invoke(loadtest, arguments)
    assert done.exit_code == 0, done.output
    return (directory / "loadtest.html").as_uri()


@pytest.fixture(scope="module")
def chromium(tmp_path_factory):
    with browser(tmp_path_factory.mktemp("chromium")) as there:
        yield there


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("width", [390, 1280])
def test_it_fits_the_screen_and_can_be_read(chromium, page, width, dark):
    """A table that is wider scrolls inside its own box."""
    chromium.screen(width, dark=dark)
    chromium.open(page)

    assert chromium.get(f"document.documentElement.scrollWidth <= {width}")
    assert chromium.get(LETTERS) >= 11
    assert chromium.get(CUT) == []
    assert (chromium.get(BRIGHTNESS) < 150) is dark
    boxes = chromium.get("[...document.querySelectorAll('.scroll')].map(it => getComputedStyle(it).overflowX)")
    assert set(boxes) == {"auto"}
    wider = chromium.get("[...document.querySelectorAll('.scroll')].some(it => it.scrollWidth > it.clientWidth)")
    assert wider is (width == 390)
    assert chromium.console == []


def test_each_pattern_is_a_line_of_its_own_and_the_pace_in_use_is_marked_on_it(chromium, page):
    chromium.screen(390, dark=True)
    chromium.open(page)

    styles = chromium.get(STYLES)
    assert len(styles) == len(set(styles)) == 2
    radii = chromium.get("[...document.querySelectorAll('svg circle')].map(it => Number(it.getAttribute('r')))")
    assert sorted(radii) == [3, 3, 3, 3, 7, 7]
