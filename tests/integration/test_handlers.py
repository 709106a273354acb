"""The functions as Lambda calls them: every file of events/ through its handler, and what is refused at the door."""

import json
import sys
import traceback
from pathlib import Path

import boto3
import httpx
import pytest
from botocore.exceptions import ClientError

from core.environment import SettingsError
from core.runs.ledger import Commit
from core.runs.request import StartError
from core.runs.totals import Totals
from handlers import dead_letter, fan_out, refresh, secrets
from tests.eventually import eventually
from tests.integration.accounts import IDS, KEY, RUN, TABLE
from tests.integration.build import Context
from tests.odd_events import ODD_EVENTS, SAMPLE_OF_SQS

pytest_plugins = ("tests.integration.fixtures",)

ROOT = Path(__file__).parents[2]
EVENTS, SRC = ROOT / "events", ROOT / "src"


def event(name):
    return json.loads((EVENTS / f"{name}.json").read_text())


def body_of(name):
    return event(name)["Records"][0]["body"]


@pytest.fixture
def environment(book, monkeypatch):
    """Set what the template sets, for a clock on which nobody waits; the functions are built anew."""
    variables = book.environment() | {
        "LML_API_KEY": KEY,
        "CLOCK_SPEED": "1000",
        "REFRESH_SLICE_MAX": "50",
    }
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    built = (fan_out.build, refresh.build, dead_letter.build)
    for function in built:
        function.cache_clear()
    yield monkeypatch
    if fan_out.build.cache_info().currsize:
        fan_out.build().gate.args[0].close()  # the client of LML
    if refresh.build.cache_info().currsize:
        refresh.build().worker.lml.close()
    for function in built:
        function.cache_clear()


@pytest.fixture
def started(environment, book):  # noqa: ARG001 - the environment is what the handler reads
    """The run of events/schedule.json."""
    fan_out.handler(event("schedule"), Context())
    return book


@pytest.mark.usefixtures("environment")
def test_schedule_starts_the_run_of_its_time(book):
    answer = fan_out.handler(event("schedule"), Context())

    assert answer == {"outcome": "started", "run_id": RUN, "planned": 125, "messages": 3}
    assert len(book.waiting()) == 3
    json.dumps(answer)


@pytest.mark.usefixtures("environment")
def test_schedule_placeholder_starts_todays_run(logged):
    answer = fan_out.handler(event("schedule-placeholder"), Context())

    assert answer["outcome"] == "started"
    assert answer["run_id"].count(":") == 0, "a day, not a time"
    assert "today stands in for it" in logged("init")[0]["message"]


@pytest.mark.usefixtures("environment")
def test_dry_run_sends_nothing(book):
    answer = fan_out.handler(event("dry-run"), Context())

    assert (answer["outcome"], answer["planned"], answer["messages"]) == ("dry_run", 125, 3)
    assert book.waiting() == []
    assert book.lml.asked() == []


@pytest.mark.usefixtures("environment")
def test_identity_ids_starts_a_run_of_these(book):
    answer = fan_out.handler(event("identity-ids"), Context())

    assert (answer["outcome"], answer["planned"], answer["messages"]) == ("started", 3, 1)
    assert [json.loads(body)["identity_ids"] for body in book.waiting()] == [event("identity-ids")["identity_ids"]]


def test_refresh_message_is_worked_on(started):
    refresh.handler(event("refresh-message"), Context())

    assert started.totals()["identities_scanned"] == 50
    assert started.lml.asked_for() == IDS[:50]
    assert started.message(0).left is None


def test_an_event_reaches_the_http_client_through_eight_functions_of_ours(started, environment):
    """So many has a reader to open; a function that only passes things on is one that says nothing."""
    ways = []
    send = httpx.AsyncClient.send

    async def seen(client, request, **options):
        frames = [frame for frame, _ in traceback.walk_stack(sys._getframe())]
        ours = [it.f_code for it in reversed(frames) if Path(it.f_code.co_filename).is_relative_to(SRC)]
        ways.append((request, [code.co_qualname for code in ours]))
        return await send(client, request, **options)

    environment.setattr(httpx.AsyncClient, "send", seen)
    refresh.handler(event("refresh-message"), Context())

    (way,) = [way for request, way in ways if len(request.content) > len('{"identity_ids":[]}')]
    assert way[0] == "handler"
    assert way[-1] == "BoundedHttp._exchange"
    assert len(way) <= 8, way
    assert started.totals()["identities_scanned"] == 50


