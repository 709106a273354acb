import pytest

from core.environment import SettingsError
from core.picker import config

GIVEN = {
    "LIBRARY_METADATA_URL": "https://lml.example",
    "LML_API_KEY": "key",
    "DB_HOST": "db.example",
    "DB_NAME": "station",
    "DB_USERNAME": "rotation",
    "PICKER_TABLE": "picker",
}


def read(**changes):
    return config.read(GIVEN | changes, lambda arn, _: arn)


@pytest.mark.parametrize(("value", "seconds"), [("0", 0), ("1", 1), ("60", 60), ("3600", 3600)])
def test_the_look_back_is_a_number_of_seconds(value, seconds):
    given = read(WARM_LIVE_ACTIVITY_LOOKBACK_SECONDS=value)
    assert (given.live_lookback, given.live_lookback_refused) == (seconds, None)


@pytest.mark.parametrize("value", ["", " ", "-1", "1.5", "soon", "6_0", "٦٠", "1e2", "9" * 400])
def test_anything_else_means_a_minute_and_is_kept_for_a_warning(value):
    given = read(WARM_LIVE_ACTIVITY_LOOKBACK_SECONDS=value)
    assert given.live_lookback == 60
    assert given.live_lookback_refused


def test_unset_means_a_minute_without_a_warning():
    assert (read().live_lookback, read().live_lookback_refused) == (60, None)


def test_releases_can_be_left_out():
    assert [read().warm_releases, read(WARM_RELEASES="0").warm_releases] == [True, False]
    with pytest.raises(SettingsError, match="WARM_RELEASES"):
        read(WARM_RELEASES="no")


def test_without_the_second_level_nothing_starts_on_lambda_and_it_says_why():
    with pytest.raises(SettingsError, match="PICKER_TABLE is required, as a walk that fills only the memory"):
        read(PICKER_TABLE="")
    assert config.read(GIVEN | {"PICKER_TABLE": ""}, lambda arn, _: arn, needs_table=False).table is None
