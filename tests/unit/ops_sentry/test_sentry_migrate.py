"""`rotation sentry migrate`: who uses the old job's attributes, where each goes, and back again."""

import json

import pytest

from core import telemetry
from local.sentry_api import ApiFault
from ops.sentry import migrate

SUM = "sum(tags[backfill.releases_{},number])"
RATIO = "equation|sum(tags[backfill.releases_not_found,number]) / sum(tags[backfill.releases_scanned,number])"


@pytest.fixture
def old(there):
    """What people had made for the old job, in every place that Sentry has for it."""
    there.sentry.add(
        "dashboards",
        title="Backfill",
        widgets=[
            {
                "title": "Share",
                "queries": [{"fields": [RATIO], "conditions": "span.op:job.tally", "orderby": "-equation[0]"}],
            },
            {
                "title": "Artists",
                "queries": [
                    {"fields": ["sum(backfill.artists_ok)", "sum(backfill.artists_planned)"], "conditions": ""}
                ],
            },
        ],
    )
    there.sentry.add(
        "explore/saved",
        name="Scanned",
        query=[{"query": "span.description:rotation-artist-backfill.totals", "orderby": f"-{SUM.format('scanned')}"}],
    )
    there.sentry.add(
        "discover/saved", name="Errors", fields=["backfill.releases_error"], yAxis=["sum(backfill.releases_ok)"]
    )
    there.sentry.add(
        "alert-rules",
        name="Old alert",
        aggregate="sum(backfill.releases_error)",
        query="transaction:backfill",
        triggers=[],
    )
    there.sentry.add(
        "alert-rules",
        name="Nobody can move this",
        aggregate="equation|sum(backfill.artists_attempted) / sum(backfill.releases_ok)",
        query="",
        triggers=[],
    )
    return there


def find(there, collection, name):
    (found,) = [it for it in there.objects(collection) if name in {it.get("name"), it.get("title")}]
    return found


@pytest.mark.parametrize(
    ("text", "becomes"),
    [
        ("sum(backfill.releases_scanned)", "sum(backfill.identities_scanned)"),
        (RATIO, "equation|sum(tags[backfill.not_found,number]) / sum(tags[backfill.identities_scanned,number])"),
        ("has:backfill.releases_ok", "has:backfill.warmed_releases"),
        ("avg(backfill.artists_ok)", "avg(backfill.warmed_artists)"),
        ("backfill.releases_ok backfill.artists_planned", "backfill.releases_ok backfill.artists_planned"),
        ("backfill.releases_oknot", "backfill.releases_oknot"),
        ('span.description:"rotation-artist-backfill.totals"', "span.description:rotation-artist-backfill.run.totals"),
        ("span.op:job.tally", "span.op:rotation-artist-backfill.totals"),
        ("span.op:job.tallying", "span.op:job.tallying"),
        ("backfill.identities_scanned", "backfill.identities_scanned"),
    ],
)
def test_a_text_gets_its_new_names_and_keeps_them(text, becomes):
    assert migrate.rewrite(text)[0] == becomes
    assert migrate.rewrite(becomes)[0] == becomes


def test_a_query_that_only_looks_for_the_old_span_is_found_too(there):
    """It would find nothing any more, without a word."""
    there.sentry.add("explore/saved", name="Runs", query=[{"query": 'span.name:"rotation-artist-backfill.totals"'}])

    there.rotation("migrate", "--apply")

    assert find(there, "explore/saved", "Runs")["query"] == [{"query": "span.name:rotation-artist-backfill.run.totals"}]


def test_every_successor_is_written_by_this_job():
    assert set(migrate.SUCCESSORS.values()) <= {f"backfill.{name}" for name in telemetry.ACCOUNTS}
    assert not migrate.SUCCESSORS.keys() & migrate.NO_SUCCESSOR.keys()


def test_the_inventory_shows_who_uses_what_and_where_it_goes(old):
    before = old.everything()

    status, printed = old.rotation("migrate")

    assert status == 0
    assert [(it["in"], it["name"]) for it in printed["found"]] == [
        ("dashboards", "Backfill"),
        ("discover/saved", "Errors"),
        ("explore/saved", "Scanned"),
        ("alert-rules", "Old alert"),
        ("alert-rules", "Nobody can move this"),
    ]
    assert printed["found"][0]["by_hand"] == [
        "widgets[1].queries[0].fields[1]: backfill.artists_planned: artists are LML's affair now: nobody plans them"
    ]
    assert printed["found"][4]["rewritten"] == []
    assert (printed["applied"], old.everything()) == (False, before)


