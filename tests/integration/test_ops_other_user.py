"""A folder or files of somebody else, and a folder without permission: said in a sentence, and nothing is broken."""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from tests.integration.operating import Operator

NOBODY = 65534
AS_NOBODY = f"""
import os, sys
import ops.demo, ops.letters, ops.listing, ops.logs, ops.report, ops.runs, ops.status, ops.up  # while they can be read
import rich._unicode_data, traceback
from ops.cli import main

os.chdir(sys.argv.pop(1))
os.setgroups([])
os.setgid({NOBODY})
os.setuid({NOBODY})
main()
"""
pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")


def as_nobody(directory, *words):
    done = subprocess.run(  # noqa: S603 - our own command
        [sys.executable, "-c", AS_NOBODY, directory, *words],
        capture_output=True, text=True, check=False, timeout=60, env={**os.environ, "HOME": "/nonexistent"},
    )  # fmt: skip
    assert "Traceback" not in done.stderr
    return done.returncode, " ".join(done.stdout.split())


@pytest.fixture
def public():
    """A folder of root's that everybody can read, outside pytest's own, which is private."""
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        folder.chmod(0o755)
        yield folder


def test_a_folder_that_one_may_not_write_is_shown_before_anything_is_started(public):
    status, printed = as_nobody(public, "up", "--identities", "3")

    assert status == 1
    assert f"{public / '.local'} cannot be written" in printed
    assert "call `rotation up` in a folder of yours" in printed
    assert list(public.iterdir()) == []


def test_the_cloud_of_somebody_else_is_left_alone_and_named(public):
    Operator(public).data("up", "--identities", "3")
    try:
        for words in (["status"], ["list"], ["run"], ["stop"], ["logs"], ["dead-letters"], ["report"]):
            status, printed = as_nobody(public, *words)
            assert status == 1
            assert "belongs to another user: run this command as the user who called `rotation up`" in printed
        for words in (["up"], ["down"]):
            status, printed = as_nobody(public, *words)
            assert status == 1
            assert "cannot be written" in printed or "belongs to another user" in printed
        assert "there is no run" in Operator(public).data("status", code=1)["error"]  # it is still there

        Operator(public).data("run", "--ids", "1", "--wait")
        (public / ".local" / "cloud.json").chmod(0o644)  # the user can read where the cloud is, and write nothing
        status, printed = as_nobody(public, "report")
    finally:
        Operator(public).data("down")
    assert status == 1
    assert "the report cannot be written" in printed
    assert "name another file by --output" in printed
