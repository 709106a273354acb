"""The template, read as CloudFormation would: what an operator gets, and that it fits the code."""

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from core import authorization, settings, telemetry
from core.aws import http_api
from core.picker import api
from core.picker import config as picker_settings
from core.schedule import crontab_of
from local import deploy

TEMPLATE = deploy.read()
PARAMETERS = TEMPLATE["Parameters"]
RESOURCES = deploy.transform(deploy.read())["Resources"]
FUNCTIONS = {name: it["Properties"] for name, it in RESOURCES.items() if it["Type"] == "AWS::Lambda::Function"}
ALARMS = {name: it["Properties"] for name, it in RESOURCES.items() if it["Type"] == "AWS::CloudWatch::Alarm"}
PLAIN_ALARMS = {name: alarm for name, alarm in ALARMS.items() if "MetricName" in alarm}
BUILDERS = {
    "FanOutFunction": settings.fan_out,
    "RefreshFunction": settings.refresh,
    "DeadLetterFunction": settings.dead_letter,
    "RotationTracksFunction": picker_settings.read,
    "WarmTracksFunction": picker_settings.read,
    "AuthorizeFunction": lambda environ, _: authorization.read(environ),
}
PICKER = {
    "PickerState": "ENABLED",
    "PickerJwksUrl": "https://issuer.example/jwks",
    "PickerJwtIssuer": "https://issuer.example/",
    "PickerJwtAudience": "catalog",
    "PickerCorsOrigins": "https://dj.example,https://other.example",
}
GIVEN = {
    "LibraryMetadataUrl": "https://lml.example",
    "DatabaseHost": "db.example",
    "DatabaseName": "station",
    "DatabaseUsername": "rotation",
    "SentryDsnSecretArn": "create",
    "GithubTokenSecretArn": "create",
}
# A value in the clear is for people who start a function by hand; the clock is never faster in the cloud.
NOT_IN_THE_TEMPLATE = {"LML_API_KEY", "SENTRY_DSN", "GITHUB_TOKEN", "DB_PASSWORD", "LOCAL_DEV", "CLOCK_SPEED"}
# The API answers for origins itself, and has its own address; only a long-lived process needs to be told.
NOT_IN_THE_TEMPLATE |= {"PICKER_CORS_ORIGINS", "HOST", "PORT"}


def resolve(  # noqa: PLR0911 - one for each form of expression
    node: object, given: Mapping[str, str] = GIVEN
) -> object:
    """Work a value out as CloudFormation does, as far as this template goes; None is AWS::NoValue."""
    match node:
        case {"Ref": "AWS::NoValue"}:
            return None
        case {"Ref": name} if name in PARAMETERS:
            return str(given.get(name, PARAMETERS[name].get("Default")))
        case {"Ref": name} | {"Fn::GetAtt": [name, _]}:
            return f"<{name}>"
        case {"Fn::If": [condition, then, otherwise]}:
            return resolve(then if resolve(TEMPLATE["Conditions"][condition], given) else otherwise, given)
        case {"Fn::Equals": [left, right]}:
            return resolve(left, given) == resolve(right, given)
        case {"Fn::Not": [condition]}:
            return not resolve(condition, given)
        case {"Fn::Contains": [choices, value]}:
            listed_ones = choices if isinstance(choices, list) else str(resolve(choices, given)).split(",")
            return resolve(value, given) in listed_ones
        case _:
            return node


def environment(function: str, given: Mapping[str, str] = GIVEN) -> dict[str, str]:
    variables = FUNCTIONS[function]["Environment"]["Variables"]
    resolved = {name: resolve(value, given) for name, value in variables.items()}
    return {name: str(value) for name, value in resolved.items() if value is not None}


def no_secret(arn: str, anew: bool) -> str:
    raise AssertionError((arn, anew))


def statements() -> Iterator[tuple[str, dict[str, object]]]:
    for name, resource in RESOURCES.items():
        if resource["Type"] == "AWS::IAM::Role":
            for policy in resource["Properties"]["Policies"]:
                for statement in policy["PolicyDocument"]["Statement"]:
                    yield name, statement.get("Fn::If", [None, statement])[1]


def listed(value: object) -> list[object]:
    return value if isinstance(value, list) else [value]


