"""One local cloud, and one of `rotation up`, for all tests of a worker: they share its queues and its ledger."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from local import cloud
from local.cloud import Cloud, Options
from local.world import World
from tests.integration.operating import IDENTITIES as OPERATED
from tests.integration.operating import Operator

IDENTITIES = 24


@pytest.fixture(scope="session")
def running_cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cloud]:
    directory = Path(tmp_path_factory.mktemp("cloud"))
    running = cloud.start(Options(world=World.seeded(identities=IDENTITIES), speed=200), directory, print)
    yield running
    cloud.stop(running)


@pytest.fixture(scope="session")
def operator(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Operator]:
    """The directory in which `rotation up` was called."""
    operator = Operator(tmp_path_factory.mktemp("operator"))
    result = operator.rotation("up", "--identities", str(OPERATED), "--speed", "400")
    assert result.exit_code == 0, result.output
    try:
        yield operator
    finally:
        assert operator.rotation("down").exit_code == 0
