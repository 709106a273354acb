"""What is sent to SQS, request by request, and what SQS may say to it."""

import boto3
import pytest
from botocore.stub import ANY, Stubber

from core.aws.queues import LONGEST_DELAY, ParkedQueue, RefreshQueue, SendError
from core.runs.plan import RefreshMessage, encode

URL = "https://sqs.us-east-1.amazonaws.com/123456789012/refresh"
MESSAGES = [RefreshMessage(version=1, run_id="r", message=number, identity_ids=(number + 1,)) for number in range(10)]
TRACE = {"sentry-trace": "0123-45-1"}
ATTRIBUTES = {"sentry-trace": {"DataType": "String", "StringValue": "0123-45-1"}}


@pytest.fixture(scope="module")
def client():
    return boto3.client("sqs", region_name="us-east-1", aws_access_key_id="test", aws_secret_access_key="test")


@pytest.fixture
def sqs(client):
    """Answers as it is told, in this order, and checks what it is asked."""
    with Stubber(client) as stubber:
        yield stubber
        stubber.assert_no_pending_responses()


@pytest.fixture
def sleeps():
    return []


@pytest.fixture
def queue(client, sleeps):
    return RefreshQueue(client, URL, sleeps.append)


def entry(at):
    return {"Id": str(at), "MessageBody": encode(MESSAGES[at]), "MessageAttributes": ATTRIBUTES}


def batch(*numbers):
    return {"QueueUrl": URL, "Entries": [entry(at) for at in numbers]}


def answer(*, took=(), refused=(), sender_fault=False):
    return {
        "Successful": [{"Id": str(at), "MessageId": f"m{at}", "MD5OfMessageBody": "-"} for at in took],
        "Failed": [{"Id": str(at), "SenderFault": sender_fault, "Code": "InternalError"} for at in refused],
    }


def test_ten_messages_are_one_request(queue, sqs, sleeps):
    sqs.add_response("send_message_batch", answer(took=range(10)), batch(*range(10)))

    queue.send_all(MESSAGES, TRACE)

    assert not sleeps


def test_only_what_sqs_refused_is_sent_again_after_a_pause(queue, sqs, sleeps):
    sqs.add_response("send_message_batch", answer(took=[0, 2, 4], refused=[1, 3]), batch(0, 1, 2, 3, 4))
    sqs.add_response("send_message_batch", answer(took=[3], refused=[1]), batch(1, 3))
    sqs.add_response("send_message_batch", answer(took=[1]), batch(1))

    queue.send_all(MESSAGES[:5], TRACE)

    assert len(sleeps) == 2
    assert all(0 <= pause <= 0.2 for pause in sleeps), "seconds, with jitter"


def test_a_fault_of_ours_is_not_repeated_and_names_the_messages(queue, sqs, sleeps):
    sqs.add_response("send_message_batch", answer(took=[0], refused=[1, 2], sender_fault=True), batch(0, 1, 2))

    with pytest.raises(SendError, match=r"^SQS refused messages 1, 2: InternalError; start the run again"):
        queue.send_all(MESSAGES[:3], TRACE)

    assert not sleeps


def test_patience_has_an_end(queue, sqs, sleeps):
    for _ in range(8):
        sqs.add_response("send_message_batch", answer(refused=[0]), batch(0))

    with pytest.raises(SendError, match="messages 0: InternalError"):
        queue.send_all(MESSAGES[:1], TRACE)

    assert sum(sleeps) <= 16, "seconds: well below the function's time-out"


@pytest.mark.parametrize(
    ("headers", "attributes"),
    [
        ({"sentry-trace": "0123-45-1", "baggage": ""}, ATTRIBUTES),
        ({"sentry-trace": "", "baggage": ""}, {}),
        ({}, {}),
    ],
    ids=["no baggage", "both empty", "no Sentry"],
)
def test_an_empty_trace_header_is_left_out(queue, sqs, headers, attributes):
    """SQS refuses the message else."""
    expected = {"QueueUrl": URL, "MessageBody": encode(MESSAGES[0]), "MessageAttributes": attributes, "DelaySeconds": 0}
    sqs.add_response("send_message", {"MessageId": "m", "MD5OfMessageBody": "-"}, expected)

    queue.send(MESSAGES[0], headers, delay=0)


@pytest.mark.parametrize(
    ("delay", "sent"),
    [(0, 0), (60, 60), (LONGEST_DELAY, LONGEST_DELAY), (LONGEST_DELAY + 1, LONGEST_DELAY), (3600, LONGEST_DELAY)],
)
def test_a_message_is_held_back_as_long_as_sqs_can(queue, sqs, delay, sent):
    expected = {"QueueUrl": URL, "MessageBody": ANY, "MessageAttributes": ANY, "DelaySeconds": sent}
    sqs.add_response("send_message", {"MessageId": "m", "MD5OfMessageBody": "-"}, expected)

    queue.send(MESSAGES[0], TRACE, delay=delay)


@pytest.mark.parametrize(
    ("reason", "kept"),
    [
        ("no such run", "no such run"),
        ("body: é\n\x00", r"body: \xe9\n\x00"),
        ("x" * 300, "x" * 256),
    ],
    ids=["plain", "not fit for an attribute", "long"],
)
def test_a_body_is_parked_as_it_came_with_the_reason_beside_it(client, sqs, reason, kept):
    expected = {
        "QueueUrl": URL,
        "MessageBody": "{no json",
        "MessageAttributes": {"reason": {"DataType": "String", "StringValue": kept}},
    }
    sqs.add_response("send_message", {"MessageId": "m", "MD5OfMessageBody": "-"}, expected)

    ParkedQueue(client, URL).park("{no json", reason)
