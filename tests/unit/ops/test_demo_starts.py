"""The demo's watch over functions that cannot start."""

import pytest

from local.cloud import Cloud
from local.postgres import Postgres
from local.process import Process
from ops import demo
from ops.watch import View
from tests.unit.report.runs import run

VIEW = View(run=run("running"), rests=None, seconds_left=None)
BORROWED = Postgres(
    host="127.0.0.1",
    port=5432,
    database="",
    schema="",
    tls="disable",
    user="",
    password="",
    owner="",
    owner_password="",
    home=None,
    binaries=None,
)


@pytest.fixture
def emulator(tmp_path):
    """A cloud whose emulator says this."""

    def saying(text):
        log = tmp_path / "ministack.log"
        log.write_text(text)
        processes = (Process(0, 0.0, str(log)),)
        return Cloud(
            directory="", aws_url="", lml_url="", sentry_url="", database=BORROWED, processes=processes, names={}
        )

    return saying


def test_a_run_whose_function_cannot_start_is_not_watched_for_ever(emulator):
    there = emulator("10:27:47 ERROR [lambda] error for rotation-refresh: Worker init failed: no\n")

    with pytest.raises(demo.DemoError, match="rotation-refresh: Worker init failed: no") as ended:
        list(demo._able(there, iter([VIEW])))

    assert ended.value.run is VIEW.run


def test_other_troubles_of_the_emulator_are_the_run_s_to_tell(emulator):
    there = emulator("10:27:47 ERROR [lambda] error for rotation-refresh: timed out\n")

    assert list(demo._able(there, iter([VIEW]))) == [VIEW]
