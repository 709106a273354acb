"""What the picker's tests share: one database and one LML for all of them, emptied for each."""

import pytest

from local import postgres, serve
from local.lml import app
from local.lml.limits import Limits
from local.world import World
from tests.integration.build import KEY
from tests.integration.picking import Picker, StandIn, Station


@pytest.fixture(scope="session")
def station_server(tmp_path_factory):
    server = postgres.start(tmp_path_factory.mktemp("station"))
    station = Station(server)
    yield station
    station.close()
    postgres.stop(server)


@pytest.fixture
def station(station_server):
    station_server.empty()
    return station_server


@pytest.fixture(scope="session")
def lml_server():
    with serve.in_thread(app.build(World.seeded(0), token=KEY, limits=Limits.instant())) as url:
        stand_in = StandIn(url)
        yield stand_in
        stand_in.close()


@pytest.fixture
def lml(lml_server):
    lml_server.reset()
    return lml_server


@pytest.fixture
def open_picker(station, lml):
    """Open pickers on the station's tables and the stand-in LML; all are closed in the end."""
    opened = []

    def make(*args, **how):
        opened.append(Picker(station, lml, *args, **how))
        return opened[-1]

    yield make
    for picker in opened:
        picker.close()


@pytest.fixture
def picker(open_picker):
    return open_picker()
