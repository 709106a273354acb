"""The deploy guide, samconfig.toml and `make deploy` name what the template, sam and the commands have."""

import re
import tomllib
from copy import deepcopy

import click
import pytest

from bench import cost
from local import deploy
from ops.cli import main
from ops.deploy import command
from ops.preflight.planned import SAMCONFIG, configured
from ops.target import OperatorError

GUIDE = (deploy.ROOT / "docs" / "deploy.md").read_text()
README = (deploy.ROOT / "README.md").read_text()
TEMPLATE = deploy.read()
PARAMETERS = TEMPLATE["Parameters"]
ENVIRONMENTS = ("staging", "production")
CONFIG = tomllib.loads(SAMCONFIG.read_text())
MEASURED = cost.read()


def test_only_what_has_no_default_must_be_answered():
    required = [name for name, it in PARAMETERS.items() if "Default" not in it]
    assert required == ["LibraryMetadataUrl", "DatabaseHost", "DatabaseName", "DatabaseUsername"]
    assert "only four have nothing there" in GUIDE.replace("\n", " ")


@pytest.mark.parametrize("name", sorted(set(re.findall(r"`(\w+(?:Command|Name|Url|Ids|State))`", GUIDE))))
def test_an_output_or_parameter_that_the_guide_names_exists(name):
    assert name in TEMPLATE["Outputs"] | PARAMETERS


@pytest.mark.parametrize(
    "path", sorted(set(re.findall(r"\]\(([^)#:]+)(?:#[\w-]+)?\)|`([\w./-]+/[\w./-]+\.\w+)`", GUIDE)))
)
def test_a_file_that_the_guide_names_exists(path):
    link, name = path
    generated = {".build/package.zip", ".build/template.yaml", "/var/task/certs/global-bundle.pem"}
    assert name in generated or (deploy.ROOT / ("docs/" + link if link else name)).exists()


def test_the_make_targets_that_are_named_exist():
    makefile = (deploy.ROOT / "Makefile").read_text().replace("$(SAM)", ".venv-sam")
    commands = re.findall(r"(?:`|\$ )make ([^`#\n]+)", GUIDE + README)
    targets = {word for command in commands for word in command.partition("ARGS=")[0].split() if "=" not in word}

    assert targets >= {"build", "deploy", "cost", ".venv-sam/.sam"}
    assert not [target for target in targets if not re.search(rf"^{re.escape(target)}:", makefile, re.MULTILINE)]


@pytest.mark.parametrize("line", sorted(set(re.findall(r"\$ \.venv/bin/rotation (.+?)(?:  |\n)", GUIDE))))
def test_a_command_of_the_guide_is_one_that_rotation_takes(line):
    name, *words = line.split()
    main.get_command(click.Context(main), name).make_context(name, words)


@pytest.mark.parametrize("environment", ENVIRONMENTS)
def test_an_environment_deploys_what_was_built_and_starts_nothing(environment):
    given = CONFIG[environment]["deploy"]["parameters"]
    section = configured(SAMCONFIG, environment)

    assert given["template_file"] == ".build/template.yaml"
    assert given["confirm_changeset"] is True
    assert given["fail_on_empty_changeset"] is False
    assert (given["resolve_s3"], given["capabilities"]) == (True, "CAPABILITY_IAM")
    assert section.parameters["ScheduleState"] == "DISABLED"
    assert section.parameters["SentryEnvironment"] == environment
    assert f"environment={environment}" in given["tags"]


@pytest.mark.parametrize("environment", ENVIRONMENTS)
def test_what_is_configured_fits_the_template_and_is_no_secret(environment):
    for name, value in configured(SAMCONFIG, environment).parameters.items():
        allowed = PARAMETERS[name].get("AllowedValues")
        assert allowed is None or value in map(str, allowed)
        assert not name.endswith("SecretArn") or value in {"none", "create"} or value.startswith("arn:")


def test_the_environments_are_two_stacks():
    assert [configured(SAMCONFIG, name).stack_name for name in ENVIRONMENTS] == ["rotation-staging", "rotation"]


def test_forgetting_the_environment_deploys_no_half_package():
    """Without a section sam would take template.yaml, and zip src/ without its dependencies."""
    assert CONFIG["default"]["deploy"]["parameters"] == {"template_file": ".build/template.yaml"}


def test_a_deploy_repeats_what_is_configured_and_adds_the_release():
    """Sam takes the overrides of its command line instead of the file's."""
    arguments = command("staging", "abc", ["--no-confirm-changeset"])
    overrides = arguments[arguments.index("--parameter-overrides") + 1 :]

    assert arguments[:4] == ["deploy", "--config-env", "staging", "--no-confirm-changeset"]
    assert overrides == [
        'ScheduleState="DISABLED"',
        'SentryEnvironment="staging"',
        'LogRetentionDays="14"',
        'SentryRelease="abc"',
    ]


def test_a_deploy_understands_what_the_guided_one_saved(tmp_path):
    """As sam writes it: one text, each value in quotes."""
    saved = tmp_path / "samconfig.toml"
    saved.write_text('[staging.deploy.parameters]\nparameter_overrides = "SubnetIds=\\"a,b\\" AlarmTopicArn=\\"\\""\n')

    assert command("staging", "abc", [], saved)[-3:] == ['SubnetIds="a,b"', 'AlarmTopicArn=""', 'SentryRelease="abc"']


def test_an_environment_that_is_not_configured_is_refused():
    with pytest.raises(OperatorError, match="no section elsewhere"):
        command("elsewhere", "abc", [])


def test_the_guide_has_the_costs_that_the_command_prints():
    template = deploy.transform(deploy.read())
    assert "\n".join(cost.table(MEASURED, template)) in GUIDE
    assert cost.source(MEASURED) in GUIDE


def test_the_readme_s_cost_of_a_day_is_the_guide_s():
    day = re.search(r"\*\*the day\*\* \| \| \| \*\*(.+?)\*\* \| \*\*(.+?)\*\*", GUIDE)
    cold, warm = (round(float(dollars), 2) for dollars in day.groups())
    assert f"A cold day\ncosts {cold} dollars, a warm one {warm}" in README


def test_a_longer_run_costs_what_its_seconds_cost():
    template = deploy.transform(deploy.read())
    longer = deepcopy(MEASURED)
    longer.cold.functions["RefreshFunction"].seconds += 1000

    before, after = (cost.of_a_run(measured, template)[0].dollars[0] for measured in (MEASURED, longer))

    gigabytes = template["Resources"]["RefreshFunction"]["Properties"]["MemorySize"] / 1024
    assert after - before == pytest.approx(1000 * gigabytes * cost.GB_SECOND["arm64"])


def test_what_stands_by_is_counted_in_the_template_without_the_picker():
    lines = {line.what: line.cold for line in cost.standing_by(deploy.transform(deploy.read()))}

    assert lines["SQS, requests of event sources that wait"] == 2 * 5 * 3 * 60 * 24
    assert lines["CloudWatch, dashboard"] == 1
    plain = re.findall(
        r"^  (?!RotationTracks|WarmTracks|Authorize|Start)\w+Alarm:$",
        (deploy.ROOT / "template.yaml").read_text(),
        re.MULTILINE,
    )
    assert lines["CloudWatch, metrics with an alarm"] == len(plain) + 3, "three of them look at two metrics"
