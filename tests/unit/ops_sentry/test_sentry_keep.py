"""`rotation sentry plan` and `apply`: Sentry as the files say, all of it or nothing."""

import pytest

from core import telemetry
from core.runs.totals import ACCOUNTS
from core.schedule import Schedule
from local.sentry_api import ORGANIZATION, PROJECT_ID, TOKEN, ApiFault
from ops.sentry import changes, keep
from ops.sentry.api import Api, SentryError

SCHEDULE = Schedule("15 6 * * *", "America/New_York")
WORDS = {"$project": "backend", "$project_id": PROJECT_ID, "$environment": "production"} | keep.of_schedule(SCHEDULE)
OURS = [("alert-rules", "name"), ("monitors", "slug"), ("dashboards", "title")]


def ours(there):
    wanted = {path: keep.wanted(path, WORDS)[name] for path, name in OURS}
    return {path: [it for it in there.objects(path) if it.get(name) == wanted[path]] for path, name in OURS}


# The files


def test_the_rule_looks_at_scheduled_runs_that_are_no_dry_ones():
    rule = keep.wanted("alert-rules", WORDS)

    # As a number: Sentry shows this as backfill.dry_run:0, and would take it for a text without its type.
    assert rule["query"].replace("tags[backfill.dry_run,number]", "backfill.dry_run").split() == [
        "span.op:rotation-artist-backfill.totals",
        "backfill.dry_run:0",
        "backfill.trigger:scheduled",
    ]
    assert rule["aggregate"] == "max(tags[backfill.not_found_percent,number])"
    assert (rule["timeWindow"], rule["triggers"]) == (24 * 60, [{"label": "critical", "alertThreshold": 1}])
    assert rule["environment"] == "production"


def test_the_monitor_is_the_one_that_check_ins_bring():
    config = keep.wanted("monitors", WORDS)["config"]

    assert {"type": config["schedule_type"], "value": config["schedule"]} == SCHEDULE.monitor["schedule"]
    for name in ("timezone", "checkin_margin", "max_runtime"):
        assert config[name] == SCHEDULE.monitor[name]
    assert keep.wanted("monitors", WORDS)["slug"] == telemetry.TOOL


def test_widgets_ask_for_attributes_that_are_written():
    accounts = {f"backfill.{name}" for name in ACCOUNTS}
    known = accounts | {"backfill.not_found_percent", "backfill.dry_run", "backfill.trigger"}
    used = set()
    for widget in keep.wanted("dashboards", WORDS)["widgets"]:
        for query in widget["queries"]:
            assert set(query["aggregates"]) | set(query["columns"]) == set(query["fields"])
            text = " ".join([query["conditions"], *query["fields"]])
            used |= {
                word.partition(",")[0]
                for word in text.replace("[", " ").replace(":", " ").split()
                if "backfill." in word
            }
    used -= {"rotation-artist-backfill.totals"}

    assert len(used) >= 7
    assert used <= known


# What the commands do


def test_plan_shows_what_is_missing_and_writes_nothing(there):
    before = there.everything()

    status, printed = there.rotation("plan")

    assert status == 2
    assert [it["in"] for it in printed["changes"]] == ["alert-rules", "monitors", "dashboards"]
    assert {line for it in printed["changes"] for line in it["differences"]} == {"is not there"}
    assert there.everything() == before
    assert there.sentry.writes == []


def test_plan_exits_with_2_until_nothing_differs(there):
    there.rotation("apply")

    assert there.rotation("plan") == (0, {"changes": []})


def test_apply_asks_before_it_writes_and_refuses_where_nobody_can_be_asked(there):
    words = there.people_see("apply")

    assert "Write 3 objects to Sentry?" in words
    assert "--yes" in words
    assert there.sentry.writes == []


def test_plan_says_that_the_rule_goes_by_no_ratio(there):
    _, printed = there.rotation("plan")

    assert [len(it["notes"]) for it in printed["changes"]] == [1, 0, 0]
    assert "no ratio of two sums: this goes by backfill.not_found_percent" in there.people_see("plan")


def test_a_plan_is_read_by_people(there):
    """A widget is a page of JSON; the file of `plan -o` has it whole."""
    there.sentry.add("dashboards", title="rotation-artist-backfill", widgets=[])

    _, printed = there.rotation("plan")

    assert max(len(line) for it in printed["changes"] for line in it["differences"]) < 400


