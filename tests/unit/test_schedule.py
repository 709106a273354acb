"""The schedule stands once, in the template: fan-out, check-ins and `rotation sentry` follow it."""

import pytest

from core import settings
from core.environment import SettingsError
from core.schedule import Schedule, crontab_of
from local import deploy
from ops.sentry import keep
from ops.target import no_secret

WORDS = {"$project": "p", "$project_id": "1", "$environment": "production"}


@pytest.mark.parametrize(
    ("expression", "crontab"),
    [
        ("cron(30 4 * * ? *)", "30 4 * * *"),
        ("cron(0 9 ? * MON-FRI *)", "0 9 * * MON-FRI"),
        ("cron(0 9 ? * 2-6 *)", "0 9 * * 1-5"),
        ("cron(0 9 ? * 1,7 *)", "0 9 * * 0,6"),
        ("cron(0/20 4 1 * ? *)", "0-59/20 4 1 * *"),
        ("cron(*/20 4 ? * 2-6/2 *)", "*/20 4 * * 1-5/2"),
        ("15 6 * * *", "15 6 * * *"),
    ],
)
def test_an_expression_of_eventbridge_is_reported_as_crontab(expression, crontab):
    assert crontab_of(expression) == crontab


@pytest.mark.parametrize(
    "expression",
    [
        "rate(1 day)",
        "cron(30 4 * * ? 2027)",
        "cron(30 4 L * ? *)",
        "cron(30 4 ? * 6#3 *)",
        "cron(30 4 1W * ? *)",
        "cron(30 24 * * ? *)",
        "cron(30 4 ? * 0 *)",
        "cron(30 4 * *)",
        "at(2026-02-03T04:30:00)",
        "",
        "30 4 * *",
    ],
)
def test_what_crontab_has_no_form_for_is_refused(expression):
    with pytest.raises(ValueError, match=r"it must (have|be)|is not within|has no form"):
        crontab_of(expression)


DEFAULTS = {name: it.get("Default") for name, it in deploy.read()["Parameters"].items()}
OWN = Schedule(crontab_of(DEFAULTS["ScheduleExpression"]), DEFAULTS["ScheduleTimeZone"])


def changed(**parameters):
    """The template under other parameters: what its schedule is, and the variables of fan-out."""
    template = deploy.read()
    values = DEFAULTS | parameters
    resources = template["Resources"]
    variables = resources["FanOutFunction"]["Properties"]["Environment"]["Variables"]

    def valued(node):
        return values[node["Ref"]] if isinstance(node, dict) and node.get("Ref") in values else node

    daily = {name: valued(node) for name, node in resources["DailySchedule"]["Properties"].items()}
    return daily, {name: str(valued(node)) for name, node in variables.items()}


@pytest.mark.parametrize(
    ("parameters", "schedule"),
    [
        ({}, OWN),
        ({"ScheduleTimeZone": "America/New_York"}, Schedule(OWN.crontab, "America/New_York")),
        ({"ScheduleExpression": "cron(15 6 * * ? *)"}, Schedule("15 6 * * *", OWN.time_zone)),
    ],
    ids=["as it is", "another zone", "another time"],
)
def test_everything_follows_the_template_s_schedule(parameters, schedule):
    daily, variables = changed(**parameters)
    read = settings.SettingsReader({**variables, "SENTRY_DSN": ""}, no_secret).schedule()

    assert crontab_of(daily["ScheduleExpression"]) == schedule.crontab
    assert daily["ScheduleExpressionTimezone"] == schedule.time_zone
    assert read == schedule
    assert schedule.monitor["schedule"] == {"type": "crontab", "value": schedule.crontab}
    assert schedule.monitor["timezone"] == schedule.time_zone
    config = keep.wanted("monitors", WORDS | keep.of_schedule(keep.schedule_in(variables)))["config"]
    assert (config["schedule"], config["timezone"]) == (schedule.crontab, schedule.time_zone)
    assert config["checkin_margin"] == schedule.monitor["checkin_margin"]
    assert config["max_runtime"] == schedule.monitor["max_runtime"]


def test_without_a_stack_sentry_gets_the_template_s_own_schedule():
    daily, _ = changed()

    assert keep.template_schedule().crontab == crontab_of(daily["ScheduleExpression"])


def test_a_schedule_that_cannot_be_told_is_refused_by_name():
    with pytest.raises(SettingsError, match=r"^SCHEDULE_CRONTAB is 'rate\(1 day\)': it must"):
        keep.schedule_in({"SCHEDULE_CRONTAB": "rate(1 day)"})
    with pytest.raises(SettingsError, match="SCHEDULE_CRONTAB is required"):
        keep.schedule_in({})
