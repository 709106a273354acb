"""The OpenAPI document and what is served agree: schemathesis looks for a request that proves otherwise."""

import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings

from core.clock import SystemClock
from core.picker.build import Picker
from local import serve
from ops import picker as served
from tests.integration.picking import DIRECT, RELEASE

pytest_plugins = ("tests.integration.picking_fixtures",)


@pytest.fixture
def url(station, lml, open_picker):
    """Serve rows of every tier."""
    lml.says("lookup", DIRECT)
    lml.says("release", RELEASE)
    for how in ({"release": 11}, {"library": 22}, {}, {"artist": None}, {"release": 12, "killed": -9}):
        station.row(**how)
    picker = open_picker(SystemClock())
    with serve.in_thread(served.app(Picker(picker.resolver, picker.warmer, picker.telemetry))) as url:
        yield url


@pytest.mark.parametrize("mode", list(schemathesis.GenerationMode))
def test_no_request_is_answered_other_than_the_document_says(url, mode):
    """Requests that fit the document, and requests that do not."""
    document = schemathesis.openapi.from_url(f"{url}/openapi.json")
    (operation,) = (result.ok() for result in document.get_all_operations())

    @settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
    @given(operation.as_strategy(generation_mode=mode))
    def ask(case):
        case.call_and_validate()

    ask()