def test_apply_sets_it_right_and_is_a_no_op_the_second_time(there):
    first, _ = there.rotation("apply")
    after, writes = there.everything(), len(there.sentry.writes)
    second, printed = there.rotation("apply")

    assert (first, second) == (0, 0)
    assert {path: len(found) for path, found in ours(there).items()} == dict.fromkeys(dict(OURS), 1)
    assert printed == {"changes": []}
    assert there.everything() == after
    assert len(there.sentry.writes) == writes == 3
    assert "nothing to do" in there.people_see("plan")


def test_what_somebody_changed_is_shown_and_set_right_and_the_rest_is_kept(there):
    """Above all who is told: actions are set in Sentry, not in the file."""
    there.rotation("apply")
    (rule,) = ours(there)["alert-rules"]
    rule["timeWindow"] = 60
    rule["triggers"][0]["actions"] = [{"type": "email", "targetIdentifier": "7"}]
    rule["owner"] = "team:7"
    (monitor,) = ours(there)["monitors"]
    monitor["config"]["max_runtime"] = 30

    _, printed = there.rotation("plan")
    there.rotation("apply")

    assert [it["differences"] for it in printed["changes"]] == [
        ["timeWindow: 60 becomes 1440"],
        ["config.max_runtime: 30 becomes 180"],
    ]
    (rule,) = ours(there)["alert-rules"]
    assert (rule["timeWindow"], rule["owner"]) == (1440, "team:7")
    assert rule["triggers"][0]["actions"] == [{"type": "email", "targetIdentifier": "7"}]
    assert there.rotation("plan")[1] == {"changes": []}


def test_two_objects_of_one_name_are_for_a_person(there):
    for _ in range(2):
        there.sentry.add("dashboards", title="rotation-artist-backfill", widgets=[])

    status, printed = there.rotation("apply")

    assert status == 1
    assert "2 dashboards are called" in printed["error"]
    assert there.sentry.writes == []


# What can go wrong


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        (ApiFault("GET", "alert-rules/", 403, times=9), "scopes org:read"),
        (ApiFault("GET", "monitors/", 404, times=9), "no such organization, project or object"),
        (ApiFault("GET", "dashboards/", 429, times=9, headers={"Retry-After": "0"}), "too many requests"),
        (ApiFault("GET", "dashboards/", 429, headers={"Retry-After": "3600"}), "too many requests"),
    ],
    ids=["403", "404", "429", "429 for an hour"],
)
def test_a_refusal_while_reading_changes_nothing_and_is_shown(there, fault, reason):
    there.sentry.faults.append(fault)
    before = there.everything()

    status, printed = there.rotation("apply")

    assert status == 1
    assert reason in printed["error"]
    assert str(fault.status) in printed["error"]
    assert there.everything() == before


def test_a_bad_token_is_named_and_never_shown(there):
    status, printed = there.rotation("apply", token="wrong-token-1234")

    assert status == 1
    assert "SENTRY_AUTH_TOKEN" in printed["error"]
    assert "wrong-token" not in printed["error"]


def test_an_unknown_organization_is_reported(there):
    status, printed = there.rotation("plan", org="nowhere")

    assert (status, "no such organization" in printed["error"]) == (1, True)


@pytest.mark.parametrize("status", [400, 401, 403, 404, 429, 500])
@pytest.mark.parametrize("path", ["alert-rules/", "monitors/", "dashboards/"])
@pytest.mark.parametrize("done", [False, True], ids=["not done", "done all the same"])
def test_a_write_that_fails_leaves_everything_as_it_was(there, status, path, done):
    """Wherever it happens, and also if it had done its work before it failed."""
    times = 4 if status == 429 else 1  # that often it is tried
    there.sentry.faults.append(ApiFault("POST", path, status, times=times, headers={"Retry-After": "0"}, done=done))
    before = there.everything()

    exit_status, printed = there.rotation("apply")

    assert exit_status == 1
    assert str(status) in printed["error"]
    assert "everything is as it was before" in printed["error"]
    assert there.everything() == before


