"""Somebody reads the runbook at four in the morning: what it and the migration name must be there."""

import re
from typing import get_args

import click
import pytest

from core import settings, telemetry
from core.runs.ledger import Status
from core.runs.totals import TOTALS
from core.schedule import CHECK_IN_MARGIN, LONGEST_ON_TIME
from local import deploy
from ops.cli import main
from ops.sentry import migrate

TEXT = (deploy.ROOT / "docs" / "runbook.md").read_text()
ALARMS_TEXT = re.search(r"^## Alarms\n(.*?)(?=^## |\Z)", TEXT, re.DOTALL | re.MULTILINE)[1]
TABLE_TEXT = re.search(r"^## A run's status.*?\n(.*?)(?=^## )", TEXT, re.DOTALL | re.MULTILINE)[1]
MIGRATION_TEXT = (deploy.ROOT / "docs" / "migration.md").read_text()
TEMPLATE = deploy.read()
ALARMS = {
    it["Properties"]["AlarmName"]["Fn::Sub"].removeprefix("${AWS::StackName}-"): it["Properties"]
    for it in TEMPLATE["Resources"].values()
    if it["Type"] == "AWS::CloudWatch::Alarm"
}
SECTIONS = dict(re.findall(r"^### (\S+)\n(.*?)(?=^### |\Z)", ALARMS_TEXT, re.DOTALL | re.MULTILINE))
ACCOUNTS = set(map(telemetry.metric_of, TOTALS))
ATTRIBUTES = {"backfill.dry_run", "backfill.trigger", "backfill.not_found_percent"}
NAMED = {
    *ALARMS,
    *ACCOUNTS,
    *TOTALS,
    *ATTRIBUTES,
    *TEMPLATE["Resources"],
    *TEMPLATE["Parameters"],
    *TEMPLATE["Outputs"],
    *(value for it in TEMPLATE["Parameters"].values() for value in map(str, it.get("AllowedValues", []))),
    *(variable.name for variable in settings.VARIABLES),
    *telemetry.METRICS,
    *get_args(telemetry.LogStep),
    *get_args(Status),
    telemetry.TOOL,
    *migrate.SUCCESSORS,
    *migrate.SUCCESSORS.values(),
    *migrate.NO_SUCCESSOR,
    *{"rotation-artist-backfill.totals", "job.tally", "rotation-artist-backfill.run.totals"},  # spans, old and new
    *{"tool", "run_id", "step"},  # tags
    *{"scheduled", "30 4 * * *", "SENTRY_AUTH_TOKEN"},
    *{"coverage_percent", "lml_identity_id", "MaximumConcurrency"},  # of a log line, the database, the event source
}


def test_every_alarm_has_its_section():
    assert ALARMS.keys() <= SECTIONS.keys()


def test_the_table_has_every_status_and_every_alarm_with_what_it_means_and_a_command():
    rows = re.findall(r"^\| (.+?) \| (.+?) \| (.+?) \|$", TABLE_TEXT, re.MULTILINE)[2:]
    named = {span for first, _, _ in rows for span in re.findall(r"`([^`]+)`", first)}
    composite = {
        it["Properties"]["AlarmName"]["Fn::Sub"].removeprefix("${AWS::StackName}-")
        for it in TEMPLATE["Resources"].values()
        if it["Type"] == "AWS::CloudWatch::CompositeAlarm"
    }

    assert named == {*get_args(Status), *ALARMS, *composite}
    for command in re.findall(r"`(rotation [^`]+)`", TABLE_TEXT):
        assert set(re.findall(r"--[\w-]+", command)) <= _options(_command(command.split()[1:]))


@pytest.mark.parametrize("name", ALARMS)
def test_a_section_says_what_it_means_how_to_look_and_what_to_do(name):
    assert re.findall(r"\*\*(\w+)\*\*:", SECTIONS[name]) == ["Means", "Look", "Do"]


@pytest.mark.parametrize("name", ALARMS)
def test_a_section_has_the_alarm_s_own_threshold(name):
    """Where it is a number that somebody chose."""
    if "percent" in str(ALARMS[name]).lower():
        assert f"{ALARMS[name]['Threshold']} %" in SECTIONS[name]


@pytest.mark.parametrize("span", sorted(set(re.findall(r"`([^`]+)`", ALARMS_TEXT + MIGRATION_TEXT))))
def test_what_is_named_is_there(span):
    """In the template, the code, or the command's own help."""
    if span.startswith("rotation "):
        named = _command(span.split()[1:])
        assert set(re.findall(r"--[\w-]+", span)) <= _options(named)
    elif span.startswith("--"):
        assert span in _options(main)
    else:
        assert span in NAMED


def test_the_table_of_attributes_is_the_migration_s():
    rows = re.findall(r"^\| `(backfill\.\w+)` \| (?:`(\S+)`|nothing) \|(.*)\|$", MIGRATION_TEXT, re.MULTILINE)

    assert {old: new for old, new, _ in rows if new} == migrate.SUCCESSORS
    assert {old: why.strip().replace("`", "") for old, new, why in rows if not new} == migrate.NO_SUCCESSOR


def test_the_monitor_s_numbers_are_those_of_the_check_in():
    assert f"within {CHECK_IN_MARGIN} minutes of the schedule's time" in ALARMS_TEXT
    assert f"longer than {LONGEST_ON_TIME} minutes" in ALARMS_TEXT


def _command(words):
    command, context = main, click.Context(main)
    for word in words:
        if isinstance(command, click.Group):
            command = command.get_command(context, word)
            assert command is not None, f"rotation has no command {word}"
    return command


def _options(command):
    """Return the options of a command, and of those below a group."""
    found = {name for parameter in command.params for name in parameter.opts}
    if isinstance(command, click.Group):
        context = click.Context(command)
        for name in command.list_commands(context):
            found |= _options(command.get_command(context, name))
    return found