def test_the_schedule_is_off_until_somebody_turns_it_on():
    """The job that this replaces must be off first (docs/design/architecture.md#network-and-rights)."""
    schedule = RESOURCES["DailySchedule"]["Properties"]

    assert resolve(schedule["ScheduleExpression"]) == PARAMETERS["ScheduleExpression"]["Default"]
    assert schedule["Target"]["Input"] == '{"scheduled_time": "<aws.scheduler.scheduled-time>"}'
    assert (resolve(schedule["State"]), resolve(schedule["ScheduleExpressionTimezone"])) == ("DISABLED", "UTC")


@pytest.mark.parametrize("name", PARAMETERS)
def test_a_parameter_is_described_bounded_and_in_a_group(name):
    parameter = PARAMETERS[name]
    groups = TEMPLATE["Metadata"]["AWS::CloudFormation::Interface"]["ParameterGroups"]

    assert parameter["Description"].endswith(".")
    bounds = {"AllowedValues", "AllowedPattern", "MaxLength"} & parameter.keys()
    assert bounds or parameter.keys() >= {"MinValue", "MaxValue"} or parameter["Type"] == "CommaDelimitedList"
    assert sum(name in group["Parameters"] for group in groups) == 1


def test_one_parameter_sets_both_concurrencies():
    parameter = PARAMETERS["RefreshConcurrency"]
    mapping = RESOURCES["RefreshFunctionMessages"]["Properties"]

    assert (parameter["Default"], parameter["MinValue"], parameter["MaxValue"]) == (2, 2, 10)
    assert FUNCTIONS["RefreshFunction"]["ReservedConcurrentExecutions"] == {"Ref": "RefreshConcurrency"}
    assert mapping["ScalingConfig"] == {"MaximumConcurrency": {"Ref": "RefreshConcurrency"}}
    assert mapping["BatchSize"] == 1


@pytest.mark.parametrize("timeout", PARAMETERS["RefreshTimeoutSeconds"]["AllowedValues"])
@pytest.mark.parametrize("visibility", PARAMETERS["RefreshVisibilitySeconds"]["AllowedValues"])
def test_the_rules_let_a_message_outlive_its_function_by_a_minute(timeout, visibility):
    """Otherwise a message would be delivered again while its first delivery still runs."""
    given = GIVEN | {"RefreshTimeoutSeconds": str(timeout), "RefreshVisibilitySeconds": str(visibility)}

    allowed = all(
        resolve(assertion["Assert"], given)
        for rule in TEMPLATE["Rules"].values()
        if resolve(rule["RuleCondition"], given)
        for assertion in rule["Assertions"]
    )

    assert allowed == (visibility >= timeout + 60)


@pytest.mark.parametrize("function", FUNCTIONS)
def test_a_function_starts_with_what_the_template_sets(function):
    """With the defaults, and only with variables that this function reads."""
    read: set[str] = set()

    class Recorded(dict[str, str]):
        def get(self, name, default=None):
            read.add(name)
            return super().get(name, default)

    given = environment(function, GIVEN | PICKER)
    BUILDERS[function](Recorded(given), no_secret)

    # Whoever checks tokens needs none of what all the others have.
    everywhere = TEMPLATE["Globals"]["Function"]["Environment"]["Variables"].keys()
    assert given.keys() - (everywhere if function == "AuthorizeFunction" else set()) <= read


def test_the_template_sets_every_variable_and_no_other():
    set_somewhere = {name for function in FUNCTIONS for name in environment(function)}
    assert set_somewhere == {variable.name for variable in settings.VARIABLES} - NOT_IN_THE_TEMPLATE


def test_defaults_are_those_of_the_settings():
    defaults = {variable.name: variable.default for variable in settings.VARIABLES}
    for function in FUNCTIONS.values():
        for name, value in function["Environment"]["Variables"].items():
            if defaults[name] is not None:
                assert str(PARAMETERS[value["Ref"]]["Default"]) == defaults[name]


def test_without_its_secret_an_optional_variable_is_absent():
    given = GIVEN | dict.fromkeys(("SentryDsnSecretArn", "GithubTokenSecretArn", "DatabasePasswordSecretArn"), "none")
    assert [name for name in environment("FanOutFunction", given) if name.endswith("_SECRET_ARN")] == [
        "LML_API_KEY_SECRET_ARN"
    ]


