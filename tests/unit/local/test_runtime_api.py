"""A handler in Lambda's own runtime client, and `python -m local.invoke` by hand."""

import json
import sys

import pytest

from local import invoke, runtime_api
from local.process import ProcessError

HANDLER = """
def handler(event, context):
    print("at work")
    return event["answer"]
"""


@pytest.fixture
def function(tmp_path):
    """Where a handler is that knows one event, and the environment that finds it."""
    (tmp_path / "known.py").write_text(HANDLER)
    return "known.handler", {"PYTHONPATH": str(tmp_path)}


@pytest.fixture
def by_hand(tmp_path, monkeypatch, capsys):
    """Call `local.invoke` for a function without settings; returns its exit status and what it said of it."""

    def call(event, environments):
        words = ["invoke", "FanOutFunction", "-e", str(tmp_path / event), "--env-vars", str(tmp_path / environments)]
        monkeypatch.setattr(sys, "argv", words)
        with pytest.raises(SystemExit) as ended:
            invoke.main()
        return ended.value.code, capsys.readouterr().err

    (tmp_path / "event.json").write_text("{}")
    (tmp_path / "environments.json").write_text(json.dumps({"FanOutFunction": {}}))
    (tmp_path / "README.md").write_text("# a project")
    return call


def test_a_function_that_has_answered_ends_without_a_complaint(function, tmp_path):
    log = tmp_path / "log"
    with runtime_api.running(*function, log) as runtime:
        assert runtime.invoke('{"answer": 42}') == 42

    assert log.read_text().splitlines() == ["at work"]


def test_a_function_s_error_is_reported(function, tmp_path):
    with runtime_api.running(*function, tmp_path / "log") as runtime:
        with pytest.raises(ProcessError, match="KeyError"):
            runtime.invoke("{}")
        assert runtime.invoke('{"answer": 42}') == 42


def test_a_process_that_ends_is_not_waited_for(function, tmp_path):
    """As that of a Python without the runtime client does."""
    with (
        runtime_api.running(*function, tmp_path / "log", "-c", "pass") as runtime,
        pytest.raises(ProcessError, match="ended without an answer"),
    ):
        runtime.invoke("{}")


def test_by_hand_an_error_comes_after_the_function_s_log(by_hand):
    status, stderr = by_hand("event.json", "environments.json")

    assert status == 1
    assert "the function failed: " in stderr.splitlines()[-1]
    assert "DB_HOST" in stderr.partition("the function failed: ")[0]


@pytest.mark.parametrize(
    ("event", "environments", "named"),
    [
        pytest.param("none.json", "environments.json", "none.json: No such file", id="no event"),
        pytest.param("event.json", "none.json", "none.json: No such file", id="no environments"),
        pytest.param("event.json", "README.md", "README.md no JSON", id="environments that are none"),
    ],
)
def test_by_hand_a_file_that_is_wrong_is_named_in_a_line(by_hand, event, environments, named):
    status, stderr = by_hand(event, environments)

    assert status == 1
    assert named in stderr
    assert len(stderr.splitlines()) == 1
