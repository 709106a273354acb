"""A virtual week of daily walks: nobody starves, and nothing is asked for twice."""

import pytest

from bench.walks import LMLS, week


@pytest.mark.parametrize(("lml", "walks"), [(LMLS[0], 1), (LMLS[1], 4)], ids=lambda each: getattr(each, "what", ""))
def test_a_station_s_rows_are_warm_within_days_and_stay_so(lml, walks):
    it = week(310, lml)

    assert it.all_after == walks
    assert it.answered[walks - 1 :] == [310] * (8 - walks)
    assert (it.again, it.calls) == (0, 620)


@pytest.mark.long
def test_with_more_rows_than_a_walk_can_ask_for_each_has_its_turn():
    it = week(1_500, LMLS[0])

    assert it.all_after == 3
    assert it.answered == [600, 1_200, 1_500, 1_500, 1_500, 1_500, 1_500]
    assert it.again == 0
