"""What the alarms and the dashboard would have said on recorded days: the template's own, on lines the job writes."""

import ast
import json
import re
from collections import defaultdict
from math import isnan, nan

import pytest

from core import telemetry
from core.environment import Secret
from core.runs.totals import ACCOUNTS, UNWARMED, Totals
from core.settings import Sentry
from core.telemetry import Telemetry
from local import deploy

RESOURCES = deploy.transform(deploy.read())["Resources"]
ALARMS = {name: it["Properties"] for name, it in RESOURCES.items() if it["Type"] == "AWS::CloudWatch::Alarm"}
SHARES = ("StaleHandlesAlarm", "ErrorShareAlarm", "WithoutArtistsAlarm")
ON_A_RUN = (*SHARES, "CoverageAlarm")
HOUR, DAY = 3600, 86_400
RUN_ENDED = 10 * DAY + 5 * HOUR
THRESHOLD_OF_RUNS = ALARMS["NoRunCompletedAlarm"]["Threshold"]["Fn::If"][1]


class Recorded:
    """CloudWatch as far as the alarms go: takes EMF lines, knows a metric by its name and its exact dimensions."""

    def __init__(self, capsys):
        self._capsys = capsys
        dsn = Secret("SENTRY_DSN", fetch=lambda *_: "")
        self._telemetry = Telemetry(Sentry(dsn=dsn, release=None, environment="test", traces_sample_rate=1.0))
        self._points = defaultdict(list)

    def run(self, ended=RUN_ENDED, *, trigger="scheduled", dry_run=False, completed=True, coverage=99.5, **totals):
        accounts = dict.fromkeys(ACCOUNTS, 0) | totals
        self._telemetry.metric("IdentityCoveragePercent", coverage)
        self._telemetry.report_totals(
            {}, run_id="run", trigger=trigger, dry_run=dry_run, totals=accounts, run_seconds=2000, completed=completed
        )
        self._telemetry.flush()
        for text in self._capsys.readouterr().out.splitlines():
            line = json.loads(text)
            (directive,) = line["_aws"]["CloudWatchMetrics"]
            for dimensions in directive["Dimensions"]:
                of = frozenset((name, line[name]) for name in dimensions)
                for metric in directive["Metrics"]:
                    self._points[directive["Namespace"], metric["Name"], of] += [
                        (ended, value) for value in line[metric["Name"]]
                    ]

    def hours_on(self, begin, end):
        """Write what the schedule of the hourly count writes between two times."""
        target = RESOURCES["HourlyCount"]["Properties"]["Target"]
        written = json.loads(target["Input"])
        (datum,) = written["MetricData"]
        of = frozenset((it["Name"], it["Value"]) for it in datum["Dimensions"])
        points = self._points[written["Namespace"], datum["MetricName"], of]
        points += [(at, datum["Value"]) for at in range(begin, end, HOUR)]

    def rings(self, name, begin, end, *, extra=4):
        """Evaluate an alarm every hour from its creation on as CloudWatch does; returns when its actions are taken.

        It begins without data, and acts when its state becomes ALARM. An evaluation takes `extra` points more than it
        is asked to, and goes by the newest that are there; only what is then still missing is treated as missing.
        """
        state, rung = "INSUFFICIENT_DATA", []
        for now in range(begin, end, HOUR):
            found = [value for value in self.series(name, now, extra) if value is not None]
            wanted = ALARMS[name]["EvaluationPeriods"]
            newest = found[-wanted:]
            missing = ALARMS[name]["TreatMissingData"] == "breaching" or len(newest) == wanted
            becomes = "ALARM" if missing and all(value < THRESHOLD_OF_RUNS for value in newest) else "OK"
            if becomes == "ALARM" != state:
                rung.append(now)
            state = becomes
        return rung

    def series(self, name, now, extra):
        """The points of an alarm's expression, oldest first, None where there is none."""
        alarm = ALARMS[name]
        ((shown,), (metric,)) = (
            [it for it in alarm["Metrics"] if ("Expression" in it) is maths] for maths in (True, False)
        )
        stat, count = metric["MetricStat"], alarm["EvaluationPeriods"] + extra
        ends = [now - back * stat["Period"] for back in reversed(range(count))]
        raw = [self.value(stat["Metric"], stat["Stat"], end, stat["Period"]) for end in ends]
        repeated = []
        for value in raw:
            repeated.append(value if value is not None or not repeated else repeated[-1])
        filled = [0 if value is None else value for value in raw] if any(it is not None for it in raw) else raw
        expression = shown["Expression"].replace(f"FILL({metric['Id']}, 0)", "filled")
        expression = expression.replace(f"FILL({metric['Id']}, REPEAT)", "repeated")
        return [
            worked_out(expression, {"filled": one, "repeated": other})
            for one, other in zip(filled, repeated, strict=True)
        ]

    def value(self, stat, statistic, end, period):
        """Return a statistic over the period before `end`, None where there is no data."""
        of = frozenset((it["Name"], it["Value"]) for it in stat["Dimensions"])
        points = self._points[stat["Namespace"], stat["MetricName"], of]
        found = [value for at, value in points if end - period < at <= end]
        return {"Sum": sum, "Minimum": min, "Maximum": max}[statistic](found) if found else None

    def state(self, name, now=RUN_ENDED + HOUR):
        """Evaluate an alarm as CloudWatch does: a window that ends now, moved back by whole periods."""
        alarm = ALARMS[name]
        stats = [it["MetricStat"] for it in alarm.get("Metrics", []) if "MetricStat" in it]
        period = alarm.get("Period") or stats[0]["Period"]
        assert all(stat["Period"] == period for stat in stats)
        over = {
            "GreaterThanThreshold": lambda value: value > alarm["Threshold"],
            "LessThanThreshold": lambda value: value < alarm["Threshold"],
        }[alarm["ComparisonOperator"]]
        breaching = []
        for back in range(alarm["EvaluationPeriods"]):
            end = now - back * period
            value = self._maths(alarm, end) if stats else self.value(alarm, alarm["Statistic"], end, period)
            breaching.append(alarm["TreatMissingData"] == "breaching" if value is None else over(value))
        return "ALARM" if all(breaching) else "OK"

    def _maths(self, alarm, end):
        (shown,) = [it for it in alarm["Metrics"] if it.get("ReturnData", True)]
        values = {
            it["Id"]: self.value(it["MetricStat"]["Metric"], it["MetricStat"]["Stat"], end, it["MetricStat"]["Period"])
            for it in alarm["Metrics"]
            if "MetricStat" in it
        }
        return worked_out(shown["Expression"], values)


