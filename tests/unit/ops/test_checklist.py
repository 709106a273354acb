"""Checks that are made one by one: none hides another, and what was not looked at is said."""

import json

import click
import pytest
from botocore.exceptions import ClientError, EndpointConnectionError, NoCredentialsError, NoRegionError
from rich.console import Console

from core.settings import SettingsError
from ops.checklist import DETAILS_SHOWN, CannotLookError, CheckFinding, answer, work_off
from ops.target import OperatorError

GOOD = CheckFinding(ok=True, reason="it is there")
BAD = CheckFinding(ok=False, reason="it is not there", advice="put it there")


def raising(error):
    def check():
        raise error

    return check


def made(checks, skipped=()):
    lines = work_off(checks, Console(quiet=True), skipped)
    return lines, answer(lines, "good", "bad")


def test_a_check_that_breaks_hides_no_other():
    lines, outcome = made({"first": raising(ZeroDivisionError("with a secret")), "second": lambda: GOOD})

    assert [(line.name, line.status) for line in lines] == [("first", "failed"), ("second", "ok")]
    assert "ZeroDivisionError in check" in lines[0].finding.reason
    assert "secret" not in str(outcome)
    assert not outcome.ok


def test_skipped_is_not_failed_but_visible():
    lines, outcome = made({"first": raising(AssertionError), "second": lambda: GOOD}, skipped={"first"})

    assert [line.status for line in lines] == ["skipped", "ok"]
    assert outcome.ok
    assert outcome.lines[-1].endswith("; not looked at: first")
    assert outcome.data["checks"][0]["status"] == "skipped"


def test_a_line_has_its_reason_and_the_next_step_and_the_last_one_counts():
    _, outcome = made({"here": lambda: GOOD, "there": lambda: BAD})

    assert "it is there." in outcome.lines[0]
    assert "it is not there. Next: put it there." in outcome.lines[1]
    assert click.unstyle(outcome.lines[-1]) == "bad: there"
    assert (outcome.ok, outcome.data["ok"]) == (False, False)
    assert json.loads(json.dumps(outcome.data))["checks"][1]["next"] == "put it there"


@pytest.mark.parametrize(
    ("error", "reason", "advice"),
    [
        (CannotLookError("no token", "set TOKEN"), "no token", "set TOKEN"),
        (OperatorError("no cloud"), "no cloud", ""),
        (SettingsError("A is wrong\nB is wrong"), "A is wrong; B is wrong", "correct what is named"),
        (NoCredentialsError(), "Unable to locate credentials", "AWS_PROFILE"),
        (NoRegionError(), "must specify a region", "--region"),
        (EndpointConnectionError(endpoint_url="https://aws.invalid"), "aws.invalid", "network"),
        (ClientError({"Error": {"Code": "ExpiredToken", "Message": "old"}}, "X"), "old", "log in to AWS anew"),
        (ClientError({"Error": {"Code": "AccessDenied", "Message": "may not"}}, "X"), "may not", "permission"),
        (ClientError({"Error": {"Code": "Other", "Message": "odd"}}, "X"), "odd", "the region"),
    ],
    ids=lambda it: type(it).__name__ if isinstance(it, Exception) else "",
)
def test_what_keeps_a_check_from_being_made_is_reported(error, reason, advice):
    (line,), _ = made({"it": raising(error)})

    assert line.status == "failed"
    assert reason in line.finding.reason
    assert advice in line.finding.advice


def test_what_comes_from_elsewhere_cannot_move_the_cursor_or_colour_the_terminal():
    hostile = CheckFinding(ok=True, reason="a\x1b[2Jb [red]c[/]\r\nd", details=["\x1b]0;e\x07f"])

    _, outcome = made({"it": lambda: hostile})

    shown = [click.unstyle(line) for line in outcome.lines]
    assert "a [2Jb [red]c[/] d" in shown[0]
    assert all(line.isprintable() for line in shown)


def test_people_see_some_details_and_programs_all():
    many = [f"row {number}" for number in range(DETAILS_SHOWN + 5)]

    _, outcome = made({"it": lambda: CheckFinding(ok=True, reason="r", details=many)})

    assert outcome.lines[DETAILS_SHOWN + 1] == "  and 5 more; --json has them all"
    assert outcome.data["checks"][0]["details"] == many


def test_what_is_under_way_is_shown(capsys):
    work_off({"slow-one": lambda: GOOD}, Console(stderr=True))

    assert "slow-one ..." in capsys.readouterr().err