def test_apply_rewrites_and_leaves_the_rest_alone(old):
    status, printed = old.rotation("migrate", "--apply")

    share, artists = find(old, "dashboards", "Backfill")["widgets"]
    assert status == 0
    assert share["queries"][0]["fields"] == [migrate.rewrite(RATIO)[0]]
    assert share["queries"][0]["conditions"] == "span.op:rotation-artist-backfill.totals"
    assert artists["queries"][0]["fields"] == ["sum(backfill.warmed_artists)", "sum(backfill.artists_planned)"]
    assert find(old, "discover/saved", "Errors")["fields"] == ["backfill.lml_error"]
    assert "attempted" in find(old, "alert-rules", "Nobody can move this")["aggregate"]
    assert len(old.sentry.writes) == 4
    assert [it["name"] for it in old.rotation("migrate")[1]["found"]] == ["Backfill", "Nobody can move this"]
    assert printed["saved"]


def test_one_object_is_not_reported_as_several(there):
    there.sentry.add("discover/saved", name="Errors", fields=["backfill.releases_error"], query="")

    assert "rewritten: 1 object; " in there.people_see("migrate", "--apply")


def test_a_second_apply_does_nothing(old):
    old.rotation("migrate", "--apply")
    writes = len(old.sentry.writes)

    _, printed = old.rotation("migrate", "--apply")

    assert (len(old.sentry.writes), printed["applied"]) == (writes, False)


def test_undo_puts_everything_back_and_is_a_no_op_the_second_time(old):
    before = old.everything()
    _, printed = old.rotation("migrate", "--apply")
    assert old.everything() != before

    status, back = old.rotation("migrate", "--undo", printed["saved"])

    assert (status, len(back["put_back"])) == (0, 4)
    assert old.everything() == before
    assert old.rotation("migrate", "--undo", printed["saved"])[1] == {"put_back": []}


def test_undo_does_not_run_over_what_people_did_since(old):
    _, printed = old.rotation("migrate", "--apply")
    find(old, "discover/saved", "Errors")["fields"].append("count()")
    before = old.everything()

    status, refused = old.rotation("migrate", "--undo", printed["saved"])

    assert status == 1
    assert "changed since the migration; nothing was put back" in refused["error"]
    assert old.everything() == before


@pytest.mark.parametrize("status", [401, 403, 404, 429, 500])
@pytest.mark.parametrize("done", [False, True], ids=["not done", "done all the same"])
def test_a_failure_half_way_leaves_everything_as_it_was(old, status, done):
    key = find(old, "explore/saved", "Scanned")["id"]
    times = 4 if status == 429 else 1
    old.sentry.faults.append(
        ApiFault("PUT", f"saved/{key}/", status, times=times, headers={"Retry-After": "0"}, done=done)
    )
    before = old.everything()

    exit_status, printed = old.rotation("migrate", "--apply")

    assert exit_status == 1
    assert "everything is as it was before" in printed["error"]
    assert old.everything() == before


def test_what_was_there_is_saved_before_anything_is_written(old, tmp_path):
    seen = []
    old.sentry.before_write = lambda: seen.append([path.name for path in (tmp_path / ".local").iterdir()])

    _, printed = old.rotation("migrate", "--apply")

    assert len(seen[0]) == 1
    saved = json.loads((tmp_path / printed["saved"]).read_text())
    assert {it["name"] for it in saved} == {"Backfill", "Errors", "Scanned", "Old alert"}


def test_without_a_place_for_the_file_nothing_is_written(old, tmp_path):
    (tmp_path / ".local").write_text("in the way")

    status, printed = old.rotation("migrate", "--apply")

    assert status == 1
    assert "nothing was changed in Sentry" in printed["error"]
    assert old.sentry.writes == []


def test_nobody_uses_the_old_names(there):
    assert "nothing uses the old attributes" in there.people_see("migrate")


@pytest.mark.parametrize(
    "text",
    ["", "[", "{}", '[{"path": "alert-rules"}]', '[{"path": "alert-rules", "name": "x", "before": {}, "after": {}}]'],
)
def test_a_file_that_no_migration_saved_is_refused(there, tmp_path, text):
    (tmp_path / "file").write_text(text)

    status, printed = there.rotation("migrate", "--undo", str(tmp_path / "file"))

    assert status == 1
    assert "no file of a migration, and nothing was put back" in printed["error"]
