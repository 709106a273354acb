"""Why the gate let a run start, or did not, can be found afterwards: in the ledger, in the log, in Sentry."""

import httpx
import pytest

from local import sentry
from ops.runs import invoke
from ops.target import OperatorError, local_target
from tests.eventually import eventually

ALLOWED = "LML runs the gate commit 8a1344c; its refresh endpoint is there (answered 422 to an empty list)"
REFUSED = "LML is not healthy: GET /health answered 503; see that LML is up and well, then start the run again"
BOTH = pytest.mark.parametrize("started", [ALLOWED, REFUSED], ids=["allowed", "refused"], indirect=True)


@pytest.fixture
def started(running_cloud, request):
    """A run of one id that met the gate: its run id, and what the gate said of it."""
    target = local_target(running_cloud)
    if request.param == REFUSED:
        fault = [{"path": "health", "status": 503, "body": "{}"}]
        httpx.post(f"{running_cloud.lml_url}/_faults", json=fault).raise_for_status()
        before = set(target.runs_begun())
        with pytest.raises(OperatorError, match="answered 503"):
            invoke(target, {"identity_ids": [5]})
        ((_, run_id),) = set(target.runs_begun()) - before  # not the newest: two may have begun in its second
        return run_id, request.param
    run_id = str(invoke(target, {"identity_ids": [5]})["run_id"])
    eventually(lambda: (run := target.ledger.runs.read(run_id)) and run.emitted_at)
    return run_id, request.param


@BOTH
def test_the_log_has_the_gate_s_word(running_cloud, started):
    run_id, reason = started

    def logged():
        lines = running_cloud.logs("FanOutFunction")
        return [it for it in lines if it.get("run_id") == run_id and it.get("step") == "deploy_guard"]

    (line,) = eventually(logged)
    assert (line["message"], line["allowed"]) == (reason, reason == ALLOWED)


@BOTH
def test_the_run_has_the_gate_s_word(running_cloud, started):
    run_id, reason = started

    run = local_target(running_cloud).ledger.runs.read(run_id)

    assert (run.status == "refused") is (reason == REFUSED)
    assert run.gate_reason == reason


@BOTH
def test_a_span_of_the_run_has_the_gate_s_word(running_cloud, started):
    run_id, reason = started

    def found():
        spans = sentry.spans(sentry.decode(httpx.get(f"{running_cloud.sentry_url}/_envelopes").content))
        run = [it for it in spans if it.name.endswith(".run") and it.attributes.get("backfill.run_id") == run_id]
        return run and [it for it in spans if it.trace_id == run[0].trace_id]

    assert any(reason in map(str, span.attributes.values()) for span in eventually(found))
