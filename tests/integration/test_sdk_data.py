"""What is left of botocore's data in the package is enough: every call that `src` makes, in every kind of region."""

import ast
import importlib.util
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import boto3
import pytest

from local import deploy
from ops.build import _package, _sdk_data

SERVICES = _package.services(deploy.ROOT / "src")
KEY = {"pk": {"S": "p"}, "sk": {"S": "s"}}
TABLE = {"TableName": "ledger"}
QUEUE = {"QueueUrl": "<queue>"}
CALLS = {
    ("dynamodb", "put_item"): {**TABLE, "Item": {**KEY, "n": {"N": "1"}}},
    ("dynamodb", "get_item"): {**TABLE, "Key": KEY, "ConsistentRead": True},
    ("dynamodb", "update_item"): {
        **TABLE,
        "Key": KEY,
        "UpdateExpression": "SET n = :n",
        "ExpressionAttributeValues": {":n": {"N": "2"}},
    },
    ("dynamodb", "transact_write_items"): {
        "TransactItems": [{"Delete": {**TABLE, "Key": KEY}}],
        "ClientRequestToken": "token",
    },
    ("dynamodb", "batch_write_item"): {"RequestItems": {"ledger": [{"PutRequest": {"Item": KEY}}]}},
    ("dynamodb", "query"): {
        **TABLE,
        "KeyConditionExpression": "pk = :pk",
        "ExpressionAttributeValues": {":pk": {"S": "p"}},
    },
    ("dynamodb", "scan"): {**TABLE, "ProjectionExpression": "pk"},
    ("dynamodb", "delete_item"): {**TABLE, "Key": KEY},
    ("sqs", "send_message"): {**QUEUE, "MessageBody": "body", "DelaySeconds": 1},
    ("sqs", "send_message_batch"): {**QUEUE, "Entries": [{"Id": "0", "MessageBody": "body"}]},
    ("secretsmanager", "get_secret_value"): {"SecretId": "key"},
    ("lambda", "invoke"): {"FunctionName": "nobody", "InvocationType": "Event", "Payload": "{}"},
}
SCRIPT = """
import json, sys
package, region, calls = sys.argv[1], sys.argv[2], json.loads(sys.argv[3])
sys.path.insert(0, package)
import botocore
assert botocore.__file__.startswith(package), botocore.__file__
from botocore.exceptions import ClientError
from moto import mock_aws
from core.aws import client as aws

asked = []
for service, _, _ in calls:
    aws.create_client(service, rehearsed=True)
with mock_aws():
    clients = {service: aws.create_client(service) for service, _, _ in calls}
    keys = [{"AttributeName": "pk", "KeyType": "HASH"}, {"AttributeName": "sk", "KeyType": "RANGE"}]
    clients["dynamodb"].create_table(
        TableName="ledger", KeySchema=keys, BillingMode="PAY_PER_REQUEST",
        AttributeDefinitions=[{"AttributeName": key["AttributeName"], "AttributeType": "S"} for key in keys],
    )
    queue = clients["sqs"].create_queue(QueueName="queue")["QueueUrl"]
    clients["secretsmanager"].create_secret(Name="key", SecretString="value")
    for client in clients.values():
        client.meta.events.register_first("before-send", lambda request, **_: asked.append(request.url))
    for service, operation, parameters in calls:
        parameters = json.loads(json.dumps(parameters).replace("<queue>", queue))
        del asked[:]
        try:
            answer = getattr(clients[service], operation)(**parameters)
            code = answer["ResponseMetadata"]["HTTPStatusCode"]
        except ClientError as error:
            code = error.response["Error"]["Code"]
        print(json.dumps([service, operation, code, asked[0].split("/")[2]]))
    pages = list(clients["dynamodb"].get_paginator("query").paginate(**dict((o, p) for _, o, p in calls)["query"]))
    assert len(pages) == 1
"""


@pytest.fixture(scope="module")
def package(tmp_path_factory):
    """Our code, and this environment's botocore with the data that a package has."""
    directory = tmp_path_factory.mktemp("package")
    botocore = Path(importlib.util.find_spec("botocore").origin).parent

    def others(folder, names):
        return [name for name in names if Path(folder).name == "data" and "." not in name and name not in SERVICES]

    shutil.copytree(botocore, directory / "botocore", ignore=others)
    _sdk_data.cut(directory / "botocore", SERVICES)
    shutil.copytree(deploy.ROOT / "src", directory, dirs_exist_ok=True)
    return directory


def test_the_calls_below_are_all_that_the_code_makes():
    operations = {
        (service, method)
        for service in SERVICES
        for method in boto3.client(service, region_name="us-east-1").meta.method_to_api_mapping
    }
    named = {
        name
        for path in (deploy.ROOT / "src").rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        for name in [getattr(node, "attr", None), getattr(node, "value", None)]  # client.call(), get_paginator("call")
        if isinstance(name, str)
    }
    assert {call for call in operations if call[1] in named} == CALLS.keys()


@pytest.mark.parametrize(
    ("region", "domain"),
    [
        ("us-east-1", "amazonaws.com"),
        ("eu-west-2", "amazonaws.com"),
        ("us-gov-west-1", "amazonaws.com"),
        ("cn-north-1", "amazonaws.com.cn"),
    ],
)
def test_every_call_is_answered_from_the_package_in_each_partition(package, region, domain):
    calls = [(service, operation, parameters) for (service, operation), parameters in CALLS.items()]
    environment = {
        "PATH": os.environ["PATH"],
        "AWS_DEFAULT_REGION": region,
        "AWS_ACCESS_KEY_ID": "none",
        "AWS_SECRET_ACCESS_KEY": "none",
    }
    command = [sys.executable, "-c", SCRIPT, str(package), region, json.dumps(calls)]

    result = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)  # noqa: S603 - ours

    assert result.returncode == 0, result.stderr
    answered = {
        (service, call): (code, host) for service, call, code, host in map(json.loads, result.stdout.split("\n")[:-1])
    }
    hosts = {service: f"{service}.{region}.{domain}" for service in SERVICES}
    refused = {("lambda", "invoke"): "ResourceNotFoundException"}  # an answer as well: there is no such function
    assert answered == {call: (refused.get(call, 200), hosts[call[0]]) for call in CALLS}


def test_the_data_is_a_small_part_of_what_it_was(package):
    data = package / "botocore" / "data"
    assert (data / "endpoints.json").stat().st_size < 40_000
    assert sum(path.stat().st_size for path in data.rglob("*") if path.is_file()) < 1_000_000
    assert not list(data.rglob("*.gz")), "unpacking takes longer than reading"


def test_a_service_that_botocore_does_not_have_is_named(package):
    assert _sdk_data.missing(package / "botocore", {"sqs", "sqss"}) == ["sqss"]