def worked_out(expression, values):
    """Evaluate an expression of metric maths; a division by zero gives no data, and so does an operand without any."""
    tree = ast.parse(expression, mode="eval").body
    if any(values[node.id] is None for node in ast.walk(tree) if isinstance(node, ast.Name) and node.id != "IF"):
        return None
    value = _value(tree, values)
    return None if isnan(value) else value


def _value(node, values):  # noqa: PLR0911 - one for each form of expression
    match node:
        case ast.Constant():
            return node.value
        case ast.Name():
            return values[node.id]
        case ast.Call(func=ast.Name(id="IF"), args=[condition, then, otherwise]):
            return _value(then if _value(condition, values) else otherwise, values)
        case ast.Compare(left=left, ops=[ast.Gt()], comparators=[right]):
            return _value(left, values) > _value(right, values)
        case ast.BinOp(left=left, op=operator, right=right):
            one, other = _value(left, values), _value(right, values)
            match operator:
                case ast.Add():
                    return one + other
                case ast.Mult():
                    return one * other
                case ast.Sub():
                    return one - other
                case ast.Div():
                    return one / other if other else nan
    raise AssertionError(ast.dump(node))


@pytest.fixture
def recorded(capsys):
    return Recorded(capsys)


def alarms(recorded, names=ON_A_RUN, **when):
    return {name for name in names if recorded.state(name, **when) == "ALARM"}


