"""The table of docs/design/counting.md, row by row, and whatever else LML may answer."""

import ast
import json
from pathlib import Path
from typing import get_args

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from core.lml import answer as answer_module
from core.lml.answer import read_answer
from core.runs.totals import REPORTED_TOTALS, TOTALS, UNWARMED, LmlStatus, Totals, errors

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.just("\ud800"),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=10,
)
OUTCOMES = st.sampled_from(["success", "error", "not_implemented", "tomorrow's", None]) | JSON
ARTISTS = st.none() | st.lists(st.none() | st.fixed_dictionaries({}, optional={"outcome": OUTCOMES}) | JSON)
SOURCE = st.none() | JSON | st.fixed_dictionaries({}, optional={"release_outcome": OUTCOMES, "artists": ARTISTS | JSON})
STATUSES = st.sampled_from([*get_args(LmlStatus), "error", "tomorrow's"]) | JSON
RESULT = JSON | st.fixed_dictionaries(
    {},
    optional={
        "identity_id": st.integers(0, 6) | JSON,
        "status": STATUSES,
        "sources": JSON | st.dictionaries(st.text(), SOURCE),
        "message": JSON,
    },
)
ANSWERS = JSON | st.fixed_dictionaries({}, optional={"results": JSON | st.lists(RESULT)})


def source(release="success", *artists):
    artist_results = [
        {"external_id": str(at), "outcome": outcome, "message": None} for at, outcome in enumerate(artists)
    ]
    return {"release_outcome": release, "artists": artist_results, "message": None}


COSTLY = {"discogs_release": source("success", "success", "error")}


def result(status, sources=None, *, identity=7, message=None):
    return {"identity_id": identity, "status": status, "sources": sources, "message": message}


def read(*results, asked=(7,)):
    return read_answer(asked, {"results": list(results)})


def counted(reading):
    """What the verdicts add up to, without the zeros."""
    totals = sum((verdict.totals for verdict in reading.verdicts.values()), Totals())
    return {name: count for name, count in msgspec.structs.asdict(totals).items() if count}


RESOLVED = {"identities_scanned": 1, "identities_resolved": 1}


@pytest.mark.parametrize(
    ("answer", "counts"),
    [
        pytest.param(
            result("warmed", {"discogs_release": source()}),
            {"warmed_releases": 1, "warmed_without_artists": 1},
            id="warmed release",
        ),
        pytest.param(
            result("warmed", {"discogs_release": source(), "bandcamp": source()}),
            {"warmed_releases": 2, "warmed_without_artists": 2},
            id="warmed release per source",
        ),
        pytest.param(
            result("warmed", {"discogs_release": source("success", "success", "success")}),
            {"warmed_releases": 1, "warmed_artists": 2},
            id="warmed artist per artist",
        ),
        pytest.param(
            result("warmed", {"discogs_release": source(), "bandcamp": source("error", "success")}),
            {"warmed_releases": 1, "warmed_artists": 1, "warmed_without_artists": 1},
            id="warmed artist under any source",
        ),
        pytest.param(
            result("warmed", {"discogs_release": source("success", "error", "not_implemented", "tomorrow's", None)}),
            {"warmed_releases": 1, "artist_errors": 4},
            id="other artist outcomes are artist errors",
        ),
        pytest.param(result("warmed", {"discogs_release": source("not_implemented")}), {}, id="idle source"),
        pytest.param(result("warmed", {"discogs_release": None}), {}, id="null source"),
        pytest.param(result("warmed", None), {}, id="null sources"),
        pytest.param(
            result("warmed", {"discogs_release": {"release_outcome": "success", "artists": None}}),
            {"warmed_releases": 1, "warmed_without_artists": 1},
            id="null artists",
        ),
        pytest.param(
            result("warmed", {"discogs_release": {"artists": [None, {"outcome": "success"}]}}),
            {"warmed_artists": 1},
            id="null artist",
        ),
        pytest.param(result("not_found"), {"not_found": 1}, id="not found"),
        pytest.param(
            result("not_found", {"discogs_release": source("success", "success")}),
            {"not_found": 1},
            id="not found warms nothing",
        ),
        pytest.param(result("not_implemented"), {"not_implemented": 1}, id="not implemented"),
        pytest.param(
            result("not_implemented", COSTLY),
            {"not_implemented": 1},
            id="not implemented: what a source warmed is not counted",
        ),
    ],
)
def test_a_verdict_counts_as_the_table_says(answer, counts):
    reading = read(answer)

    assert counted(reading) == RESOLVED | counts
    assert not reading.failed
    assert reading.malformed is None
    assert not reading.unknown_statuses
    assert not reading.ignored