def test_a_secret_that_exists_is_used_as_it_is():
    arn = "arn:aws:secretsmanager:us-east-1:123456789012:secret:lml-AbCdEf"
    given = GIVEN | {"LmlApiKeySecretArn": arn}

    assert environment("RefreshFunction", given)["LML_API_KEY_SECRET_ARN"] == arn
    assert arn in [
        resolve(resource, given)
        for role, statement in statements()
        if role == "RefreshRole"
        for resource in listed(statement["Resource"])
    ]


@pytest.mark.parametrize("function", FUNCTIONS)
def test_a_handler_is_where_the_template_says(function):
    module, _, name = FUNCTIONS[function]["Handler"].rpartition(".")
    source = deploy.ROOT / "src" / Path(*module.split(".")).with_suffix(".py")
    assert f"def {name}(" in source.read_text()


def test_permissions_name_exact_actions_and_exact_resources():
    """Lambda's own work on network interfaces is the exception: there is nothing to name yet when it asks."""
    for role, statement in statements():
        actions = listed(statement["Action"])
        assert not [action for action in actions if "*" in str(action)]
        if actions == ["cloudwatch:PutMetricData"]:  # a metric has no ARN
            assert statement["Condition"] == {"StringEquals": {"cloudwatch:namespace": telemetry.NAMESPACE}}
        elif all(str(action).startswith("ec2:") for action in actions):
            assert role in {"FanOutRole", "RotationTracksRole", "WarmTracksRole"}
        else:
            assert "*" not in listed(statement["Resource"])
    assert not [name for name, it in RESOURCES.items() if "ManagedPolicyArns" in it.get("Properties", {})]


def test_only_who_reads_the_database_enters_the_vpc():
    assert [name for name, function in FUNCTIONS.items() if "VpcConfig" in function] == [
        "FanOutFunction",
        "RotationTracksFunction",
        "WarmTracksFunction",
    ]


def test_queues_are_encrypted_and_keep_what_a_person_must_see_for_two_weeks():
    queues = {name: it["Properties"] for name, it in RESOURCES.items() if it["Type"] == "AWS::SQS::Queue"}

    assert {name: queue["MessageRetentionPeriod"] // 86_400 for name, queue in queues.items()} == {
        "RefreshQueue": 4,
        "DeadLetterQueue": 14,
        "ParkedQueue": 14,
        "FanOutFailureQueue": 14,
    }
    assert all(queue["SqsManagedSseEnabled"] for queue in queues.values())
    assert {queue["Ref"] for queue in RESOURCES["TlsOnly"]["Properties"]["Queues"]} == queues.keys()


def test_every_function_has_its_own_logs_and_they_end():
    groups = [function["LoggingConfig"]["LogGroup"]["Ref"] for function in FUNCTIONS.values()]

    assert len(set(groups)) == len(FUNCTIONS)
    for group in groups:
        assert RESOURCES[group]["Properties"]["RetentionInDays"] == {"Ref": "LogRetentionDays"}


def test_the_alarms_are_those_of_the_design():
    """docs/design/telemetry.md; what those with metric maths do is for test_alarms.py."""
    assert ALARMS.keys() - PLAIN_ALARMS.keys() == {
        "StaleHandlesAlarm",
        "ErrorShareAlarm",
        "WithoutArtistsAlarm",
        "NoRunCompletedAlarm",
    }
    watched = {
        (alarm["MetricName"], resolve(alarm["Dimensions"][0]["Value"]), alarm["ComparisonOperator"], alarm["Threshold"])
        for name, alarm in PLAIN_ALARMS.items()
        if name != "AuthorizeFailuresAlarm"
    }
    above, below, tool = "GreaterThanThreshold", "LessThanThreshold", telemetry.TOOL
    assert watched == {
        *(
            (metric, f"<{function}>", above, 3 if (metric, function) == ("Throttles", "WarmTracksFunction") else 0)
            for metric in ("Errors", "Throttles")
            for function in FUNCTIONS
            if (metric, function) != ("Errors", "AuthorizeFunction")
        ),
        ("ApproximateNumberOfMessagesVisible", "<ParkedQueue>", above, 0),
        ("ApproximateNumberOfMessagesVisible", "<FanOutFailureQueue>", above, 0),
        ("DeadLettered", tool, above, 0),
        ("RunRefused", tool, above, 0),
        ("IdentityCoveragePercent", tool, below, 99),
    }


