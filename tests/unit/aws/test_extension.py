"""An environment stays awake after its answer until what goes on has ended: in Lambda's own runtime client."""

import pytest

from core.aws.extension import Afterwards
from local import runtime_api
from tests.wire import Wire, reply

HANDLER = """
import os, threading
from core.aws.extension import Afterwards

ended = threading.Event()
afterwards = Afterwards(os.environ["AWS_LAMBDA_RUNTIME_API"], ended.wait)

def handler(event, context):
    with afterwards:
        if event["start"]:
            ended.clear()
            threading.Timer(0.3, ended.set).start()
        if event["fail"]:
            raise RuntimeError("on purpose")
        return ended.is_set()
"""


@pytest.fixture
def runtime(tmp_path):
    (tmp_path / "goes_on.py").write_text(HANDLER)
    with runtime_api.running("goes_on.handler", {"PYTHONPATH": str(tmp_path)}, tmp_path / "log") as running:
        yield running


def event(*, start=False, fail=False):
    return f'{{"start": {str(start).lower()}, "fail": {str(fail).lower()}}}'


def test_the_answer_comes_at_once_and_the_next_invocation_when_all_has_ended(runtime):
    assert runtime.invoke(event(start=True)) is False
    assert runtime.invoke(event()) is True
    assert runtime.invoke(event(start=True)) is False
    assert runtime.invoke(event()) is True


def test_what_goes_on_is_waited_for_after_a_failure_too(runtime):
    with pytest.raises(Exception, match="on purpose"):
        runtime.invoke(event(start=True, fail=True))
    assert runtime.invoke(event()) is True


@pytest.mark.parametrize("api", [None, "127.0.0.1:1"], ids=["not-on-lambda", "no-such-api"])
def test_where_there_is_no_such_api_the_function_works_without_and_says_so(api):
    warnings = []
    afterwards = Afterwards(api, lambda _: 1 / 0, warnings.append)
    with afterwards:
        pass
    assert bool(warnings) == bool(api)


@pytest.mark.parametrize("script", [reply(403), reply(200), reply(500, b"{}")], ids=["refused", "no id", "a fault"])
def test_an_api_that_takes_no_extension_is_reported(script):
    warnings = []
    with Wire(script) as api:
        Afterwards(f"127.0.0.1:{api.port}", lambda _: None, warnings.append)
    assert len(warnings) == 1
    assert "the Extensions API answered" in warnings[0]
