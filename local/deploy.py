"""The project's own template, put into an AWS emulator: transformed offline, changed where the emulator falls short.

`python -m local.deploy` prints the transformed template, for cfn-lint (docs/design/local.md#the-template-three-checks).
"""

import io
import json
import re
import sys
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final, Literal, TypeAlias

ROOT: Final = Path(__file__).parent.parent
REGION: Final = "us-east-1"
STACK: Final = "rotation"
BUCKET: Final = "packages"
PACKAGE: Final = "functions.zip"
BOUNDS: Final = ("AllowedPattern", "AllowedValues", "MinValue", "MaxValue")

# A template is JSON of any shape, so that its type is Any.
Template: TypeAlias = dict[str, Any]
Service: TypeAlias = Literal["cloudformation", "dynamodb", "lambda", "logs", "s3", "scheduler", "secretsmanager", "sqs"]
Client: TypeAlias = Callable[[Service], Any]
"""Makes a boto3 client; boto3 makes their types at run time."""


class DeployError(Exception):
    """The emulator refused the template; its reason for each resource that failed."""


def read() -> Template:
    """Return template.yaml, intrinsic functions in their long form."""
    from samtranslator.yaml_helper import yaml_parse  # noqa: PLC0415 - half a second that most commands need not wait

    template: Template = yaml_parse((ROOT / "template.yaml").read_text())  # type: ignore[no-untyped-call]
    return template


def functions_with_code(template: Template) -> list[Template]:
    """Return the mappings that hold a `CodeUri`: the globals, and functions with a package of their own."""
    own = (it["Properties"] for it in template["Resources"].values() if "CodeUri" in it.get("Properties", {}))
    return [template["Globals"]["Function"], *own]


def transform(template: Template, parameters: Mapping[str, str] | None = None) -> Template:
    """Return what the SAM transform makes of a template; without a network, in about 0.3 s.

    The transform takes the values of parameters from CloudFormation, those of lists as lists.
    """
    import boto3  # noqa: PLC0415 - as above
    from samtranslator.parser.parser import Parser  # noqa: PLC0415 - as above
    from samtranslator.translator.translator import Translator  # noqa: PLC0415 - as above

    for properties in functions_with_code(template):
        properties["CodeUri"] = f"s3://{BUCKET}/{PACKAGE}"
    translator = Translator({}, Parser(), boto_session=boto3.Session(region_name=REGION))
    lists = [name for name, it in template["Parameters"].items() if it["Type"] == "CommaDelimitedList"]
    values = {name: value.split(",") for name, value in (parameters or {}).items() if name in lists}
    result: Template = translator.translate(template, values)
    return result


def package() -> bytes:
    """Return a zip of src/; the emulator's own interpreter has the dependencies."""
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as bundle:
        for path in sorted((ROOT / "src").rglob("*")):
            if path.is_file() and "__pycache__" not in path.parts:
                bundle.write(path, path.relative_to(ROOT / "src"))
    return archive.getvalue()


def deploy(client: Client, *, parameters: Mapping[str, str], environment: Mapping[str, str]) -> dict[str, str]:
    """Create the stack and return the physical id of every logical one; raises DeployError.

    `environment` reaches every function, over what the template sets there.
    """
    s3 = client("s3")
    s3.create_bucket(Bucket=BUCKET)
    s3.put_object(Bucket=BUCKET, Key=PACKAGE, Body=package())

    template = _adapted(transform(read(), parameters), parameters, environment)
    cloudformation = client("cloudformation")
    cloudformation.create_stack(
        StackName=STACK,
        TemplateBody=json.dumps(template, separators=(",", ":")),
        Parameters=[{"ParameterKey": name, "ParameterValue": value} for name, value in parameters.items()],
        Capabilities=["CAPABILITY_IAM"],
    )
    _wait(cloudformation)
    pages = cloudformation.get_paginator("list_stack_resources").paginate(StackName=STACK)
    rows = [row for page in pages for row in page["StackResourceSummaries"]]
    names: dict[str, str] = {row["LogicalResourceId"]: row["PhysicalResourceId"] for row in rows}
    _finish(client, template["Resources"], names)
    return names


