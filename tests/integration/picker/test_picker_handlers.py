"""The picker's functions as Lambda calls them, with the events of events/."""

import json
from pathlib import Path
from types import SimpleNamespace

import pytest

from core.environment import SettingsError
from handlers import picker_bootstrap, rotation_tracks, warm_tracks
from tests.integration.build import KEY, TABLE
from tests.integration.picking import RELEASE
from tests.odd_events import ODD_EVENTS
from tests.wire import Wire, reply

pytest_plugins = ("tests.integration.fixtures",)

EVENTS = Path(__file__).parents[3] / "events"
CONTEXT = SimpleNamespace(get_remaining_time_in_millis=lambda: 900_000, function_name="picker-warm-tracks")


def event(name):
    return json.loads((EVENTS / f"{name}.json").read_text())


@pytest.fixture
def environment(monkeypatch, station, lml, dynamodb):
    """Set what the template sets; gives a function that begins a new environment with changes to that."""
    assert dynamodb.list_tables()["TableNames"] == [TABLE]
    aws = {"AWS_DEFAULT_REGION": "us-east-1", "AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test"}

    def begin(**changes):
        given = {
            "LIBRARY_METADATA_URL": lml.url,
            "LML_API_KEY": KEY,
            "PICKER_TABLE": TABLE,
            "LOCAL_DEV": "1",
            "WARM_LIVE_ACTIVITY_LOOKBACK_SECONDS": "0",
            **station.environment,
            **aws,
            **changes,
        }
        for name, value in given.items():
            monkeypatch.setenv(name, value)
        end()

    made = []
    build = picker_bootstrap.build

    def kept(*parts):
        made.append(build(*parts))
        return made[-1]

    def end():
        while made:
            made.pop().close()
        picker_bootstrap.picker.cache_clear()

    monkeypatch.setattr(picker_bootstrap, "build", kept)
    begin()
    yield begin
    end()


def opened(rotation_id):
    request = event("rotation-tracks")
    request["pathParameters"]["rotation_id"] = str(rotation_id)
    answer = rotation_tracks.handler(request, CONTEXT)
    assert answer["headers"]["content-type"] == "application/json"
    return answer["statusCode"], json.loads(answer["body"])


@pytest.mark.usefixtures("environment")
def test_a_dj_opens_a_row(station, lml):
    lml.answers("release", RELEASE)

    status, tracks = opened(station.row(release=11))

    assert status == 200
    assert tracks == [{"position": "A1", "title": "Opening Balance", "duration": "3:05", "artists": ["The Ledgers"]}]


@pytest.mark.parametrize("rotation_id", ["0", "-1", "12abc", "1.5", "2147483648", "٣"])
def test_what_is_no_id_is_refused_before_the_database_is_asked(environment, rotation_id):
    environment(DB_PORT="1")
    assert opened(rotation_id) == (400, {"message": "rotation_id must be a positive integer"})


def test_a_database_that_is_away_is_reported_in_general_words(environment, capsys):
    environment(DB_PORT="1")

    status, body = opened(7)

    assert (status, body) == (500, {"message": "the track list cannot be read now"})
    assert "Connection refused" in capsys.readouterr().out


@pytest.mark.usefixtures("environment")
@pytest.mark.parametrize("status", [401, 403, 500])
def test_lml_s_own_status_stays_inside(station, lml, status):
    lml.answers("release", status=status)
    assert opened(station.row(release=11))[0] == 502


def test_what_a_dj_could_not_wait_for_is_kept_before_the_environment_freezes(station, lml, environment):
    """The extension waits for it; the next DJ finds it, in whatever environment."""
    environment(CLOCK_SPEED="10")
    lml.answers("release", RELEASE, hold=True)
    row = station.row(release=11)

    assert opened(row)[0] == 503
    lml.let_go()
    picker_bootstrap._until_lml_has_answered(30)

    environment()
    assert opened(row)[0] == 200
    assert len(lml.asked()) == 1


@pytest.mark.usefixtures("environment")
@pytest.mark.parametrize("odd", ODD_EVENTS.values(), ids=ODD_EVENTS)
def test_a_test_of_the_console_or_a_ping_is_answered_and_walks_nowhere(station, lml, odd):
    station.row(release=11)

    assert rotation_tracks.handler(odd, CONTEXT)["statusCode"] == 400
    assert warm_tracks.handler(odd, CONTEXT)["outcome"] == "ignored"
    assert lml.asked() == []


def test_a_route_without_its_authorizer_serves_nobody(station, environment):
    """Should somebody take it off, in the console or the template."""
    environment(LOCAL_DEV="0", LIBRARY_METADATA_URL="https://lml.invalid", DB_TLS="verify")
    row = station.row(release=11)
    request = event("rotation-tracks")
    request["pathParameters"]["rotation_id"] = str(row)

    for authorizer, status in (({}, 401), ({"lambda": None}, 401), ({"lambda": {"decision": "keys_unavailable"}}, 503)):
        request["requestContext"]["authorizer"] = authorizer
        assert rotation_tracks.handler(request, CONTEXT)["statusCode"] == status


def test_the_openapi_document_is_served():
    request = event("rotation-tracks") | {"routeKey": "GET /openapi.json", "pathParameters": {}}
    answer = rotation_tracks.handler(request, CONTEXT)
    assert json.loads(answer["body"])["openapi"].startswith("3.1")


RULE = {"detail-type": "CloudFormation Stack Status Change", "detail": {}}


@pytest.mark.parametrize("start", [{}, RULE, event("warm-tracks")], ids=["schedule", "deploy", "by-hand"])
def test_after_the_walk_another_environment_answers_without_lml(station, lml, environment, start):
    lml.answers("release", RELEASE)
    row = station.row(release=11)

    answer = warm_tracks.handler(start, CONTEXT)

    assert answer["done"] is True
    assert answer["counters"]["releaseFetchPositive"] == 1
    environment()
    assert opened(row)[0] == 200
    assert len(lml.asked()) == 1


def test_without_the_table_the_walk_refuses_to_start_and_says_why(environment):
    environment(PICKER_TABLE="")
    with pytest.raises(SettingsError, match="warms nobody"):
        warm_tracks.handler({}, CONTEXT)


@pytest.mark.usefixtures("environment")
def test_the_next_invocation_is_asked_for_and_not_waited_for(monkeypatch):
    with Wire(reply(202)) as aws:
        monkeypatch.setenv("AWS_ENDPOINT_URL", aws.url)
        picker_bootstrap.invoke_again("picker-warm-tracks", b'{"cursor": {}}')

    (request,) = aws.requests
    assert request.target == "/2015-03-31/functions/picker-warm-tracks/invocations"
    assert request.headers["x-amz-invocation-type"] == "Event"
    assert request.body == b'{"cursor": {}}'