def test_refresh_part_goes_on_where_the_ledger_is(started):
    item = started.message(1)
    left = item.left.next_part(dict.fromkeys(IDS[98:100], 2))
    commit = Commit(message=item, request_id="earlier", totals=Totals(identities_scanned=48), left=left)
    started.ledger.messages.commit(commit, started.ledger.runs)

    refresh.handler(event("refresh-part"), Context())

    assert started.lml.asked_for() == IDS[98:100]
    assert started.message(1).left is None


@pytest.mark.usefixtures("environment")
def test_refresh_replay_stays_out_of_the_ledger(book, logged):
    refresh.handler(event("refresh-replay"), Context())

    assert book.lml.asked_for() == [15470, 15476, 15488]
    assert [line["IdentitiesScanned"] for line in logged() if "RunCompleted" in line] == [[3]]
    assert book.ledger.runs.read(RUN) is None


def test_dead_letter_accounts_for_its_message(started, logged):
    dead_letter.handler(event("dead-letter"), Context())

    assert started.totals()["lml_error"] == 25
    assert [line["DeadLettered"] for line in logged() if "DeadLettered" in line] == [[1]]


def test_all_of_them_are_one_run(started):
    """What SQS would do with the messages of events/schedule.json, through the handlers."""

    def complete():  # what is in doubt comes as a next part, a paced minute later
        for body in started.waiting():
            refresh.handler({"Records": [{"body": body}]}, Context())
        return started.run().status == "complete"

    eventually(complete)
    started.assert_balanced()
    started.assert_world()


def test_every_event_is_for_the_run_of_the_schedule():
    for name in ("refresh-message", "refresh-part", "dead-letter"):
        assert json.loads(body_of(name))["run_id"] == RUN


@pytest.mark.usefixtures("environment")
@pytest.mark.parametrize("function", [fan_out, refresh, dead_letter], ids=["fan_out", "refresh", "dead_letter"])
@pytest.mark.parametrize("odd", ODD_EVENTS.values(), ids=ODD_EVENTS)
def test_a_test_of_the_console_or_a_ping_is_answered_and_changes_nothing(book, logged, function, odd):
    answer = function.handler(odd, Context())

    assert answer["outcome"] == "ignored"
    json.dumps(answer)
    assert [(line["level"], line["message"]) for line in logged("init")] == [("WARNING", answer["hint"])]
    assert not [line for line in logged() if line.get("level") == "ERROR" or "_aws" in line], "nothing rings an alarm"
    assert book.sdk.dynamodb.scan(TableName=TABLE)["Count"] == 0
    assert (book.waiting(), book.waiting("parked"), book.lml.asked()) == ([], [], [])


@pytest.mark.usefixtures("environment")
def test_a_message_without_its_envelope_is_answered_with_where_there_is_one():
    answer = refresh.handler(json.loads(body_of("refresh-message")), Context())
    assert "events/refresh-message.json is one" in answer["hint"]


@pytest.mark.usefixtures("environment")
@pytest.mark.parametrize("function", [refresh, dead_letter], ids=["refresh", "dead_letter"])
def test_the_console_s_sample_of_a_message_is_not_parked(book, function):
    assert function.handler(SAMPLE_OF_SQS, Context()) == {"batchItemFailures": []}
    assert book.waiting("parked") == []


@pytest.mark.usefixtures("environment")
@pytest.mark.parametrize("function", [refresh, dead_letter], ids=["refresh", "dead_letter"])
@pytest.mark.parametrize(
    "record", [{"eventSource": "aws:sqs"}, {"body": None}, {"body": {}}, {"body": "x", "messageId": 7}]
)
def test_a_message_of_sqs_that_has_no_body_fails_so_that_sqs_keeps_it(logged, function, record):
    with pytest.raises(ValueError, match=r"not an SQS event \(events/refresh-message\.json is one\)"):
        function.handler({"Records": [record]}, Context())

    assert logged("slice_error")[0]["error"] == "ValueError"