def _adapted(template: Template, parameters: Mapping[str, str], environment: Mapping[str, str]) -> Template:
    """Change the template where a local cloud differs; each change has a comment with its reason."""
    # Bounds are for operators. Here LML is plain http, and a fault test lowers time-outs to seconds.
    template.pop("Rules")
    # What only people read: a template's body may have 51,200 bytes, and `sam deploy` goes by S3 instead.
    template.pop("Metadata", None)
    for described in (*template["Parameters"].values(), *template["Resources"].values()):
        described.pop("Description", None)
        described.pop("Metadata", None)
    # The emulator has no metric maths: a stack with such an alarm rolls back. The dashboard names those alarms.
    gone = [name for name, resource in template["Resources"].items() if _is_beyond_the_emulator(resource)]
    for name in gone:
        del template["Resources"][name]
    template["Outputs"] = {key: it for key, it in template["Outputs"].items() if not set(gone) & _named(it)}
    numbers: dict[str, int | float] = {}
    for name, parameter in template["Parameters"].items():
        for bound in BOUNDS:
            parameter.pop(bound, None)
        if parameter["Type"] == "Number":
            value = parameters.get(name, parameter.get("Default"))
            numbers[name] = json.loads(str(value))
    # The emulator passes a number that comes from a parameter on as a string, and a string MaximumConcurrency ends all
    # polling.
    resources: Template = _with_numbers(template["Resources"], numbers)
    for resource in resources.values():
        if resource["Type"] == "AWS::Lambda::Function":
            variables = resource["Properties"]["Environment"]["Variables"]
            variables |= environment
            variables |= {name: str(value) for name, value in variables.items() if isinstance(value, int | float)}
    return template | {"Resources": resources}


def _is_beyond_the_emulator(resource: Template) -> bool:
    maths = resource["Type"] == "AWS::CloudWatch::Alarm" and "Metrics" in resource["Properties"]
    return maths or resource["Type"] in {"AWS::CloudWatch::CompositeAlarm", "AWS::CloudWatch::Dashboard"}


def _named(node: Any) -> set[str]:  # noqa: ANN401 - any JSON
    """Return the names that a value of the template refers to in a text, as in ${Name}."""
    return set(re.findall(r"\$\{(\w+)", json.dumps(node)))


def _with_numbers(node: Any, numbers: Mapping[str, int | float]) -> Any:  # noqa: ANN401 - any JSON
    if isinstance(node, dict):
        if node.keys() == {"Ref"} and node["Ref"] in numbers:
            return numbers[node["Ref"]]
        return {key: _with_numbers(value, numbers) for key, value in node.items()}
    if isinstance(node, list):
        return [_with_numbers(item, numbers) for item in node]
    return node


def _wait(cloudformation: Any) -> None:  # noqa: ANN401 - a boto3 client
    from botocore.exceptions import WaiterError  # noqa: PLC0415 - whoever has a client has loaded it

    waiter = cloudformation.get_waiter("stack_create_complete")
    try:
        waiter.wait(StackName=STACK, WaiterConfig={"Delay": 0.1, "MaxAttempts": 300})
    except WaiterError as problem:
        events = cloudformation.describe_stack_events(StackName=STACK)["StackEvents"]
        failed = [
            f"{event['LogicalResourceId']}: {event.get('ResourceStatusReason', 'no reason given')}"
            for event in events
            if event["ResourceStatus"].endswith("_FAILED")
        ]
        raise DeployError("\n".join(failed) or str(problem)) from problem


def _finish(client: Client, resources: Template, names: Mapping[str, str]) -> None:
    """Set what the emulator ignores in a stack: reserved concurrency and the table's TTL."""
    functions = client("lambda")
    for logical, resource in resources.items():
        if logical not in names:  # its condition does not hold
            continue
        properties = resource.get("Properties", {})
        if resource["Type"] == "AWS::Lambda::Function":
            reserved = properties.get("ReservedConcurrentExecutions")
            if reserved is not None:
                functions.put_function_concurrency(FunctionName=names[logical], ReservedConcurrentExecutions=reserved)
        elif resource["Type"] == "AWS::DynamoDB::Table":
            client("dynamodb").update_time_to_live(
                TableName=names[logical], TimeToLiveSpecification=properties["TimeToLiveSpecification"]
            )


if __name__ == "__main__":
    json.dump(transform(read()), sys.stdout, indent=1)