@pytest.mark.parametrize(
    ("totals", "raised"),
    [
        ({"identities_scanned": 310, "identities_resolved": 310, "warmed_releases": 303}, set()),
        ({"identities_scanned": 300, "not_found": 3}, set()),
        ({"identities_scanned": 300, "not_found": 6}, {"StaleHandlesAlarm"}),
        ({"identities_scanned": 60, "not_found": 1}, {"StaleHandlesAlarm"}),
        ({"identities_scanned": 300, "lml_error": 30}, set()),
        ({"identities_scanned": 300, "lml_error": 31}, {"ErrorShareAlarm"}),
        ({"identities_scanned": 300, "warmed_releases": 300, "warmed_without_artists": 21}, set()),
        ({"identities_scanned": 300, "warmed_releases": 300, "warmed_without_artists": 91}, {"WithoutArtistsAlarm"}),
        ({"identities_scanned": 0}, set()),
        ({"identities_scanned": 1, "not_found": 1}, {"StaleHandlesAlarm"}),
        ({"identities_scanned": 310, "coverage": 98.9}, {"CoverageAlarm"}),
    ],
    ids=[
        "clean",
        "1 %",
        "2 % stale",
        "1 of 60",
        "10 % failed",
        "more failed",
        "7 % without artists",
        "30 % without",
        "empty",
        "one id, stale",
        "coverage",
    ],
)
def test_a_day_raises_its_alarms_and_no_other(recorded, totals, raised):
    recorded.run(**totals)

    assert alarms(recorded) == raised


def test_a_stopped_run_is_reported_as_missing_and_its_shares_count(recorded):
    enabled = RUN_ENDED - 2 * DAY
    recorded.hours_on(enabled, RUN_ENDED + DAY)
    recorded.run(RUN_ENDED - DAY, identities_scanned=310)
    recorded.run(completed=False, identities_scanned=100, not_found=2, lml_error=60, not_attempted=210)

    assert alarms(recorded, now=RUN_ENDED + HOUR) == {"StaleHandlesAlarm", "ErrorShareAlarm"}
    assert recorded.rings("NoRunCompletedAlarm", enabled, RUN_ENDED + DAY) == [RUN_ENDED - DAY + 26 * HOUR]


@pytest.mark.parametrize(("trigger", "dry_run"), [("manual", False), ("manual", True), ("scheduled", True)])
def test_manual_and_dry_runs_beside_it_change_nothing(recorded, trigger, dry_run):
    """Neither for the worse nor for the better."""
    recorded.run(identities_scanned=310)
    recorded.run(trigger=trigger, dry_run=dry_run, identities_scanned=10, not_found=10, lml_error=10)
    assert alarms(recorded) == set()

    recorded.run(RUN_ENDED + 2 * DAY, identities_scanned=100, not_found=2)
    recorded.run(RUN_ENDED + 2 * DAY, trigger=trigger, dry_run=dry_run, identities_scanned=10_000)
    assert alarms(recorded, SHARES, now=RUN_ENDED + 2 * DAY + HOUR) == {"StaleHandlesAlarm"}


# A day without a completed run


def test_a_first_run_that_never_completes_is_reported_after_26_hours_of_the_schedule(recorded):
    """Not when the alarm comes into being, and not never: it begins as OK."""
    recorded.hours_on(RUN_ENDED, RUN_ENDED + 3 * DAY)

    assert recorded.rings("NoRunCompletedAlarm", RUN_ENDED, RUN_ENDED + 3 * DAY) == [RUN_ENDED + 25 * HOUR]


def test_a_schedule_that_is_off_rings_no_alarm_and_one_that_is_switched_on_rings_after_26_hours(recorded):
    enabled = RUN_ENDED + 10 * DAY
    recorded.hours_on(enabled, enabled + 2 * DAY)

    assert recorded.rings("NoRunCompletedAlarm", RUN_ENDED, enabled + 2 * DAY) == [enabled + 25 * HOUR]


