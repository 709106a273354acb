"""The demo's audit: silent about sound accounts, and it names whatever does not agree."""

from dataclasses import replace

import pytest
from msgspec.structs import replace as changed

from core.runs.ledger import Message, Run
from core.runs.totals import REPORTED_TOTALS, SUMMARY_TOTALS, Totals
from core.telemetry import metric_of
from local.sentry import Attribute, Span
from ops.audit import Asked, Evidence, audit

TOTALS = Totals(
    identities_scanned=3,
    identities_resolved=3,
    warmed_releases=2,
    warmed_artists=5,
    not_found=1,
    lml_requests=3,
)


def a_run(**changes):
    run = Run(
        run_id="scheduled-2026-02-03",
        status="complete",
        trigger="scheduled",
        started_at="2026-02-03T04:30:00Z",
        deadline=0,
        planner="request",
        planned=3,
        messages_planned=1,
        messages_done=1,
        totals=TOTALS,
    )
    return changed(run, **changes)


def a_totals_span(**values):
    reported = {name: getattr(TOTALS, name) for name in SUMMARY_TOTALS} | values
    return Span(
        name="rotation-artist-backfill.run.totals",
        trace_id="1" * 32,
        span_id="2" * 16,
        start_timestamp=0.0,
        wire={f"backfill.{name}": Attribute(value, "integer") for name, value in reported.items()},
    )


def a_metrics_line():
    return {metric_of(name): [getattr(TOTALS, name)] for name in SUMMARY_TOTALS}


def sound_evidence():
    return Evidence(
        database_ids=[1, 2, 3],
        messages=[Message(run_id="r", number=0, planned=(1, 2, 3), next_part=1, sent_part=0, left=None)],
        asked=Asked(last_status={1: "warmed", 2: "warmed", 3: "not_found"}, requests=3, at_once=2, discogs_calls=0),
        expected={name: getattr(TOTALS, name) for name in REPORTED_TOTALS} | {"discogs_calls": 0},
        concurrency=2,
        spans=[a_totals_span()],
        check_ins=[{"status": "in_progress"}, {"status": "ok"}],
        metrics=[{"message": "a log line"}, a_metrics_line()],
        waiting={"RefreshQueue": 0},
    )


def broken(run, evidence):
    return [finding.what for finding in audit(run, evidence) if not finding.holds]


def test_nothing_is_found_in_sound_accounts():
    assert broken(a_run(), sound_evidence()) == []


def test_an_lml_whose_log_cannot_be_read_is_left_out():
    assert broken(a_run(), replace(sound_evidence(), asked=None, expected=None)) == []


@pytest.mark.parametrize(
    ("run", "evidence", "named"),
    [
        pytest.param(a_run(status="stopped"), {}, "the run is complete", id="stopped"),
        pytest.param(a_run(planned=4), {}, "planned = scanned + not attempted", id="an id lost"),
        pytest.param(
            a_run(totals=changed(TOTALS, lml_error=1)), {}, "scanned = resolved + lml_error", id="counted twice"
        ),
        pytest.param(a_run(), {"database_ids": [1, 2]}, "every active identity of the database", id="an id too many"),
        pytest.param(
            a_run(),
            {"asked": replace(sound_evidence().asked, last_status={1: "warmed", 2: "warmed"})},
            "LML was asked for every planned id",
            id="not asked",
        ),
        pytest.param(
            a_run(),
            {"asked": replace(sound_evidence().asked, at_once=3)},
            "LML never saw more than 2",
            id="three at once",
        ),
        pytest.param(
            a_run(), {"spans": [a_totals_span(), a_totals_span()]}, "Sentry received the totals once", id="two spans"
        ),
        pytest.param(
            a_run(), {"spans": [a_totals_span(not_found=0)]}, "Sentry received the totals once", id="other number"
        ),
        pytest.param(
            a_run(), {"check_ins": [{"status": "in_progress"}]}, "its check-in opened and closed", id="check-in"
        ),
        pytest.param(a_run(), {"metrics": []}, "CloudWatch received the totals once", id="no metrics"),
        pytest.param(a_run(), {"waiting": {"ParkedQueue": 1}}, "no message is left", id="a message left"),
    ],
)
def test_what_does_not_agree_is_named(run, evidence, named):
    assert any(what.startswith(named) for what in broken(run, replace(sound_evidence(), **evidence)))