def test_our_own_metrics_are_watched_where_they_are_written():
    ours = [
        alarm
        for name, alarm in PLAIN_ALARMS.items()
        if not alarm["Namespace"].startswith("AWS/") and name != "AuthorizeFailuresAlarm"
    ]

    assert {alarm["Namespace"] for alarm in ours} == {telemetry.NAMESPACE}
    assert {alarm["MetricName"] for alarm in ours} <= telemetry.METRICS.keys()


def test_the_authorizer_s_failures_are_distinguished_from_refused_tokens():
    """Both are errors of the function; only a failure logs these words."""
    metric = RESOURCES["AuthorizeFailures"]["Properties"]
    alarm = ALARMS["AuthorizeFailuresAlarm"]
    terms = re.findall(r'\?"([^"]+)"|\?(\w+)', metric["FilterPattern"])
    words = {quoted or bare for quoted, bare in terms}

    (made,) = metric["MetricTransformations"]
    assert (made["MetricNamespace"], made["MetricName"]) == (alarm["Namespace"], alarm["MetricName"])
    assert words == {"no token can be checked", "SettingsError", "Task timed out", "Runtime."}
    keys = authorization.Keys("nowhere", lambda _: b"no key set")
    with pytest.raises(authorization.KeysUnavailableError, match="no token can be checked"):
        keys.key("any")


def test_silence_is_an_alarm_only_when_a_run_is_due():
    alarm = ALARMS["NoRunCompletedAlarm"]
    (stat,) = [it["MetricStat"] for it in alarm["Metrics"] if "MetricStat" in it]

    assert stat["Period"] * alarm["EvaluationPeriods"] == 26 * 3600
    assert resolve(alarm["Threshold"]) == 0, "no count is below that: OK while the schedule is off"
    assert resolve(alarm["Threshold"], GIVEN | {"ScheduleState": "ENABLED"}) == 1
    assert {it["TreatMissingData"] for it in ALARMS.values()} == {"notBreaching"}


def test_the_hourly_count_is_written_where_runs_are_counted():
    count, daily = RESOURCES["HourlyCount"]["Properties"], RESOURCES["DailySchedule"]["Properties"]
    (datum,) = (written := json.loads(count["Target"]["Input"]))["MetricData"]
    (stat,) = [it["MetricStat"]["Metric"] for it in ALARMS["NoRunCompletedAlarm"]["Metrics"] if "MetricStat" in it]

    assert (count["State"], count["ScheduleExpression"]) == (daily["State"], "rate(1 hour)")
    assert datum["Value"] == 0
    assert (written["Namespace"], datum["MetricName"]) == (stat["Namespace"], stat["MetricName"])
    assert datum["Dimensions"] == stat["Dimensions"]


def test_alarms_are_described_and_reach_the_topic_if_there_is_one():
    """Those of a start reach it as one, by the composite that names each of them."""
    topic = "arn:aws:sns:us-east-1:123456789012:station"
    start = RESOURCES["StartAlarm"]["Properties"]
    of_a_start = set(re.findall(r"\$\{(\w+)\}", start["AlarmRule"]["Fn::Sub"]))
    assert of_a_start == {"FanOutErrorsAlarm", "FanOutFailureAlarm", "RunRefusedAlarm"}
    for name, alarm in {**ALARMS, "StartAlarm": start}.items():
        assert alarm["AlarmDescription"].endswith(".")
        if name in of_a_start:
            assert "AlarmActions" not in alarm
            continue
        assert resolve(alarm["AlarmActions"]) is None
        assert resolve(alarm["AlarmActions"], GIVEN | {"AlarmTopicArn": topic}) == [{"Ref": "AlarmTopicArn"}]


def test_the_accounts_outlive_the_stack():
    table = RESOURCES["LedgerTable"]

    assert (table["DeletionPolicy"], table["UpdateReplacePolicy"]) == ("RetainExceptOnCreate", "Retain")
    assert "TableName" not in table["Properties"]


def test_the_local_clock_and_the_local_mode_are_not_for_the_cloud():
    text = (deploy.ROOT / "template.yaml").read_text()
    assert "LOCAL_DEV" not in text
    assert "CLOCK_SPEED" not in text


