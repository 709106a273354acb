"""The workflows name only what is there, hold no key, and go through staging to production."""

import re
from typing import Any

import click
import pytest
import yaml

from local import deploy
from ops.cli import main
from ops.preflight.planned import configured

FOLDER = deploy.ROOT / ".github" / "workflows"
TEXTS = {path.name: path.read_text() for path in sorted(FOLDER.glob("*.yml"))}
# YAML 1.1 reads the key `on` as True.
WORKFLOWS: dict[str, dict[Any, Any]] = {name: yaml.safe_load(text) for name, text in TEXTS.items()}
PIPELINE, DEPLOY = WORKFLOWS["pipeline.yml"], WORKFLOWS["deploy.yml"]
JOBS = PIPELINE["jobs"]
STEPS = [step for flow in WORKFLOWS.values() for job in flow["jobs"].values() for step in job.get("steps", [])]
COMMANDS = [step["run"] for step in STEPS if "run" in step]
SKIPS = dict(zip(("production", "staging"), re.findall(r"'(--skip [^']+)'", TEXTS["deploy.yml"]), strict=True))
STACKS = dict(zip(("production", "staging"), re.findall(r"'(rotation[a-z-]*)'", TEXTS["deploy.yml"]), strict=True))


def test_every_make_target_exists():
    makefile = (deploy.ROOT / "Makefile").read_text().replace("$(VENV)", ".venv").replace("$(SAM)", ".venv-sam")
    targets = {word for line in COMMANDS if line.startswith("make ") for word in line.split()[1:] if "=" not in word}

    assert targets == {"check", "test", "build", "deploy", ".venv/.demo", ".venv-sam/.sam"}
    assert not [target for target in targets if not re.search(rf"^{re.escape(target)}:", makefile, re.MULTILINE)]


@pytest.mark.parametrize("environment", ["staging", "production"])
def test_every_command_of_rotation_is_one_that_it_takes(environment):
    """Parsed by the commands themselves: names, options and choices."""
    values = {"$TO": environment, "$STACK": STACKS[environment], "$AWS_REGION": "us-east-1", "$SMOKE_IDENTITY_ID": "17"}
    lines = [line.removeprefix(".venv/bin/rotation ") for line in COMMANDS if line.startswith(".venv/bin/rotation ")]
    assert [line.split()[0] for line in lines] == ["preflight", "smoke"]

    for line in lines:
        name, *words = line.replace("$SKIP", SKIPS[environment]).replace('"', "").split()
        command = main.get_command(click.Context(main), name)
        command.make_context(name, [values.get(word, word) for word in words])


@pytest.mark.parametrize("environment", ["staging", "production"])
def test_what_is_deployed_is_what_the_configuration_says(environment):
    section = configured(deploy.ROOT / "samconfig.toml", environment)

    assert section.stack_name == STACKS[environment]
    assert section.region == DEPLOY["jobs"]["deploy"]["env"]["AWS_REGION"]
    assert JOBS[environment]["with"]["environment"] == environment


def test_staging_comes_before_production_and_tests_before_both():
    assert JOBS["build"]["needs"] == ["check", "test"]
    assert (JOBS["staging"]["needs"], JOBS["production"]["needs"]) == ("build", "staging")
    for job in ("staging", "production"):
        assert "github.event_name != 'pull_request'" in JOBS[job]["if"]


def test_in_an_environment_the_steps_are_preflight_deploy_smoke():
    named = [step["name"] for step in DEPLOY["jobs"]["deploy"]["steps"] if "name" in step]
    assert named == ["preflight", "deploy", "smoke"]


def test_two_deploys_to_one_environment_never_run_at_once():
    job = DEPLOY["jobs"]["deploy"]

    assert job["concurrency"] == {"group": "deploy-${{ inputs.environment }}", "cancel-in-progress": False}
    assert job["environment"] == "${{ inputs.environment }}"


def test_no_job_may_do_more_than_it_must():
    assert PIPELINE["permissions"] == {"contents": "read"}
    assert {name for name, job in JOBS.items() if "id-token" in job.get("permissions", {})} == {"staging", "production"}
    checkouts = [step for step in STEPS if step.get("uses", "").startswith("actions/checkout@")]
    assert all(step["with"]["persist-credentials"] is False for step in checkouts)


def test_there_is_no_key_of_aws():
    text = "".join(TEXTS.values())
    assert "aws-secret-access-key" not in text.lower()
    assert set(re.findall(r"secrets\.(\w+)", text)) == {"SENTRY_AUTH_TOKEN"}


def test_what_others_wrote_is_pinned_to_a_commit_with_its_version_beside_it():
    uses = re.findall(r"uses: (\S+)(.*)", "".join(TEXTS.values()))
    foreign = {(action, comment.strip()) for action, comment in uses if not action.startswith("./")}

    assert not [action for action, _ in foreign if not re.fullmatch(r"[\w-]+/[\w-]+@[0-9a-f]{40}", action)]
    assert not [comment for _, comment in foreign if not re.fullmatch(r"# v\d+\.\d+\.\d+", comment)]
    assert len({action for action, _ in foreign}) == len({action.partition("@")[0] for action, _ in foreign})


def test_nothing_that_somebody_typed_becomes_part_of_a_command():
    """An expression in a shell line would: it is put in before the shell reads the line."""
    assert not [line for line in COMMANDS if "${{" in line]


def test_the_package_that_was_built_is_the_one_that_is_deployed():
    uploaded = next(step for step in JOBS["build"]["steps"] if "upload-artifact" in step.get("uses", ""))["with"]
    fetched = next(step for step in DEPLOY["jobs"]["deploy"]["steps"] if "download-artifact" in step.get("uses", ""))[
        "with"
    ]

    assert uploaded["path"].split() == [".build/package.zip", ".build/authorize.zip", ".build/template.yaml"]
    assert (fetched["name"], fetched["path"]) == (uploaded["name"], ".build")


def test_the_way_back_deploys_a_commit_without_testing_it_again():
    assert "ref" in PIPELINE[True]["workflow_dispatch"]["inputs"]
    assert {JOBS[job]["if"] for job in ("check", "test")} == {"${{ !inputs.ref }}"}
    assert "success" not in JOBS["build"]["if"]
    assert JOBS["production"]["with"]["ref"] == "${{ inputs.ref || github.sha }}"
