"""What a command writes: whole, through links, and to a device as it is."""

import os
import threading

import pytest
from click.testing import CliRunner

from ops.cli import run
from ops.output import write_whole


def test_a_file_is_replaced_whole_and_keeps_its_mode(tmp_path):
    path = tmp_path / "page.html"
    path.write_bytes(b"old")
    path.chmod(0o600)

    write_whole(path, b"new")

    assert (path.read_bytes(), path.stat().st_mode & 0o777) == (b"new", 0o600)
    assert [it.name for it in tmp_path.iterdir()] == ["page.html"]


@pytest.mark.parametrize("exists", [True, False], ids=["to a file", "to nothing yet"])
def test_a_link_stays_a_link_and_its_target_is_written(tmp_path, exists):
    (tmp_path / "there").mkdir()
    target, link = tmp_path / "there" / "page.html", tmp_path / "link"
    if exists:
        target.write_bytes(b"old")
    link.symlink_to(target)

    write_whole(link, b"new")

    assert link.is_symlink()
    assert target.read_bytes() == b"new"


def test_a_pipe_is_written_and_stays_a_pipe(tmp_path):
    pipe, got = tmp_path / "pipe", []
    os.mkfifo(pipe)
    reader = threading.Thread(target=lambda: got.append(pipe.read_bytes()))
    reader.start()

    write_whole(pipe, b"page")

    reader.join(10)
    assert got == [b"page"]
    assert pipe.is_fifo()


def test_a_link_to_a_device_stays_one(tmp_path):
    link = tmp_path / "null"
    link.symlink_to("/dev/null")

    write_whole(link, b"page")

    assert link.is_symlink()
    assert link.is_char_device()


def test_a_place_that_cannot_be_written_is_an_error_and_leaves_nothing(tmp_path):
    (tmp_path / "page.html.draft").mkdir()

    with pytest.raises(OSError, match="draft"):
        write_whole(tmp_path / "page.html", b"new")

    assert [it.name for it in tmp_path.iterdir()] == ["page.html.draft"]


@pytest.mark.parametrize("ids", ["9" * 5000, "9" * 400, "1," + "9" * 5000, "1,,2", "-1", "\uff11"])
def test_ids_that_no_id_can_be_are_refused_in_a_short_sentence(ids):
    answer = CliRunner().invoke(run, ["--ids", ids])

    assert answer.exit_code == 2
    assert "is no list of ids such as 17,18" in answer.output
    assert len(answer.output) < 400
