"""LML that is dead, slow or wants another key, before a run and in its middle: what an operator reads then."""

import httpx
import pytest

GONE = {"times": None, "reset": "before"}
WRONG_KEY = {"times": None, "status": 403}


@pytest.fixture
def lml(operator):
    """Order what LML does from now on; all is well again afterwards."""
    url = operator.running.cloud.lml_url

    def order(*faults):
        httpx.post(f"{url}/_faults", json=list(faults)).raise_for_status()

    yield order
    httpx.post(f"{url}/_reset").raise_for_status()


@pytest.mark.parametrize(
    ("faults", "words"),
    [
        pytest.param(
            [{"path": "health", **GONE}],
            ["LML's health is not known: GET http://", "see that LML is up and well, then start the run again"],
            id="dead",
        ),
        pytest.param(
            [{"path": "health", "times": None, "delay": 100_000}],
            ["LML's health is not known: ", "no complete answer within", "see that LML is up and well"],
            id="slow",
        ),
        pytest.param(
            [{"path": "any", **WRONG_KEY}],
            ["answered 403: no JSON object: an empty body; check LML_API_KEY: LML does not accept this key"],
            id="all of it wants another key",
        ),
        pytest.param(
            [{"path": "probe", **WRONG_KEY}], ["LML does not accept this key: check LML_API_KEY"], id="another key"
        ),
        pytest.param(
            [{"path": "probe", **GONE}],
            ["its endpoint gave no answer: ", "see that LML is up and well"],
            id="half dead",
        ),
        pytest.param(
            [{"path": "health", "times": None, "status": 503, "body": '{"status": "unhealthy"}'}],
            ["LML is not healthy: GET /health answered 503", "see that LML is up and well"],
            id="ill",
        ),
    ],
)
def test_a_run_that_lml_keeps_from_starting_says_why_and_what_to_do(operator, lml, faults, words):
    lml(*faults)

    error = operator.data("run", "--ids", "5,6", "--wait", code=1)["error"]

    for shown in (error, operator.text("status")):
        assert [it for it in words if it not in shown] == []
    assert "`rotation logs --level error`" in error
    assert "is refused" in operator.text("status")


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        pytest.param({"path": "refresh", "skip": 1, **GONE}, "Server disconnected", id="dead"),
        pytest.param({"path": "refresh", "skip": 1, "times": None, "delay": 100_000}, "upstream request", id="slow"),
    ],
)
def test_lml_that_goes_away_in_the_middle_is_reported_while_it_goes_on_and_at_the_end(operator, lml, fault, reason):
    lml(fault)

    done = operator.rotation("run", "--ids", ",".join(map(str, range(100, 112))), "--wait")

    assert "LML fails" in done.stderr
    assert "LML has not answered well since 20" in done.stderr
    assert reason in done.stderr
    seen = operator.data("status")
    assert seen["lml_error"] > 0
    assert seen["identities_scanned"] + seen["not_attempted"] == seen["planned"] == 12
    assert any(reason in why for why in seen["failures"])
    assert f"{seen['lml_error']} failed: POST http://" in operator.text("status")


def test_a_key_that_is_refused_in_the_middle_ends_the_run_with_the_reason(operator, lml):
    lml({"path": "refresh", "skip": 1, **WRONG_KEY})

    done = operator.rotation("run", "--ids", ",".join(map(str, range(100, 112))), "--wait")

    assert done.exit_code == 1
    assert "check LML_API_KEY: LML does not accept this key" in done.stdout
    assert operator.data("status")["status"] == "stopped"
