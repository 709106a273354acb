from collections.abc import Callable, Coroutine

import pytest

from local.lml.limits import LmlClock
from ops.loadtest.virtual import VirtualLmlClock, VirtualLoop


@pytest.fixture
def in_virtual_time() -> Callable[[Callable[[LmlClock], Coroutine[None, None, object]]], object]:
    """Run a coroutine function, which gets a clock, in a loop whose waits take no time."""

    def run(work):
        loop = VirtualLoop()

        async def start() -> object:
            return await work(VirtualLmlClock(loop))

        try:
            return loop.run_until_complete(start())
        finally:
            loop.close()

    return run