SHED = {"outcome": "error", "message": "DiscogsBreakerOpenError"}


BELOW = {"discogs_release": source("error") | SHED}


@pytest.mark.parametrize(
    ("answer", "failed", "outcomes"),
    [
        pytest.param(result("error", message="DiscogsBreakerOpenError"), {7}, 0, id="the result"),
        pytest.param(result("error", BELOW), {7}, 0, id="its source"),
        pytest.param(result("not_implemented", BELOW), {7}, 0, id="its source, beside one that is not wired"),
        pytest.param(result("not_found", BELOW), set(), 0, id="its source, whatever the status"),
        pytest.param(
            result("warmed", {"discogs_release": source("success") | {"artists": [SHED, None]}}), set(), 1, id="artist"
        ),
    ],
)
def test_what_lmls_breaker_turned_away_is_reported_wherever_lml_says_so_and_costs_no_call(answer, failed, outcomes):
    reading = read(answer)

    assert (reading.shed, set(reading.failed), reading.outcomes) == ({7}, failed, outcomes)


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param(result("error", message="DiscogsRateLimitedError"), id="another reason"),
        pytest.param(result("error", {"discogs_release": None}), id="no reason"),
        pytest.param(result("not_implemented", {"discogs_release": source("error")}), id="behind a source not wired"),
    ],
)
def test_another_failure_is_no_shed(answer):
    reading = read(answer)

    assert (reading.shed, set(reading.failed)) == (set(), {7})


def test_another_source_that_failed_beside_one_that_is_not_wired_stays_not_implemented():
    reading = read(result("not_implemented", {"spotify_album": source("error")}))

    assert reading.verdicts[7].status == "not_implemented"


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        pytest.param([result("error")], "error", id="error"),
        pytest.param(
            [result("error", message="DiscogsBreakerOpenError")], "error: DiscogsBreakerOpenError", id="error, with why"
        ),
        pytest.param(
            [result("error", {"discogs_release": source("error") | {"message": "DiscogsBreakerOpenError"}})],
            "error: DiscogsBreakerOpenError",
            id="error, with why at its source",
        ),
        pytest.param([result("error", message=17)], "error", id="error, with what is no text"),
        pytest.param(
            [result("error", message="x\ud800\n" + "y" * 200)], "error: x  " + "y" * 110, id="error, not fit to print"
        ),
        pytest.param([result("archived")], "archived", id="unknown status"),
        pytest.param([result(None)], "NoneType", id="null status"),
        pytest.param([{"identity_id": 7}], "NoneType", id="no status"),
        pytest.param([], "no result", id="no result"),
        pytest.param([result("warmed", identity="7")], "no result", id="id as text"),
        pytest.param([result("warmed", identity=7.0)], "no result", id="id as float"),
    ],
)
def test_without_a_verdict_an_id_is_tried_again_and_told_why(answer, reason):
    reading = read(*answer)

    assert reading.failed == {7: reason}
    assert not reading.verdicts
    assert reading.malformed is None, "the answer itself is sound"


def test_an_id_that_failed_for_good_is_scanned_and_an_error():
    assert errors(1) == Totals(identities_scanned=1, lml_error=1)


def test_a_status_never_seen_before_is_named_once_for_a_warning():
    reading = read(*(result("archived", identity=identity) for identity in (1, 2, 3)), asked=[1, 2, 3])

    assert reading.unknown_statuses == {"archived"}
    assert set(reading.failed) == {1, 2, 3}


def test_known_statuses_call_for_no_warning():
    reading = read(*(result(status) for status in ("warmed", "not_found", "not_implemented", "error")))

    assert not reading.unknown_statuses


@pytest.mark.parametrize(
    "extra",
    [
        pytest.param(result("warmed", COSTLY, identity=8), id="not asked for"),
        pytest.param(result("warmed", COSTLY), id="twice"),
        pytest.param(result("not_implemented", identity=None), id="without an id"),
        pytest.param(result("archived", identity=True), id="a boolean for an id"),
    ],
)
def test_a_result_that_is_nobodys_is_ignored_and_counted_for_a_warning(extra):
    reading = read(result("not_found"), extra)

    assert counted(reading) == RESOLVED | {"not_found": 1}
    assert reading.ignored == 1
    assert reading.outcomes == 0
    assert not reading.unknown_statuses


