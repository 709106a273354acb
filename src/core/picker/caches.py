"""What the picker remembers: bounded caches of this process, the level that processes share, one call a key."""

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
from concurrent.futures import Future
from typing import Final, Generic, Literal, Protocol, TypeAlias, TypeVar

import msgspec

from core.clock import Clock
from core.picker.limiter import RefusedError, YieldError

ENTRIES: Final = 500
DAY: Final = 86_400.0  # seconds
SHARED_LIFE: Final = 49 * 3600.0
"""Seconds that others' answers live: two daily walks and their delays."""
RENEWED_UNDER: Final = 25 * 3600.0
"""Seconds; the walk renews what would not last until a late next walk."""
CLAIM_SECONDS: Final = 15.0
"""After which a claim lapses: longer than a call's queueing and its answer together may take."""
_POLL: Final = 0.1  # wall seconds between two looks for an answer that another process is fetching

Origin: TypeAlias = Literal["cached", "shared", "fetched"]
"""Where an answer came from: this process's memory, another process by way of the shared level, LML just now."""

_K = TypeVar("_K", bound=Hashable)
_V = TypeVar("_V")


class Kept(msgspec.Struct, Generic[_V], frozen=True):
    """An answer and when it ends: `until` in this process, `shared_until` for all; seconds since 1970, real time."""

    value: _V
    until: float
    shared_until: float


class Cache(Generic[_K, _V]):
    """Up to 500 entries, the least recently used dropped first; an entry is gone at the very end of its life."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._entries: OrderedDict[_K, Kept[_V]] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, key: _K) -> Kept[_V] | None:
        with self._lock:
            kept = self._entries.get(key)
            if kept is None:
                return None
            if self._clock.utc().timestamp() >= kept.until:
                del self._entries[key]
                return None
            self._entries.move_to_end(key)
            return kept

    def put(self, key: _K, kept: Kept[_V]) -> None:
        with self._lock:
            self._entries[key] = kept
            self._entries.move_to_end(key)
            if len(self._entries) > ENTRIES:
                self._entries.popitem(last=False)

    def drop(self, key: _K) -> None:
        with self._lock:
            self._entries.pop(key, None)


class OneCall(Generic[_K, _V]):
    """Lets threads that miss one key at the same time share the first one's work, and its failure."""

    def __init__(self) -> None:
        self._running: dict[_K, Future[_V]] = {}
        self._lock = threading.Lock()

    def run(self, key: _K, work: Callable[[], _V], *, walk: bool) -> _V:
        """Return what `work` returns, here or in the thread that was first; a DJ takes over what the walk put off."""
        while True:
            with self._lock:
                theirs = self._running.get(key)
                if theirs is None:
                    mine = self._running[key] = Future[_V]()
            if theirs is None:
                return self._lead(key, work, mine)
            try:
                return theirs.result()
            except YieldError:
                if walk:
                    raise

    def _lead(self, key: _K, work: Callable[[], _V], mine: "Future[_V]") -> _V:
        try:
            result = work()
        except BaseException as error:
            self._done(key)
            mine.set_exception(error)
            raise
        self._done(key)
        mine.set_result(result)
        return result

    def _done(self, key: _K) -> None:
        with self._lock:
            del self._running[key]


class SharedLevel(Protocol[_V]):
    """The second level for one kind of answer; `until` is seconds since 1970."""

    def read(self, key: int) -> tuple[_V, float] | None: ...

    def write(self, key: int, value: _V, until: float) -> None: ...

    def claim(self, key: int) -> str | None:
        """Return a claim of CLAIM_SECONDS; None while another holds one."""
        ...

    def release(self, key: int, claim: str) -> None: ...


Lives: TypeAlias = Callable[[_V], tuple[float, float]]
"""How long an answer lives in this process, and in the shared level; seconds."""


class Answers(Generic[_V]):
    """One kind of answer by number: from memory, else from the shared level, else fetched once and kept in both.

    What `fetch` raises is never kept. There is a cache each for positive and negative answers, so that a flood of
    one cannot push out the other.
    """

    def __init__(
        self, clock: Clock, shared: SharedLevel[_V] | None, *, found: Callable[[_V], bool], lives: Lives[_V]
    ) -> None:
        self._clock = clock
        self._shared = shared
        self._found = found
        self._lives = lives
        self._caches: dict[bool, Cache[int, _V]] = {True: Cache(clock), False: Cache(clock)}
        self._one_call = OneCall[int, tuple[_V, Origin]]()

    def get(self, key: int, fetch: Callable[[], _V], *, walk: bool) -> tuple[_V, Origin]:
        """Return the answer and where it came from; for the walk, one that ends too soon is none."""
        kept = self.kept(key, walk=walk)
        if kept is not None:
            return kept, "cached"
        return self._one_call.run(key, lambda: self._missed(key, fetch, walk=walk), walk=walk)

    def kept(self, key: int, *, walk: bool) -> _V | None:
        """Return what this process remembers; asks nobody."""
        for cache in self._caches.values():
            kept = cache.get(key)
            if kept is not None and not (walk and self._ends_soon(kept.value, kept.shared_until)):
                return kept.value
        return None

    def _missed(self, key: int, fetch: Callable[[], _V], *, walk: bool) -> tuple[_V, Origin]:
        kept = self.kept(key, walk=walk)  # the call that this thread came too late for
        if kept is not None:
            return kept, "cached"
        if self._shared is None:
            return self._remembered(key, fetch(), None), "fetched"
        patience = self._now() + CLAIM_SECONDS
        while True:
            theirs = self._theirs(self._shared, key, walk=walk)
            if theirs is not None:
                return theirs, "shared"
            claim = self._shared.claim(key)
            if claim is not None:
                break
            if self._now() > patience:  # several have tried in turn, and nobody got an answer
                raise RefusedError("other processes ask LML for the same, and get no answer")
            self._clock.sleep(_POLL * self._clock.speed)
        try:
            theirs = self._theirs(self._shared, key, walk=walk)  # stored between our look and our claim
            if theirs is not None:
                return theirs, "shared"
            value = fetch()
            until = self._now() + self._lives(value)[1]
            self._shared.write(key, value, until)
            return self._remembered(key, value, until), "fetched"
        finally:
            self._shared.release(key, claim)

    def _theirs(self, shared: SharedLevel[_V], key: int, *, walk: bool) -> _V | None:
        stored = shared.read(key)
        if stored is None:
            return None
        value, until = stored
        if until <= self._now() or (walk and self._ends_soon(value, until)):
            return None
        return self._remembered(key, value, until)

    def _ends_soon(self, value: _V, shared_until: float) -> bool:
        """Whether the walk should renew it; what never lives that long cannot be kept warm by a daily walk."""
        return shared_until - self._now() < RENEWED_UNDER < self._lives(value)[1]

    def _remembered(self, key: int, value: _V, shared_until: float | None) -> _V:
        """Keep it in this process for its life, and no longer than the shared level does."""
        life = self._now() + self._lives(value)[0]
        until = life if shared_until is None else min(life, shared_until)
        found = self._found(value)
        self._caches[not found].drop(key)
        self._caches[found].put(key, Kept(value, until, float("inf") if shared_until is None else shared_until))
        return value

    def _now(self) -> float:
        return self._clock.utc().timestamp()
