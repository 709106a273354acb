"""Calls that several callers wait for: one at a time for a key, each in a thread that may outlast its callers."""

import threading
from collections.abc import Callable, Hashable
from concurrent.futures import Future, wait
from typing import Generic, NamedTuple, TypeVar

from core.clock import Clock
from core.picker.limiter import StillFetchingError, YieldError

_K = TypeVar("_K", bound=Hashable)
_T = TypeVar("_T")


class Background:
    """Calls to LML in threads that end with the process and never keep it from ending."""

    def __init__(self) -> None:
        self._under_way = 0
        self._changed = threading.Condition()

    def start(self, work: Callable[[], None], name: str) -> None:
        """Start a piece of work, which must not raise; raises RuntimeError when no thread is to be had."""
        self._count(1)
        try:
            threading.Thread(target=self._run, args=(work,), name=name, daemon=True).start()
        except RuntimeError:
            self._count(-1)
            raise

    def wait(self, seconds: float) -> bool:
        """Wait until no call is under way, for so many wall seconds at most; returns whether none is."""
        with self._changed:
            return self._changed.wait_for(lambda: self._under_way == 0, seconds)

    def _run(self, work: Callable[[], None]) -> None:
        try:
            work()
        finally:
            self._count(-1)

    def _count(self, more: int) -> None:
        with self._changed:
            self._under_way += more
            self._changed.notify_all()


class Wait(NamedTuple):
    """How long a DJ waits: so many paced seconds once LML is asked, and never beyond a moment (paced)."""

    seconds: float
    until: float


class _Call(Generic[_T]):
    def __init__(self) -> None:
        self.future = Future[_T]()
        self.under_way = threading.Event()
        """Set when LML, or another process in our place, is asked: what was before is queueing."""


class OneCall(Generic[_K, _T]):
    """Lets all that miss one key at the same time share one piece of work, and its failure.

    The work has a thread of its own, so that it goes on when those who wait for it cannot wait any longer.
    """

    def __init__(self, clock: Clock, background: Background) -> None:
        self._clock = clock
        self._background = background
        self._running: dict[_K, _Call[_T]] = {}
        self._lock = threading.Lock()

    def run(
        self, key: _K, work: Callable[[Callable[[], None]], _T], *, walk: bool = False, wait_for: Wait | None = None
    ) -> _T:
        """Return what `work` returns, whoever started it; a DJ takes over what the walk put off.

        `work` is given a function to call when its queueing is over. Raises StillFetchingError when the wait ends.
        """
        while True:
            with self._lock:
                call = self._running.get(key)
                mine = call is None
                if call is None:
                    call = self._running[key] = _Call[_T]()
            if mine:
                self._start(key, work, call)
            try:
                return self._result(call, wait_for)
            except YieldError:
                if walk:
                    raise

    def _start(self, key: _K, work: Callable[[Callable[[], None]], _T], call: _Call[_T]) -> None:
        def lead() -> None:
            try:
                result = work(call.under_way.set)
            except BaseException as error:  # noqa: BLE001 - raised again by each who waits
                self._ended(key, call)
                call.future.set_exception(error)
            else:
                self._ended(key, call)
                call.future.set_result(result)
            call.under_way.set()

        try:
            self._background.start(lead, "asks-lml")
        except RuntimeError as error:
            self._ended(key, call)
            call.future.set_exception(error)
            call.under_way.set()

    def _result(self, call: _Call[_T], wait_for: Wait | None) -> _T:
        if wait_for is not None:
            call.under_way.wait(self._left(wait_for.until))
            wait([call.future], min(self._clock.wall(wait_for.seconds), self._left(wait_for.until)))
            if not call.future.done():
                raise StillFetchingError("LML takes longer than a DJ can wait; its answer will be kept")
        return call.future.result()

    def _left(self, until: float) -> float:
        return max(0.0, self._clock.wall(until - self._clock.pace()))

    def _ended(self, key: _K, call: _Call[_T]) -> None:
        with self._lock:
            if self._running.get(key) is call:
                del self._running[key]
