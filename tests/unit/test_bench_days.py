"""What the day's measurement counts: requests as the functions make them, units and metrics as AWS bills them."""

from contextlib import ExitStack, closing

import boto3
import pytest
from botocore.exceptions import ClientError
from starlette.applications import Starlette
from starlette.responses import JSONResponse
from starlette.routing import Route

from bench.days import Meter, _metrics
from local import serve


async def aws(request):
    """Answer as DynamoDB does: 3 units where somebody asked for them, and conditions on item `no` do not hold."""
    asked = await request.json()
    if asked.get("Item", {}).get("pk", {}).get("S") == "no":
        return JSONResponse({"__type": "ConditionalCheckFailedException", "message": "no"}, 400)
    units = {"CapacityUnits": 3.0} if asked.get("ReturnConsumedCapacity") == "TOTAL" else {}
    many = request.headers["x-amz-target"].endswith("TransactWriteItems")
    return JSONResponse({"ConsumedCapacity": [units] if many else units} if units else {"MessageId": "1"})


@pytest.fixture
def meter():
    meter = Meter()
    with serve.in_thread(Starlette(routes=[Route("/{path:path}", aws, methods=["POST"])])) as meter.target:
        yield meter


@pytest.fixture
def client(meter):
    with serve.in_thread(meter.app()) as url, ExitStack() as made:
        session = boto3.Session("test", "test", region_name="us-east-1")
        yield lambda service: made.enter_context(closing(session.client(service, endpoint_url=url)))


KEY = {"pk": {"S": "yes"}, "sk": {"S": "x"}}


def test_reads_and_writes_are_counted_with_the_units_that_the_table_says(meter, client):
    dynamodb = client("dynamodb")

    dynamodb.get_item(TableName="t", Key=KEY)
    dynamodb.put_item(TableName="t", Item=KEY)
    dynamodb.transact_write_items(TransactItems=[{"Put": {"TableName": "t", "Item": KEY}}])

    assert (meter.read_units, meter.write_units) == (3.0, 6.0)
    assert meter.requests["dynamodb", "GetItem"] == 1


def test_a_condition_that_does_not_hold_costs_a_write(meter, client):
    with pytest.raises(ClientError, match="ConditionalCheckFailed"):
        client("dynamodb").put_item(TableName="t", Item=KEY | {"pk": {"S": "no"}})

    assert meter.write_units == 1.0


def test_requests_to_queues_are_counted_and_passed_on_as_they_are(meter, client):
    client("sqs").send_message(QueueUrl="http://queue/1", MessageBody="body")

    assert dict(meter.requests) == {("sqs", "SendMessage"): 1}
    assert (meter.read_units, meter.write_units) == (0.0, 0.0)


def test_a_metric_counts_once_for_each_set_of_dimensions():
    emf = {
        "_aws": {
            "CloudWatchMetrics": [
                {"Dimensions": [["service"], ["service", "trigger"]], "Metrics": [{"Name": "A"}, {"Name": "B"}]}
            ]
        },
        "service": "job",
        "trigger": "manual",
    }

    assert len(_metrics(emf)) == 4
    assert _metrics({"message": "no metric"}) == set()
