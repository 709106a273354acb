"""The OpenAPI document and what is served agree: schemathesis looks for a request that proves otherwise."""

import time
from collections import Counter

import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from requests import Session

from core import authorization
from core.clock import SystemClock
from core.picker import api
from core.picker.build import Picker
from local import serve
from server import app as server
from server.__main__ import Protocol
from tests.integration.picking import DIRECT, RELEASE
from tests.signing import SETTINGS, bearer, key_set


@pytest.fixture
def url(station, lml, open_picker):
    """Serve rows of every tier."""
    lml.answers("lookup", DIRECT)
    lml.answers("release", RELEASE)
    for how in ({"release": 11}, {"library": 22}, {}, {"artist": None}, {"release": 12, "killed": -9}):
        station.row(**how)
    picker = open_picker(SystemClock())
    settings = authorization.read({"PICKER_JWKS_URL": "https://auth.example/jwks", **SETTINGS})
    authorizer = authorization.Authorizer(settings, authorization.Keys("the url", lambda _: key_set()))
    app = server.build(Picker(picker.resolver, picker.warmer, picker.telemetry), authorizer, ())
    with serve.in_thread(app, Protocol) as url:  # what is no HTTP is answered too
        yield url


@pytest.mark.parametrize("mode", list(schemathesis.GenerationMode))
def test_no_request_is_answered_other_than_the_document_says(url, mode):
    """Requests that fit the document, and requests that do not."""
    document = schemathesis.openapi.from_url(f"{url}/openapi.json")
    (operation,) = (result.ok() for result in document.get_all_operations())

    answered, token = Counter(), bearer(exp=int(time.time()) + 3600)

    @settings(max_examples=100, deadline=None, suppress_health_check=list(HealthCheck))
    @given(operation.as_strategy(generation_mode=mode))
    def ask(case):
        answer = case.call_and_validate(session=session, headers={"Authorization": token})
        answered[answer.status_code, answer.content == b"[]"] += 1
        if answer.status_code == 200:  # whatever else is wrong with it: a header that this test replaced
            assert api.number(str(case.path_parameters["rotation_id"]))

    with Session() as session:
        ask()

    assert answered.total() >= 100
    statuses = {status for status, _ in answered}
    if mode is schemathesis.GenerationMode.POSITIVE:
        assert statuses == {200}
        assert {empty for _, empty in answered} == {True, False}, "rows that are there, and rows that are not"
    else:
        assert 400 in statuses
