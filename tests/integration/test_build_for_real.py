"""`make build` as a person runs it, with pip and the pins; half a minute for each package."""

import hashlib
import shutil
import subprocess
import sys
import zipfile

import pytest

from local import deploy
from ops.build import package_sizes

pytestmark = pytest.mark.long


@pytest.fixture
def checkout(tmp_path):
    """What a build reads, so that nobody edits it meanwhile."""
    for name in ("ops", "src", "requirements"):
        shutil.copytree(deploy.ROOT / name, tmp_path / "checkout" / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(deploy.ROOT / "template.yaml", tmp_path / "checkout")
    return tmp_path / "checkout"


def build(checkout, output, *arguments):
    return subprocess.run(  # noqa: S603 - our own command
        [sys.executable, "-m", "ops.build", "-o", str(output), *arguments],
        cwd=checkout,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize("architecture", ["arm64", "x86_64"])
def test_a_package_is_made_checked_and_the_same_the_next_time(checkout, tmp_path, architecture):
    built = [build(checkout, tmp_path / name, "--architecture", architecture) for name in ("one", "other")]

    assert [result.returncode for result in built] == [0, 0], [result.stderr for result in built]
    assert "executed: every import" in built[0].stdout
    archives = [tmp_path / name / "package.zip" for name in ("one", "other")]
    assert len({hashlib.sha256(archive.read_bytes()).digest() for archive in archives}) == 1
    with zipfile.ZipFile(archives[0]) as bundle:
        names = bundle.namelist()
    assert {
        "handlers/refresh.py",
        "core/rotation/rotation.sql",
        "botocore/data/sqs/2012-11-05/service-2.json",
    } <= set(names)
    assert not [name for name in names if name.startswith("bin/") or "/data/ec2/" in name]
    assert "data/endpoints.json" in "".join(names)
    assert not [name for name in names if "swagger" in name or "integrations/django" in name]
    assert package_sizes(tmp_path / "one" / "package").unzipped < 20_000_000
    assert (tmp_path / "one" / "template.yaml").exists()