def test_an_update_that_fails_half_way_is_taken_back(there):
    there.rotation("apply")
    for found in ours(there).values():
        found[0]["name" if "slug" in found[0] else "environment"] = "changed"
    before = there.everything()
    key = ours(there)["dashboards"][0]["id"]
    there.sentry.faults.append(ApiFault("PUT", f"dashboards/{key}/", 500))

    status, printed = there.rotation("apply")

    assert status == 1
    assert "everything is as it was before" in printed["error"]
    assert there.everything() == before


def test_an_apply_that_somebody_interrupts_is_taken_back(there):
    there.sentry.faults.append(ApiFault("POST", "dashboards/", 429))
    before = there.everything()

    def interrupted(_seconds):
        raise KeyboardInterrupt

    with Api(there.url, ORGANIZATION, TOKEN, interrupted) as api:
        wanted = [change for change, _ in keep.plan(api, "backend", "production", keep.template_schedule())]
        with pytest.raises(SentryError, match="interrupted\neverything is as it was before"):
            changes.make(api, wanted)

    assert there.everything() == before


def test_what_cannot_be_taken_back_is_named(there):
    there.sentry.faults += [ApiFault("POST", "monitors/", 500), ApiFault("DELETE", "/", 500, times=9)]

    status, printed = there.rotation("apply")

    assert status == 1
    assert "NOT put back: alert-rules 'rotation-artist-backfill: stale handles'" in printed["error"]


def test_a_change_between_reading_and_writing_stops_it(there):
    there.rotation("apply")
    (rule,) = ours(there)["alert-rules"]
    rule["timeWindow"] = 60
    with there.api([]) as api:
        ((change, _),) = keep.plan(api, "backend", "production", keep.template_schedule())
        rule["query"] = "somebody's own"
        with pytest.raises(SentryError, match="changed meanwhile; nothing was written"):
            changes.make(api, [change])

    assert ours(there)["alert-rules"][0]["query"] == "somebody's own"


def test_a_plan_that_was_agreed_on_is_the_only_one_that_is_applied(there, tmp_path):
    there.rotation("plan", "-o", str(tmp_path / "plan.json"))
    there.sentry.add("dashboards", title="rotation-artist-backfill", widgets=[])

    status, printed = there.rotation("apply", "--plan", str(tmp_path / "plan.json"))

    assert status == 1
    assert "nothing was written" in printed["error"]
    assert there.sentry.writes == []


def test_an_agreed_plan_that_still_holds_is_applied(there, tmp_path):
    there.rotation("plan", "-o", str(tmp_path / "plan.json"))

    status, _ = there.rotation("apply", "--plan", str(tmp_path / "plan.json"))

    assert status == 0
    assert len(there.sentry.writes) == 3


def test_a_file_that_is_no_plan_is_said_to_be_none(there, tmp_path):
    (tmp_path / "README.md").write_text("# a project")

    status, printed = there.rotation("apply", "--plan", str(tmp_path / "README.md"))

    assert status == 1
    assert "README.md is no plan: `rotation sentry plan -o" in printed["error"]
    assert there.sentry.writes == []


def test_reading_is_tried_again_after_a_while(there):
    waits = []
    there.sentry.faults += [
        ApiFault("GET", "alert-rules/", 429, headers={"Retry-After": "7"}),
        ApiFault("GET", "alert-rules/", 502),
    ]

    with there.api(waits) as api:
        found = list(api.all("alert-rules"))

    assert [it["name"] for it in found] == ["other 0", "other 1", "other 2"]
    assert waits == [7.0, 4.0]


def test_a_write_is_not_repeated_after_a_500(there):
    """It may have been done."""
    there.sentry.faults.append(ApiFault("POST", "monitors/", 500))

    with there.api([]) as api, pytest.raises(SentryError, match="an error on its side"):
        api.create("monitors", {"slug": "x"})

    assert there.sentry.writes == [("POST", "monitors/")]


def test_the_token_goes_over_https_only(there):
    there.url = "http://sentry.example"

    status, printed = there.rotation("plan")

    assert (status, "is not https" in printed["error"]) == (1, True)


def test_a_sentry_that_is_not_there_is_reported(there):
    there.url = "http://127.0.0.1:9"

    status, printed = there.rotation("plan")

    assert (status, "no answer" in printed["error"]) == (1, True)
