"""Fixtures of `accounts`, for a module's `pytest_plugins`.

Nothing here waits: a message's delay is noted and taken off before SQS sees it.
"""

import json

import boto3
import pytest
from moto import mock_aws

from local import postgres, serve
from local.lml import app
from local.lml.limits import Limits
from tests.integration.accounts import WORLD, Book, Rows, Sdk, StandIn
from tests.integration.build import KEY, create_table


@pytest.fixture(scope="session")
def aws_clients():
    """The clients of DynamoDB and SQS, which cost more to make than all that a test does with them."""
    session = boto3.Session(region_name="us-east-1", aws_access_key_id="test", aws_secret_access_key="test")
    return session.client("dynamodb"), session.client("sqs")


@pytest.fixture
def dynamodb(aws_clients):
    """DynamoDB with an empty table."""
    with mock_aws():
        create_table(aws_clients[0])
        yield aws_clients[0]


@pytest.fixture
def sdk(aws_clients, dynamodb):
    """An empty table and three queues, wired as the template does it."""
    sqs = aws_clients[1]
    for name in ("dead", "parked"):
        sqs.create_queue(QueueName=name)
    arn = "arn:aws:sqs:us-east-1:123456789012:dead"
    redrive = json.dumps({"deadLetterTargetArn": arn, "maxReceiveCount": 5})
    sqs.create_queue(QueueName="refresh", Attributes={"RedrivePolicy": redrive})
    return Sdk(dynamodb, sqs)


@pytest.fixture(scope="session")
def lml_server():
    with serve.in_thread(app.build(WORLD, token=KEY, limits=Limits.instant())) as url:
        stand_in = StandIn(url)
        yield stand_in
        stand_in.close()


@pytest.fixture
def lml(lml_server):
    lml_server.reset()
    return lml_server


@pytest.fixture(scope="session")
def database(tmp_path_factory):
    server = postgres.start(tmp_path_factory.mktemp("accounts"))
    yield Rows(server)
    postgres.stop(server)


@pytest.fixture
def rows(database):
    database.hold(WORLD)
    return database


@pytest.fixture
def book(sdk, lml, rows):
    book = Book(sdk, lml, rows)

    def undelayed(params, **_):
        if (delay := params.pop("DelaySeconds", 0)) > 0:
            book.delays.append(delay)
            book.clock.advance(delay)  # nobody sees the message before

    sdk.sqs.meta.events.register("before-parameter-build.sqs.SendMessage", undelayed)
    yield book
    sdk.sqs.meta.events.unregister("before-parameter-build.sqs.SendMessage", undelayed)
    book.close()


@pytest.fixture
def logged(capsys):
    """Read what was logged since the last look: the lines as objects, metrics (EMF) among them."""

    def look(step=None):
        lines = [json.loads(line) for line in capsys.readouterr().out.splitlines() if line.startswith("{")]
        return [line for line in lines if step is None or line.get("step") == step]

    return look


@pytest.fixture
def closed(logged):
    """The metrics of runs that were told since the last look."""
    return lambda: [line for line in logged() if "RunCompleted" in line]