@pytest.mark.parametrize(
    "body",
    [None, [], "warmed", 17, {}, {"results": None}, {"results": {"7": "warmed"}}, {"detail": "moved"}],
    ids=repr,
)
def test_a_body_without_a_list_of_results_is_a_failed_request(body):
    reading = read_answer([7, 8], body)

    assert reading.malformed == "the body has no list of results"
    assert reading.failed == dict.fromkeys([7, 8], "the body has no list of results")


@pytest.mark.parametrize("item", [None, "warmed", 7, []], ids=repr)
def test_an_item_that_is_no_object_fails_only_the_ids_without_a_verdict(item):
    reading = read(result("warmed"), item, asked=[7, 8])

    assert list(reading.verdicts) == [7]
    assert reading.failed == {8: "a result is no object"}
    assert reading.malformed == "a result is no object"


def test_an_item_that_is_no_object_harms_nobody_when_all_have_a_verdict():
    assert read(None, result("warmed")).malformed is None


@pytest.mark.parametrize(
    ("answer", "outcomes"),
    [
        pytest.param(result("warmed", COSTLY), 3, id="release and artists"),
        pytest.param(result("warmed", {"discogs_release": source("not_implemented", "not_implemented")}), 0, id="idle"),
        pytest.param(result("error", {"discogs_release": source("error", "success")}), 2, id="failed, and yet it cost"),
        pytest.param(result("warmed", {"discogs_release": {"artists": [{"outcome": "success"}]}}), 1, id="no release"),
        pytest.param(result("not_implemented", {"discogs_release": source()}), 0, id="not implemented"),
        pytest.param(result("not_found"), 0, id="not found"),
    ],
)
def test_outcomes_are_the_most_calls_that_an_answer_can_have_cost(answer, outcomes):
    assert read(answer).outcomes == outcomes


def test_the_seven_totals_have_the_names_that_alert_rules_know():
    assert REPORTED_TOTALS == (
        "identities_scanned",
        "identities_resolved",
        "warmed_releases",
        "warmed_artists",
        "not_found",
        "not_implemented",
        "lml_error",
    )
    assert set(REPORTED_TOTALS) < set(TOTALS)


def test_no_verdict_is_given_that_the_totals_do_not_know():
    tree = ast.parse(Path(answer_module.__file__).read_text(encoding="utf-8"))
    given = {
        call.args[0].value
        for call in ast.walk(tree)
        if isinstance(call, ast.Call) and isinstance(call.func, ast.Name) and call.func.id == "Verdict"
        if isinstance(call.args[0], ast.Constant)
    }

    assert given <= set(get_args(LmlStatus))


@pytest.mark.parametrize("status", UNWARMED)
def test_a_verdict_that_warmed_nothing_is_a_reported_total_of_its_own(status):
    """LML's answer, read whole: a verdict without a total would be counted as warmed, and nobody would see it."""
    reading = read(result(status))
    totals = reading.verdicts[7].totals

    assert status in REPORTED_TOTALS
    assert counted(reading) == RESOLVED | {status: 1}
    assert (totals.warmed, totals.unwarmed) == (0, 1)


@given(st.lists(st.integers(0, 1000), min_size=2 * len(TOTALS), max_size=2 * len(TOTALS)))
def test_totals_add_up_field_by_field(counts):
    one, other = counts[: len(TOTALS)], counts[len(TOTALS) :]

    added = Totals(**dict(zip(TOTALS, one, strict=True))) + Totals(**dict(zip(TOTALS, other, strict=True)))

    assert list(msgspec.structs.astuple(added)) == [a + b for a, b in zip(one, other, strict=True)]


@given(asked=st.lists(st.integers(1, 5), unique=True, min_size=1), body=ANSWERS)
@example(asked=[1], body={"results": [{"identity_id": 1, "status": "\ud800", "message": "\ud800"}]})
def test_any_answer_leaves_exact_accounts(asked, body):
    """Every asked id has a verdict or has failed, never both; scanned == resolved + lml_error whatever LML says."""
    reading = read_answer(asked, body)

    assert reading.verdicts.keys() | reading.failed.keys() == set(asked)
    assert not reading.verdicts.keys() & reading.failed.keys()
    totals = errors(len(reading.failed))
    totals = sum((verdict.totals for verdict in reading.verdicts.values()), totals)
    assert totals.identities_scanned == len(asked)
    assert totals.balanced
    assert reading.outcomes >= totals.warmed_releases + totals.warmed_artists
    assert reading.malformed is None or reading.failed
    json.dumps(reading.failed).encode()
    assert all(len(reason) <= 120 for reason in reading.failed.values())
    assert msgspec.json.encode(reading), "the ledger and the log can hold what it says"
