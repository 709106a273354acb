"""The picker among an operator's commands: `rotation up` serves it, `rotation demo --picker` shows it."""

import json

import httpx
import psutil
import pytest

from core.picker.api import PATH
from tests.integration.operating import Operator, check_shape


def processes_of(directory):
    """The command lines of what runs there."""
    lines = [" ".join(process.info["cmdline"] or []) for process in psutil.process_iter(["cmdline"])]
    return [line for line in lines if str(directory) in line]


def test_up_serves_the_picker(operator):
    with httpx.Client(base_url=operator.running.picker_url) as dj:
        assert PATH in dj.get("/openapi.json").json()["paths"]
        assert dj.get(PATH.format(rotation_id=1)).status_code == 200
        assert dj.get(PATH.format(rotation_id=0)).status_code == 400


def test_an_up_that_fails_at_the_picker_says_why_and_leaves_nothing(tmp_path, monkeypatch):
    monkeypatch.setenv("WARM_RELEASES", "7")

    answer = Operator(tmp_path).data("up", "--identities", "1", code=1)

    assert "WARM_RELEASES" in answer["error"]
    assert processes_of(tmp_path) == []
    assert list((tmp_path / ".local").iterdir()) == []


def test_a_demo_whose_picker_does_not_start_says_why(tmp_path, monkeypatch):
    monkeypatch.setenv("WARM_RELEASES", "7")

    result = Operator(tmp_path).rotation("demo", "--picker", "--identities", "1", "--json")

    assert result.exit_code == 1
    assert "not finished" in result.stderr
    assert "WARM_RELEASES" in result.stderr
    check_shape("demo --picker", json.loads(result.stdout))
    assert json.loads(result.stdout) == {"open_cold_ms": None, "open_warm_ms": None, "warm": None}


@pytest.mark.parametrize("option", [["--warm"], ["--lml-url", "http://127.0.0.1:1"], ["--set", "DB_TLS=verify"]])
def test_a_demo_of_the_picker_refuses_what_it_would_not_use(tmp_path, option):
    result = Operator(tmp_path).rotation("demo", "--picker", *option)
    assert result.exit_code == 2
    assert option[0] in result.stderr
