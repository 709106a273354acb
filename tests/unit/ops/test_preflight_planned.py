"""What is about to be deployed, as preflight works it out: template, stack, samconfig.toml and command line."""

from contextlib import ExitStack

import pytest

from local import deploy
from ops.preflight.planned import assignment, configured, plan, template_for
from ops.target import OperatorError
from tests.wire import Wire, reply

GIVEN = {"LibraryMetadataUrl": "https://lml.example", "DatabaseHost": "db.example"}
ARN = "arn:aws:secretsmanager:us-east-1:123456789012:secret:key-AbCdEf"


NO_STACK = b"""<ErrorResponse><Error><Type>Sender</Type><Code>ValidationError</Code>
<Message>Stack with id station does not exist</Message></Error></ErrorResponse>"""
ANOTHER_STACK = b"""<ListStackResourcesResponse><ListStackResourcesResult><StackResourceSummaries><member>
<LogicalResourceId>Queue</LogicalResourceId><ResourceType>AWS::SQS::Queue</ResourceType>
</member></StackResourceSummaries></ListStackResourcesResult></ListStackResourcesResponse>"""


@pytest.fixture
def aws(monkeypatch):
    """Have AWS answer with this, whatever it is asked."""

    def answering(script):
        wire = stack.enter_context(Wire(script))
        monkeypatch.setenv("AWS_ENDPOINT_URL", wire.url)

    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "test")
    with ExitStack() as stack:
        yield answering


@pytest.fixture
def no_stack(aws):
    """An account without a stack."""
    aws(reply(400, NO_STACK))


def planned(**given):
    parameters = GIVEN | given
    return plan(template_for(parameters), "station", "us-east-1", parameters)


@pytest.mark.usefixtures("no_stack")
def test_a_stack_that_does_not_exist_yet_is_planned_from_defaults_and_what_is_given():
    found = planned(DiscogsBudgetPerMinute="18")

    assert "does not exist yet" in found.target.title
    assert found.environment["LIBRARY_METADATA_URL"] == "https://lml.example"
    default = deploy.read()["Parameters"]["RefreshSliceMax"]["Default"]
    assert (found.environment["DISCOGS_BUDGET_PER_MINUTE"], found.environment["REFRESH_SLICE_MAX"]) == (
        "18",
        str(default),
    )
    assert found.environment["LML_API_KEY_SECRET_ARN"] == "", "the stack would make it"
    assert not {"GITHUB_TOKEN_SECRET_ARN", "SENTRY_DSN_SECRET_ARN", "LOCAL_DEV"} & found.environment.keys()


@pytest.mark.usefixtures("no_stack")
def test_a_secret_of_one_s_own_is_the_one_that_is_asked_for():
    found = planned(LmlApiKeySecretArn=ARN, SentryDsnSecretArn=ARN)

    assert found.environment["LML_API_KEY_SECRET_ARN"] == ARN
    assert all(environment["SENTRY_DSN_SECRET_ARN"] == ARN for environment in found.environments.values())


@pytest.mark.usefixtures("no_stack")
@pytest.mark.parametrize(
    ("given", "reserved"), [({}, 3), ({"RefreshConcurrency": "7"}, 8), ({"PickerState": "ENABLED"}, 8)]
)
def test_what_is_reserved_follows_the_parameters(given, reserved):
    assert sum(map(int, planned(**given).reserved.values())) == reserved


@pytest.mark.usefixtures("no_stack")
def test_the_functions_of_the_picker_are_known_also_while_it_is_off():
    found = planned()

    assert found.functions > found.environments.keys()
    assert "WarmTracksFunction" in found.functions - found.environments.keys()


def test_a_stack_of_something_else_is_refused(aws):
    aws(reply(200, ANOTHER_STACK))

    with pytest.raises(OperatorError, match="was not made from this project's template"):
        planned()


def test_a_parameter_that_the_template_does_not_know_is_refused():
    with pytest.raises(OperatorError, match="no parameter DiscogsBudget, Typo"):
        template_for({"Typo": "1", "DiscogsBudget": "2"})


@pytest.mark.parametrize(
    "overrides",
    ['"DatabaseName=station SentryRelease=\\"a b\\""', '["DatabaseName=station", "SentryRelease=a b"]'],
    ids=["a text", "a list"],
)
def test_a_section_of_samconfig_is_read_as_sam_reads_it(tmp_path, overrides):
    file = tmp_path / "samconfig.toml"
    file.write_text(
        'version = 0.1\n[staging.global.parameters]\nstack_name = "rotation-staging"\nregion = "us-west-2"\n'
        f'[staging.deploy.parameters]\nregion = "us-east-1"\nparameter_overrides = {overrides}\n'
    )

    found = configured(file, "staging")

    assert (found.stack_name, found.region) == ("rotation-staging", "us-east-1")
    assert found.parameters == {"DatabaseName": "station", "SentryRelease": "a b"}


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("version = 0.1\n", "has no section staging"),
        ("no toml", "cannot be read"),
        ("staging = 1\n", "cannot be read"),
        ('[staging.deploy.parameters]\nparameter_overrides = "DatabaseName"\n', "not NAME=VALUE"),
    ],
)
def test_a_samconfig_that_cannot_be_used_is_refused_in_a_sentence(tmp_path, text, problem):
    file = tmp_path / "samconfig.toml"
    file.write_text(text)

    with pytest.raises(OperatorError, match=problem):
        configured(file, "staging")


@pytest.mark.parametrize("text", ["DatabaseName", "=x", "Database Name=x", ""])
def test_a_parameter_is_a_name_and_a_value(text):
    with pytest.raises(OperatorError, match="not NAME=VALUE"):
        assignment(text)
