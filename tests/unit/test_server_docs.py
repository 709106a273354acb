"""docs/server.md and the Containerfile name what is there."""

import re
from pathlib import Path

from core.picker import api
from core.settings import VARIABLES
from server import app

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs/server.md").read_text()
CONTAINERFILE = (ROOT / "Containerfile").read_text()


def test_every_setting_that_is_named_is_one():
    named = set(re.findall(r"`([A-Z][A-Z_]+)(?:=\w+)?`", PAGE))
    assert named - {"SIGTERM", "SIGINT"} <= {variable.name for variable in VARIABLES}
    assert {"HOST", "PORT", "PICKER_JWKS_URL", "PICKER_CORS_ORIGINS"} <= named


def test_every_route_is_in_the_table():
    listed = set(re.findall(r"^\| `(/\S+)` \|", PAGE, re.MULTILINE))
    assert listed == {api.PATH, api.OPENAPI_PATH, app.HEALTH_PATH, app.READY_PATH}


def test_what_the_container_copies_is_in_the_repository():
    for source in re.findall(r"^COPY (\S+) ", CONTAINERFILE, re.MULTILINE):
        assert (ROOT / source).exists()
    assert 'CMD ["python", "-m", "server"]' in CONTAINERFILE
    assert f"{app.HEALTH_PATH}'" in CONTAINERFILE


def test_the_container_runs_what_was_tested():
    def pins(name):
        return set(re.findall(r"^[a-z0-9.-]+==\S+", (ROOT / f"requirements/{name}.txt").read_text(), re.MULTILINE))

    assert pins("server") <= pins("dev")
