"""Virtual time: an event loop whose clock jumps to the next timer, and plain blocking code that runs inside it."""

import asyncio
import heapq
from collections import deque
from collections.abc import Awaitable, Callable
from contextvars import Context
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import Any, Final, TypeVar, cast

from greenlet import greenlet  # type: ignore[import-untyped]

from core.clock import Clock
from local.lml.limits import LmlClock

T = TypeVar("T")

START: Final = datetime(2026, 2, 3, 4, 30, tzinfo=UTC)


class _Due:
    """A callback that is due at a time; `asyncio` cancels it by this handle."""

    __slots__ = ("args", "at", "callback")

    def __init__(self, at: float, callback: Callable[..., object], args: tuple[Any, ...]) -> None:
        self.at = at
        self.callback: Callable[..., object] | None = callback
        self.args = args

    def cancel(self) -> None:
        self.callback = None

    def cancelled(self) -> bool:
        return self.callback is None

    def when(self) -> float:
        return self.at


class VirtualLoop:
    """An event loop in which a day takes as long as its events take to compute; time starts at 0.

    It has what tasks, futures, locks, time-outs and sleeps need, and neither files nor sockets.
    """

    def __init__(self) -> None:
        self._now = 0.0
        self._ready: deque[_Due] = deque()
        self._timers: list[tuple[float, int, _Due]] = []
        self._number = count()
        self._failure: BaseException | None = None
        self._closed = False

    def time(self) -> float:
        return self._now

    def call_soon(self, callback: Callable[..., object], *args: Any, context: Context | None = None) -> Any:  # noqa: ANN401, ARG002 - asyncio's
        due = _Due(self._now, callback, args)
        self._ready.append(due)
        return due

    def call_at(self, when: float, callback: Callable[..., object], *args: Any, context: Context | None = None) -> Any:  # noqa: ANN401, ARG002 - asyncio's
        due = _Due(when, callback, args)
        heapq.heappush(self._timers, (when, next(self._number), due))
        return due

    def call_later(
        self,
        delay: float,
        callback: Callable[..., object],
        *args: Any,  # noqa: ANN401 - asyncio's
        context: Context | None = None,  # noqa: ARG002
    ) -> Any:  # noqa: ANN401
        return self.call_at(self._now + max(0.0, delay), callback, *args)

    def create_future(self) -> asyncio.Future[Any]:
        return asyncio.Future(loop=cast("Any", self))

    def sleep(self, seconds: float) -> asyncio.Future[None]:
        """Return what is done after some seconds: half of the time that `asyncio.sleep` takes, of most of a day."""
        future = self.create_future()
        self.call_at(self._now + max(0.0, seconds), _wake, future)
        return future

    def create_task(self, coro: Any, **_: Any) -> Any:  # noqa: ANN401 - asyncio's
        return asyncio.Task(coro, loop=cast("Any", self))

    def run_until_complete(self, future: Any) -> Any:  # noqa: ANN401 - asyncio's
        """Run a coroutine to its end and return what it makes; raises what it raises.

        RuntimeError says that everything waits and nothing is due.
        """
        asyncio._set_running_loop(cast("Any", self))  # noqa: SLF001 - what asyncio offers to loops
        try:
            task = self.create_task(future)
            while not task.done():
                due = self._next()
                if due.callback is not None:
                    due.callback(*due.args)
                if self._failure is not None:
                    raise self._failure
            return task.result()
        finally:
            asyncio._set_running_loop(None)  # noqa: SLF001

    def close(self) -> None:
        """Drop all callbacks that are still due."""
        self._ready.clear()
        self._timers.clear()
        self._closed = True

    def is_closed(self) -> bool:
        return self._closed

    def is_running(self) -> bool:
        return not self._closed

    def get_debug(self) -> bool:
        return False

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        """End the run with a failure that no task has handled."""
        self._failure = context.get("exception") or RuntimeError(str(context.get("message")))

    def _next(self) -> _Due:
        """Return what is to be called next, and let the time pass until then."""
        if self._ready:
            return self._ready.popleft()
        while self._timers:
            at, _, due = heapq.heappop(self._timers)
            if due.callback is not None:
                self._now = max(self._now, at)
                return due
        raise RuntimeError("virtual time stands still: everything waits and nothing is due")


def _wake(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)


class VirtualLmlClock(LmlClock):
    """The stand-in's clock on a virtual loop."""

    def __init__(self, loop: VirtualLoop) -> None:
        super().__init__(speed=1)
        self.now, self.sleep = loop.time, loop.sleep  # type: ignore[method-assign,assignment]  # a call less, often


class Blocking(Clock):
    """Blocking code inside a virtual loop, and its clock.

    The job's slots are written without `async`. Each is a greenlet: what blocks in it hands over to the loop and goes
    on when that is done, so that what happens, and in which order, depends on virtual time alone.
    """

    speed = 1.0

    def __init__(self, loop: VirtualLoop) -> None:
        self._loop = loop
        self._slot: greenlet | None = None

    def utc(self) -> datetime:
        return START + timedelta(seconds=self._loop.time())

    def pace(self) -> float:
        return self._loop.time()

    def sleep(self, seconds: float) -> None:
        self.wait(self._loop.sleep(seconds))

    def wait(self, work: Awaitable[T]) -> T:
        """From the code: let the loop go on until this work is done; returns or raises what it makes."""
        if self._slot is None or self._slot.parent is None:
            raise RuntimeError("blocking code runs inside `run`")
        return self._slot.parent.switch(work)  # type: ignore[no-any-return]  # what `run` hands back

    async def run(self, code: Callable[[], None]) -> None:
        """From the loop: run blocking code to its end; raises what it raises."""
        self._slot = slot = greenlet(code)
        work = slot.switch()
        while not slot.dead:
            try:
                result = await work
            except Exception as error:  # noqa: BLE001 - raised again in the code
                work = slot.throw(error)
            else:
                work = slot.switch(result)