@pytest.mark.parametrize("extra", [0, 3, 30], ids=["as asked", "a few points more", "twice as many"])
def test_a_day_without_a_run_is_reported_at_26_hours_however_many_points_cloudwatch_takes(recorded, extra):
    recorded.hours_on(RUN_ENDED - 4 * DAY, RUN_ENDED + 4 * DAY)
    for day in range(-3, 1):
        recorded.run(RUN_ENDED + day * DAY, identities_scanned=310)

    rung = recorded.rings("NoRunCompletedAlarm", RUN_ENDED - 2 * DAY, RUN_ENDED + 4 * DAY, extra=extra)

    assert rung == [RUN_ENDED + 26 * HOUR]


def test_a_run_that_is_two_hours_late_is_in_time(recorded):
    recorded.hours_on(RUN_ENDED - 2 * DAY, RUN_ENDED + 2 * DAY)
    for late in (-DAY, 0, DAY + 2 * HOUR - 60):
        recorded.run(RUN_ENDED + late, identities_scanned=310)

    assert recorded.rings("NoRunCompletedAlarm", RUN_ENDED - DAY, RUN_ENDED + 2 * DAY) == []


def test_an_ill_scheduler_does_not_hide_the_day(recorded):
    """It writes no hourly count either: what comes after the last one counts as none."""
    recorded.hours_on(RUN_ENDED - 2 * DAY, RUN_ENDED + 3 * HOUR)
    recorded.run(RUN_ENDED - DAY, identities_scanned=310)
    recorded.run(identities_scanned=310)

    rung = recorded.rings("NoRunCompletedAlarm", RUN_ENDED - DAY, RUN_ENDED + 27 * HOUR)

    assert rung == [RUN_ENDED + 26 * HOUR]


def test_a_manual_run_does_not_stand_in_for_the_schedule(recorded):
    recorded.hours_on(RUN_ENDED - 2 * DAY, RUN_ENDED + 2 * DAY)
    recorded.run(RUN_ENDED - DAY, identities_scanned=310)
    recorded.run(trigger="manual", identities_scanned=310)

    assert recorded.rings("NoRunCompletedAlarm", RUN_ENDED - DAY, RUN_ENDED + DAY) == [RUN_ENDED + 2 * HOUR]


def test_shares_are_over_24_hours_and_over_all_runs_of_them(recorded):
    recorded.run(identities_scanned=100, not_found=2)
    assert recorded.state("StaleHandlesAlarm", RUN_ENDED + DAY - 60) == "ALARM"
    assert recorded.state("StaleHandlesAlarm", RUN_ENDED + DAY) == "OK"

    recorded.run(RUN_ENDED + HOUR, identities_scanned=300)
    assert recorded.state("StaleHandlesAlarm", RUN_ENDED + 2 * HOUR) == "OK"


@pytest.mark.parametrize("name", SHARES)
def test_an_expression_without_its_guard_would_be_seen(name):
    """The evaluator knows what CloudWatch makes of a division by zero."""
    (shown,) = [it for it in ALARMS[name]["Metrics"] if "Expression" in it]
    names = {it["Id"]: 0 for it in ALARMS[name]["Metrics"] if "MetricStat" in it}

    assert worked_out(shown["Expression"], names) == 0
    unguarded = shown["Expression"].removeprefix("IF(").split(", ")[1]
    assert worked_out(unguarded, names) is None


# The dashboard


def dashboard():
    """Return the body of a stack that has the picker."""
    body, parts = RESOURCES["Dashboard"]["Properties"]["DashboardBody"]["Fn::Sub"]
    (condition, picker, nothing) = parts["PickerAlarms"]["Fn::If"]
    assert (condition, nothing) == ("PickerEnabled", "")
    json.loads(substituted(body.replace("${PickerAlarms}", nothing)))
    return json.loads(substituted(body.replace("${PickerAlarms}", picker["Fn::Sub"])))


def substituted(text):
    return re.sub(r"\$\{([\w:.]+)\}", r"<\1>", text)


