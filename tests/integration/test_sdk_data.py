"""What is left of botocore's data in the package is enough: every call that `src` makes, in every kind of region."""

import ast
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import boto3
import pytest

from bench import packages
from local import deploy
from ops.build import _calls, _package, _sdk_data

SERVICES = _package.services(deploy.ROOT / "src")
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
        if "QueueUrl" in parameters:
            parameters["QueueUrl"] = queue
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


@pytest.fixture(
    scope="module", params=["made of what is installed", pytest.param("made by pip", marks=pytest.mark.long)]
)
def package(request, tmp_path_factory):
    """The package, unpacked; without pip it is made of links to what this environment has."""
    directory = tmp_path_factory.mktemp("sdk") / "package"
    if request.param == "made by pip":
        _package.make(directory, None)
        return directory
    packages.lay_out(directory)
    shutil.copytree(deploy.ROOT / "src", directory, dirs_exist_ok=True)
    botocore = (directory / "botocore").resolve()
    (directory / "botocore").unlink()

    def others(folder, names):
        return [name for name in names if Path(folder).name == "data" and "." not in name and name not in SERVICES]

    shutil.copytree(botocore, directory / "botocore", ignore=others)
    _sdk_data.cut(directory / "botocore", SERVICES)
    return directory


def test_the_calls_of_the_check_are_all_that_the_code_makes():
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
    assert {call for call in operations if call[1] in named} == _calls.CALLS.keys()


@pytest.mark.parametrize(("region", "domain"), _calls.REGIONS.items(), ids=_calls.REGIONS)
def test_every_call_is_answered_from_the_package_in_each_partition(package, region, domain):
    calls = [(service, operation, parameters) for (service, operation), parameters in _calls.CALLS.items()]
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
    assert answered == {call: (refused.get(call, 200), hosts[call[0]]) for call in _calls.CALLS}


def test_the_data_is_a_small_part_of_what_it_was(package):
    data = package / "botocore" / "data"
    assert (data / "endpoints.json").stat().st_size < 40_000
    assert sum(path.stat().st_size for path in data.rglob("*") if path.is_file()) < 1_000_000
    assert not list(data.rglob("*.gz")), "unpacking takes longer than reading"


def test_a_service_that_botocore_does_not_have_is_named(package):
    assert _sdk_data.missing(package / "botocore", {"sqs", "sqss"}) == ["sqss"]


def test_the_build_s_own_check_makes_every_call(package):
    assert _calls.problems(package) == []


BROKEN = {
    "an operation": ("sqs/2012-11-05/service-2.json", lambda model: model["operations"].pop("SendMessageBatch")),
    "a partition": ("partitions.json", lambda known: known["partitions"].pop(1)),
    "a model": ("secretsmanager/2017-10-17/service-2.json", dict.clear),
}


@pytest.mark.parametrize(("name", "harm"), BROKEN.values(), ids=BROKEN)
def test_the_build_s_own_check_finds_what_was_cut_too_far(package, name, harm, tmp_path):
    shutil.copytree(package, tmp_path / "broken", symlinks=True)
    data = tmp_path / "broken" / "botocore" / "data" / name
    known = json.loads(data.read_text())
    harm(known)
    data.write_text(json.dumps(known))

    assert _calls.problems(tmp_path / "broken", {"cn-north-1": _calls.REGIONS["cn-north-1"]})