@pytest.mark.usefixtures("environment")
@pytest.mark.parametrize("mistyped", [{"dryrun": True}, {"dryRun": True}, {"identityIds": [1]}, {"replay": "x"}])
def test_a_key_that_somebody_has_mistyped_is_an_error_and_starts_nothing(book, mistyped):
    with pytest.raises(StartError, match="no such key; there are scheduled_time, dry_run"):
        fan_out.handler(mistyped, Context())

    assert book.sdk.dynamodb.scan(TableName=TABLE)["Count"] == 0


@pytest.mark.usefixtures("environment")
def test_a_start_that_cannot_be_read_is_raised_and_logged(logged):
    with pytest.raises(StartError, match="identity_ids: repeats an id"):
        fan_out.handler({"identity_ids": [1, 1]}, Context())

    assert logged("failed")[0]["message"] == "identity_ids: repeats an id; name each once"


@pytest.mark.parametrize(
    ("changes", "problems"),
    [
        ({"BACKFILL_LML_BATCH_SIZE": "51"}, ["BACKFILL_LML_BATCH_SIZE is '51'"]),
        ({"LOCAL_DEV": "0", "LML_API_KEY": ""}, ["LML_API_KEY or LML_API_KEY_SECRET_ARN is required"]),
        ({"BACKFILL_LML_BATCH_SIZE": "0", "DB_PORT": "x"}, ["BACKFILL_LML_BATCH_SIZE is '0'", "DB_PORT is 'x'"]),
    ],
    ids=["51 ids a message", "no key", "several at once"],
)
def test_fan_out_refuses_wrong_settings_before_it_does_anything(environment, book, logged, changes, problems):
    for name, value in changes.items():
        environment.setenv(name, value)

    with pytest.raises(SettingsError) as caught:
        fan_out.handler(event("schedule"), Context())

    (line,) = logged("init")
    assert line["level"] == "ERROR"
    for text in (str(caught.value), line["message"]):
        assert all(problem in text for problem in problems)
    assert book.sdk.dynamodb.scan(TableName=TABLE)["Count"] == 0
    assert book.lml.asked() == []


def test_a_key_in_secrets_manager_is_fetched_when_it_is_needed_and_never_shown(environment, book, logged):
    arn = boto3.client("secretsmanager").create_secret(Name="lml", SecretString=KEY)["ARN"]
    environment.delenv("LML_API_KEY")
    environment.setenv("LML_API_KEY_SECRET_ARN", arn)

    refresh.handler(event("refresh-replay"), Context())

    assert book.lml.asked_for() == [15470, 15476, 15488]
    assert KEY not in json.dumps(logged())


def test_a_secret_is_hidden_as_it_is_used(environment, book):  # noqa: ARG001 - AWS, for the secret
    """Given one that was stored with the end of a line; then the text without it must not leave either."""
    environment.setattr(secrets, "hidden", [])
    arn = boto3.client("secretsmanager").create_secret(Name="ended", SecretString=f"{KEY}\n")["ARN"]

    assert secrets.fetch(arn, False) == f"{KEY}\n"
    assert secrets.hidden == [KEY]


def test_an_environment_is_built_once(started):
    """A warm invocation costs no client, no secret and no settings again."""
    first = fan_out.build()

    fan_out.handler(event("schedule"), Context())

    assert fan_out.build() is first
    assert started.run().status == "running"


def test_an_invocation_without_its_ledger_fails_and_says_why(started, logged):
    started.sdk.dynamodb.delete_table(TableName=TABLE)

    with pytest.raises(ClientError, match="ResourceNotFoundException"):
        refresh.handler(event("refresh-message"), Context())

    (line,) = logged("slice_error")
    assert line["error"] == "ResourceNotFoundException"
