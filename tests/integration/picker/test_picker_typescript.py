"""What a frontend generates from the OpenAPI document: types of openapi-typescript that TypeScript accepts.

Both come from npm's registry into a directory of the test; where node or the registry is not there, this is skipped.
"""

import shutil
import subprocess

import pytest

from core.picker import api

NPM = shutil.which("npm")
PACKAGES = ("openapi-typescript@7", "typescript@5")
USE = """\
import type { components, paths } from "./picker";

type Operation = paths["/library/rotation/{rotation_id}/tracks"]["get"];
type Tracks = Operation["responses"][200]["content"]["application/json"];
type Trouble = Operation["responses"][STATUSES]["content"]["application/json"];

export const titles = (tracks: Tracks): string[] =>
  tracks.map(track => `${track.position} ${track.title} ${track.duration ?? ""} ${track.artists.join(", ")}`);
export const reason = (trouble: Trouble): string => trouble.message;
export const track: components["schemas"]["Track"] = { position: "A1", title: "x", duration: null, artists: ["y"] };
export const id: Operation["parameters"]["path"] = { rotation_id: 7 };
"""
STATUSES = "400 | 401 | 403 | 500 | 502 | 503 | 504"

pytestmark = pytest.mark.skipif(NPM is None, reason="node is not installed")


def run(directory, *command):
    return subprocess.run(command, cwd=directory, capture_output=True, text=True, timeout=240, check=False)  # noqa: S603


@pytest.fixture(scope="module")
def directory(tmp_path_factory):
    """Generate the types; gives the directory that they are in."""
    made = tmp_path_factory.mktemp("typescript")
    (made / "package.json").write_text("{}")
    installed = run(made, NPM, "install", "--no-audit", "--no-fund", "--fetch-retries=0", *PACKAGES)
    if installed.returncode:
        pytest.skip(f"npm's registry cannot be reached: {installed.stderr.strip()[-200:]}")
    (made / "picker.json").write_bytes(api.openapi())
    generated = run(made, "node_modules/.bin/openapi-typescript", "picker.json", "-o", "picker.d.ts")
    assert generated.returncode == 0, generated.stderr
    return made


def compiled(directory, source):
    (directory / "use.ts").write_text(source)
    return run(
        directory, "node_modules/.bin/tsc", "--strict", "--noEmit", "--target", "es2022", "--module", "esnext", "use.ts"
    )


def test_the_generated_types_type_check_with_every_answer(directory):
    done = compiled(directory, USE.replace("STATUSES", STATUSES))
    assert done.returncode == 0, done.stdout


@pytest.mark.long
def test_a_status_that_is_never_answered_would_be_seen(directory):
    """Else the test above proves nothing."""
    assert compiled(directory, USE.replace("STATUSES", "418")).returncode != 0
