"""Virtual time: an event loop whose clock jumps to the next timer, and plain blocking code that runs inside it."""

import asyncio
import selectors
import threading
from collections.abc import Callable, Coroutine
from datetime import UTC, datetime, timedelta
from typing import Any, Final, TypeVar

from core.clock import Clock
from local.lml.limits import Clock as LmlClock

T = TypeVar("T")

START: Final = datetime(2026, 2, 3, 4, 30, tzinfo=UTC)


class _Jump(selectors.DefaultSelector):
    """Waits for nothing: asked to wait, it moves the loop's clock on by that long."""

    now = 0.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout is None:
            raise RuntimeError("virtual time stands still: everything waits and nothing is due")
        self.now += max(0.0, timeout)
        return []


class VirtualLoop(asyncio.SelectorEventLoop):
    """An event loop in which a day takes as long as its events take to compute; time starts at 0."""

    def __init__(self) -> None:
        self._jump = _Jump()
        super().__init__(self._jump)

    def time(self) -> float:
        return self._jump.now


class VirtualLmlClock(LmlClock):
    """The stand-in's clock on a virtual loop."""

    def __init__(self, loop: VirtualLoop) -> None:
        super().__init__(speed=1)
        self._loop = loop

    def now(self) -> float:
        return self._loop.time()

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)


class Blocking(Clock):
    """A thread of blocking code inside a virtual loop, and its clock.

    The job's slots are written without `async`. The thread and the loop never run at the same time: each hands over
    and waits, so that what happens, and in which order, depends on virtual time alone.
    """

    speed = 1.0

    def __init__(self, loop: VirtualLoop) -> None:
        self._loop = loop
        self._thread_turn = threading.Semaphore(0)
        self._loop_turn = threading.Semaphore(0)
        self._work: Coroutine[Any, Any, Any] | None = None
        self._result: Any = None

    def utc(self) -> datetime:
        return START + timedelta(seconds=self._loop.time())

    def pace(self) -> float:
        return self._loop.time()

    def sleep(self, seconds: float) -> None:
        self.wait(asyncio.sleep(max(0.0, seconds)))

    def wait(self, work: Coroutine[Any, Any, T]) -> T:
        """From the thread: let the loop go on until this work is done; returns or raises what it makes."""
        self._work = work
        self._loop_turn.release()
        self._thread_turn.acquire()
        result, self._result = self._result, None
        if isinstance(result, Exception):
            raise result
        return result  # type: ignore[no-any-return]  # it is what `work` has returned

    async def run(self, code: Callable[[], None]) -> None:
        """From the loop: run blocking code in the thread to its end; raises what it raises."""
        failures: list[BaseException] = []

        def body() -> None:
            self._thread_turn.acquire()
            try:
                code()
            except BaseException as error:  # noqa: BLE001 - raised again on the loop's side
                failures.append(error)
            self._work = None
            self._loop_turn.release()

        threading.Thread(target=body, daemon=True).start()
        while True:
            self._thread_turn.release()
            self._loop_turn.acquire()
            if self._work is None:
                break
            try:
                self._result = await self._work
            except Exception as error:  # noqa: BLE001 - raised again in the thread
                self._result = error
        if failures:
            raise failures[0]
