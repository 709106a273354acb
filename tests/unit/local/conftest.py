import asyncio
import selectors
from collections.abc import Callable, Coroutine

import pytest

from local.lml.limits import Clock


class _Skipping(selectors.DefaultSelector):
    """Never waits: a time-out has passed as soon as it is asked for."""

    now = 0.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        assert timeout is not None, "everybody waits for somebody else"
        self.now += timeout
        return super().select(0)


class _VirtualLoop(asyncio.SelectorEventLoop):
    def __init__(self) -> None:
        self._skipping = _Skipping()
        super().__init__(self._skipping)

    def time(self) -> float:
        return self._skipping.now


class VirtualClock(Clock):
    def now(self) -> float:
        return asyncio.get_running_loop().time()

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)  # the shortest too: only waits move this clock


@pytest.fixture
def in_virtual_time() -> Callable[[Callable[[Clock], Coroutine[None, None, object]]], object]:
    """Run a coroutine function, which gets a clock, in a loop whose waits take no time."""

    def run(work):
        async def start() -> object:
            return await work(VirtualClock())

        with asyncio.Runner(loop_factory=_VirtualLoop) as runner:
            return runner.run(start())

    return run