def shown_metrics():
    """Yield (widget title, namespace, name, dimensions) of each metric, dots and ellipses filled in."""
    for widget in dashboard()["widgets"]:
        before = []
        for metric in widget["properties"].get("metrics", []):
            words = [word for word in metric if isinstance(word, str)]
            if not words:
                continue
            if words[0] == "...":
                words = [*before[: len(before) - len(words) + 1], *words[1:]]
            words = [before[at] if word == "." else word for at, word in enumerate(words)]
            before = words
            yield widget["properties"]["title"], words[0], words[1], words[2:]


def test_the_dashboard_shows_every_alarm():
    (widget,) = [it for it in dashboard()["widgets"] if it["type"] == "alarm"]

    assert sorted(widget["properties"]["alarms"]) == sorted(f"<{name}.Arn>" for name in (*ALARMS, "StartAlarm"))


def test_the_dashboard_shows_metrics_that_are_written(recorded):
    recorded.run(identities_scanned=1)
    recorded.run(trigger="manual", identities_scanned=1)
    written = {(namespace, name, dimensions) for namespace, name, dimensions in recorded._points}
    any_time = {(telemetry.NAMESPACE, name, frozenset({("service", telemetry.TOOL)})) for name in telemetry.METRICS}
    ours = {
        (namespace, name, frozenset(zip(words[::2], words[1::2], strict=True)))
        for _, namespace, name, words in shown_metrics()
        if namespace == telemetry.NAMESPACE
    }

    assert len(ours) >= 12
    assert ours <= written | any_time


def test_the_dashboard_shows_in_which_verdict_each_identity_ended():
    """A verdict that the dashboard does not know would be drawn as warmed."""
    (widget,) = [it for it in dashboard()["widgets"] if "identities a day" in it["properties"]["title"]]
    rows = widget["properties"]["metrics"]
    numbers = {name: number for number, name in enumerate((*UNWARMED, "lml_error", "not_attempted"), start=2)}
    resolved = 1 + sum(numbers[name] for name in UNWARMED)
    totals = Totals(identities_scanned=resolved + numbers["lml_error"], identities_resolved=resolved, **numbers)
    values = {row[-1]["id"]: getattr(totals, total_of(row[1])) for row in rows if isinstance(row[0], str)}
    visible = [values[row[-1]["id"]] for row in rows if isinstance(row[0], str) and row[-1].get("visible", True)]
    (warmed,) = [worked_out(row[0]["expression"], values) for row in rows if isinstance(row[0], dict)]

    assert warmed == totals.warmed == 1
    assert sorted(visible) == sorted(numbers.values())


def total_of(metric):
    return re.sub(r"(?<!^)(?=[A-Z])", "_", metric).lower()


def test_the_dashboard_shows_every_queue():
    queues = {name for name, it in RESOURCES.items() if it["Type"] == "AWS::SQS::Queue"}
    shown = {words[1] for _, namespace, _, words in shown_metrics() if namespace == "AWS/SQS"}

    assert {name.removeprefix("<").partition(".")[0] for name in shown} <= queues
    assert {f"<{name}.QueueName>" for name in ("RefreshQueue", "DeadLetterQueue", "ParkedQueue")} <= shown


def test_the_dashboard_draws_the_alarms_own_expressions():
    expressions = {
        metric[0]["expression"]
        for widget in dashboard()["widgets"]
        for metric in widget["properties"].get("metrics", [])
        if isinstance(metric[0], dict)
    }
    of_alarms = {it["Expression"] for name in SHARES for it in ALARMS[name]["Metrics"] if "Expression" in it}

    assert of_alarms <= expressions


def test_widgets_do_not_overlap():
    cells = [
        (x, y)
        for widget in dashboard()["widgets"]
        for x in range(widget["x"], widget["x"] + widget["width"])
        for y in range(widget["y"], widget["y"] + widget["height"])
    ]
    assert len(cells) == len(set(cells))
    assert max(x for x, _ in cells) == 23
