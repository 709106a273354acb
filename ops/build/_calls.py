"""Every call of AWS that the functions make, for the check that a package knows all that they take.

A test keeps the list complete (tests/integration/test_sdk_data.py), and makes the calls of a service that answers.
"""

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from ops.build._imports import Package

_KEY: Final = {"pk": {"S": "p"}, "sk": {"S": "s"}}
_TABLE: Final = {"TableName": "ledger"}
_QUEUE: Final = {"QueueUrl": "https://queue.invalid/1/queue"}
CALLS: Final[Mapping[tuple[str, str], Mapping[str, Any]]] = {
    ("dynamodb", "put_item"): {**_TABLE, "Item": {**_KEY, "n": {"N": "1"}}},
    ("dynamodb", "get_item"): {**_TABLE, "Key": _KEY, "ConsistentRead": True},
    ("dynamodb", "update_item"): {
        **_TABLE,
        "Key": _KEY,
        "UpdateExpression": "SET n = :n",
        "ExpressionAttributeValues": {":n": {"N": "2"}},
    },
    ("dynamodb", "transact_write_items"): {
        "TransactItems": [{"Delete": {**_TABLE, "Key": _KEY}}],
        "ClientRequestToken": "token",
    },
    ("dynamodb", "batch_write_item"): {"RequestItems": {"ledger": [{"PutRequest": {"Item": _KEY}}]}},
    ("dynamodb", "query"): {
        **_TABLE,
        "KeyConditionExpression": "pk = :pk",
        "ExpressionAttributeValues": {":pk": {"S": "p"}},
    },
    ("dynamodb", "scan"): {**_TABLE, "ProjectionExpression": "pk"},
    ("dynamodb", "delete_item"): {**_TABLE, "Key": _KEY},
    ("sqs", "send_message"): {**_QUEUE, "MessageBody": "body", "DelaySeconds": 1},
    ("sqs", "send_message_batch"): {**_QUEUE, "Entries": [{"Id": "0", "MessageBody": "body"}]},
    ("secretsmanager", "get_secret_value"): {"SecretId": "key"},
    ("lambda", "invoke"): {"FunctionName": "nobody", "InvocationType": "Event", "Payload": "{}"},
}
"""The parameters of one call of each operation, by service and method."""
REGIONS: Final = {
    "us-east-1": "amazonaws.com",
    "eu-west-2": "amazonaws.com",
    "us-gov-west-1": "amazonaws.com",
    "cn-north-1": "amazonaws.com.cn",
}
"""A region of each partition, and another one of the first, with the domain of their endpoints."""
_RUN: Final = """\
import json, sys
sys.path.insert(0, sys.argv[1])
import botocore
from core.aws import client as aws
assert botocore.__file__.startswith(sys.argv[1]), botocore.__file__
hosts = []
def answer(request, **_):
    hosts.append(request.url.split("/")[2])
    return aws._answer_nothing(request)
for service, operation, parameters in json.loads(sys.argv[2]):
    client = aws.create_client(service, rehearsed=True)
    client.meta.events.register("before-send", answer)
    getattr(client, operation)(**parameters)
    if client.can_paginate(operation):
        list(client.get_paginator(operation).paginate(**parameters))
    print(service, operation, *sorted(set(hosts)))
    del hosts[:]
"""


def made_by(directory: Path) -> bool:
    """True if the code of a package calls AWS."""
    return Package(directory, ()).source("core.aws.client") is not None


def problems(directory: Path, regions: Mapping[str, str] = REGIONS) -> list[str]:
    """Make each call in each region with the package alone, up to the network; find those that go wrong."""
    if not made_by(directory):
        return []
    return [problem for region, domain in regions.items() for problem in _in_region(directory, region, domain)]


def _in_region(directory: Path, region: str, domain: str) -> list[str]:
    calls = json.dumps([[*call, parameters] for call, parameters in CALLS.items()])
    environment = {
        "AWS_DEFAULT_REGION": region,
        "AWS_ACCESS_KEY_ID": "none",
        "AWS_SECRET_ACCESS_KEY": "none",
        "HOME": os.devnull,
    }
    command = [sys.executable, "-B", "-S", "-c", _RUN, str(directory.resolve()), calls]
    result = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)  # noqa: S603 - our own code
    if result.returncode:
        return [f"{region}: {result.stderr.strip()}"]
    asked = [line.split(" ", 2) for line in result.stdout.splitlines()]
    return [
        f"{region}: {service}'s {operation} asks {hosts}"
        for service, operation, hosts in asked
        if hosts != f"{service}.{region}.{domain}"
    ]