def test_the_picker_is_left_out_unless_somebody_asks_for_it():
    picker = {name for name, it in RESOURCES.items() if it.get("Condition") == "PickerEnabled"}

    assert picker >= {"PickerApi", "RotationTracksFunction", "WarmTracksFunction", "WarmTracksFunctionDaily"}
    assert not [
        name for name in RESOURCES.keys() - picker if name.startswith(("Picker", "RotationTracks", "WarmTracks"))
    ]
    assert resolve(TEMPLATE["Conditions"]["PickerEnabled"]) is False
    assert resolve(TEMPLATE["Conditions"]["PickerEnabled"], GIVEN | PICKER) is True


@pytest.mark.parametrize("missing", [None, *sorted(PICKER.keys() - {"PickerState"})])
def test_the_picker_needs_an_issuer_its_keys_an_audience_and_origins(missing):
    given = GIVEN | PICKER | ({missing: ""} if missing else {})
    rule = TEMPLATE["Rules"]["ThePickerIsClosedByDefault"]

    assert resolve(rule["RuleCondition"], given)
    assert all(resolve(assertion["Assert"], given) for assertion in rule["Assertions"]) == (missing is None)


def test_every_route_of_the_picker_is_the_code_s_and_reading_tracks_asks_the_authorizer():
    body = RESOURCES["PickerApi"]["Properties"]["Body"]

    paths = {path: guarded["Fn::If"][1]["get"]["Fn::If"][1] for path, guarded in body["paths"].items()}
    assert {path: route.get("security") for path, route in paths.items()} == {
        api.PATH: [{"Tokens": []}],
        api.OPENAPI_PATH: None,
    }
    (authorizer,) = (it["x-amazon-apigateway-authorizer"] for it in body["components"]["securitySchemes"].values())
    assert "AuthorizeFunction" in str(authorizer.pop("authorizerUri"))
    assert authorizer == {
        "type": "request",
        "identitySource": ["$request.header.Authorization"],
        "authorizerResultTtlInSeconds": http_api.CACHED_SECONDS,
        "authorizerPayloadFormatVersion": "2.0",
        "enableSimpleResponses": True,
    }
    assert "AuthorizeFunction" in str(RESOURCES["PickerApiTokensAuthorizerPermission"]["Properties"]["FunctionName"])


def test_only_a_function_that_looks_at_the_authorizer_s_decision_is_behind_it():
    """It lets through what nobody could check, for that function to answer 503: another one would serve it."""
    guarded = [
        name
        for name, it in TEMPLATE["Resources"].items()
        for event in it.get("Properties", {}).get("Events", {}).values()
        if "Auth" in event["Properties"]
    ]
    assert guarded == ["RotationTracksFunction"]


def test_what_api_gateway_cannot_make_fails_the_deploy():
    """It would leave out an authorizer and its routes, and the deploy would be green."""
    assert RESOURCES["PickerApi"]["Properties"]["FailOnWarnings"] is True


def test_pages_of_the_given_origins_may_read_the_answers():
    made = deploy.transform(deploy.read(), PICKER)["Resources"]["PickerApi"]["Properties"]["Body"]

    cors = made["x-amazon-apigateway-cors"]
    assert cors["allowOrigins"] == PICKER["PickerCorsOrigins"].split(",")
    assert cors["allowMethods"] == ["GET"]
    assert {"authorization", "if-none-match"} <= set(cors["allowHeaders"])
    assert {"etag", "retry-after"} <= set(cors["exposeHeaders"])


def test_lml_sees_five_requests_of_the_picker_at_once():
    """The walk one, DJs four: the permits of one process are not enough for several (docs/design/picker.md)."""
    reserved = {name: FUNCTIONS[name]["ReservedConcurrentExecutions"] for name in FUNCTIONS if "Tracks" in name}
    assert reserved == {"RotationTracksFunction": 4, "WarmTracksFunction": 1}


def test_the_walk_starts_with_every_deploy_and_every_day():
    pattern = RESOURCES["WarmTracksFunctionDeploy"]["Properties"]["EventPattern"]

    assert pattern["detail"]["stack-id"] == [{"Ref": "AWS::StackId"}]
    assert pattern["detail"]["status-details"]["status"] == ["CREATE_COMPLETE", "UPDATE_COMPLETE"]
    daily = crontab_of(RESOURCES["WarmTracksFunctionDaily"]["Properties"]["ScheduleExpression"])
    assert re.fullmatch(r"\d+ \d+ \* \* \*", daily)
