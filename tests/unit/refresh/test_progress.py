"""What is noted of a part after each request: verdicts and no attempts, and what went wrong last."""

from contextlib import suppress

import pytest

from core.lml.client import Answer, LmlError
from core.refresh.progress import ObservedLml
from core.runs.ledger import Progress
from core.runs.totals import Totals
from tests.virtual import VirtualClock


class Script:
    """An LML that answers as it is told."""

    def __init__(self, *answers):
        self.answers = list(answers)

    def refresh(self, _, *, limit):
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return Answer(answer, limit)


def verdict(identity, status="not_found", **more):
    return {"identity_id": identity, "status": status, **more}


def noted(*answers, ids):
    seen = []
    lml = ObservedLml(Script(*answers), VirtualClock(), seen.append)
    for asked in ids:
        with suppress(LmlError):
            lml.refresh(asked, limit=1.0)
    return lml, seen


REFUSED = LmlError(request="POST refresh", kind="retryable_error", cause="connection", elapsed=0.0, detail="refused")


def test_a_dead_lml_comes_to_no_verdict_and_its_word_is_noted():
    _, seen = noted(REFUSED, REFUSED, ids=[[1], [2]])

    assert [it.totals for it in seen] == [Totals(), Totals()]
    assert (seen[-1].error, seen[-1].answered_at) == ("POST refresh: refused", None)


def test_an_identity_counts_once_however_often_it_was_asked():
    one = {"results": [verdict(1)]}
    _, seen = noted(one, one, {"results": [verdict(2)]}, ids=[[1], [1], [2]])

    assert [it.totals.identities_scanned for it in seen] == [1, 1, 2]
    assert seen[-1].answered_at is not None
    assert seen[-1].error is None


def test_an_id_that_failed_is_asked_again_and_is_no_verdict():
    _, seen = noted({"results": [verdict(1, "error", message="out of luck")]}, ids=[[1]])

    assert seen[-1].totals.identities_scanned == 0
    assert "out of luck" in seen[-1].error


def test_an_answer_takes_the_last_error_away():
    _, seen = noted(REFUSED, {"results": [verdict(1)]}, ids=[[1], [1]])
    assert [it.error is None for it in seen] == [False, True]


def test_what_the_run_s_totals_hold_is_not_counted_here_too():
    lml, seen = noted({"results": [verdict(1)]}, ids=[[1]])

    lml.hand_over()

    assert seen[-1].totals == Totals()
    assert seen[-1].answered_at == seen[0].answered_at


def test_nothing_is_noted_of_a_part_that_asked_nothing():
    lml, seen = noted(ids=[])
    lml.hand_over()
    assert seen == []


@pytest.mark.parametrize("body", [None, [], {"results": None}, {"results": [5]}])
def test_a_body_of_another_form_is_an_error_and_no_verdict(body):
    _, seen = noted(body, ids=[[1]])
    assert seen[-1].totals.identities_scanned == 0
    assert seen[-1].error
    assert isinstance(seen[-1], Progress)
