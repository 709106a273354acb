"""What the picker remembers: bounded caches of this process, and behind them the level that processes share."""

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterable
from typing import Final, Generic, Literal, NamedTuple, Protocol, TypeAlias, TypeVar

import msgspec

from core.clock import Clock
from core.picker.calls import Background, OneCall, Wait
from core.picker.limiter import QUEUE_SECONDS, LmlBusyError
from core.picker.lookup import LOOKUP_SECONDS, RELEASE_SECONDS

ENTRIES: Final = 500
DAY: Final = 86_400.0  # seconds
SHARED_LIFE: Final = 30 * DAY
"""Seconds that a positive answer lives in the level that processes share; a negative one lives a day there too."""
RENEWED_UNDER: Final = 25 * 3600.0
"""Seconds; the walk renews what would not last until a late next walk."""
RENEWED_UNDER_ALONE: Final = 22 * 3600.0
"""The same in a process that shares with nobody: its next walk is 20 h away."""
CLAIM_SECONDS: Final = QUEUE_SECONDS + max(LOOKUP_SECONDS, RELEASE_SECONDS) + 5
"""After which a claim lapses: the longest call, its queueing, and what the table's own requests take."""
_POLL: Final = 0.1  # wall seconds between two looks for an answer that another process is fetching

Origin: TypeAlias = Literal["cached", "shared", "fetched"]
"""Where an answer came from: this process's memory, another process by way of the shared level, LML just now."""


class CachedValue(Protocol):
    """The values of the caches."""

    @property
    def found(self) -> bool:
        """Whether it is a positive answer."""
        ...

    @property
    def fetches(self) -> int | None:
        """The release that it leads to."""
        ...


_K = TypeVar("_K", bound=Hashable)
_Key_contra = TypeVar("_Key_contra", bound=Hashable, contravariant=True)
_T = TypeVar("_T")
_V = TypeVar("_V", bound=CachedValue)


class KeptAnswer(msgspec.Struct, Generic[_V], frozen=True):
    """An answer, when LML gave it, and when it ends for everybody; seconds since 1970, real time."""

    value: _V
    at: float
    until: float


class Standing(NamedTuple):
    """What the order of a walk needs to know of an answer; `release_id` is the release that it leads to."""

    at: float
    until: float
    found: bool
    release_id: int | None


class Cache(Generic[_K, _T]):
    """Up to 500 entries, the least recently used dropped first; an entry is gone at the very end of its life."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._entries: OrderedDict[_K, tuple[_T, float]] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, key: _K, *, touch: bool = True) -> _T | None:
        """Return an entry; one that is not touched is no more recently used than before."""
        with self._lock:
            entry = self._entries.get(key)
            if entry is None:
                return None
            if self._clock.utc().timestamp() >= entry[1]:
                del self._entries[key]
                return None
            if touch:
                self._entries.move_to_end(key)
            return entry[0]

    def put(self, key: _K, value: _T, until: float, *, evict: bool = True) -> None:
        """Keep an entry until a moment (seconds since 1970); without `evict` only where it pushes no other out."""
        with self._lock:
            if not evict and key not in self._entries and len(self._entries) >= ENTRIES:
                return
            self._entries[key] = value, until
            self._entries.move_to_end(key)
            if len(self._entries) > ENTRIES:
                self._entries.popitem(last=False)

    def drop(self, key: _K) -> None:
        with self._lock:
            self._entries.pop(key, None)

    def items(self) -> list[tuple[_K, _T]]:
        """Return the live entries; drop those that have ended."""
        now = self._clock.utc().timestamp()
        with self._lock:
            for key in [key for key, (_, until) in self._entries.items() if until <= now]:
                del self._entries[key]
            return [(key, value) for key, (value, _) in self._entries.items()]


class SharedLevel(Protocol[_Key_contra, _V]):
    """The second level for one kind of answer."""

    def read(self, key: _Key_contra) -> KeptAnswer[_V] | None: ...

    def write(self, key: _Key_contra, kept: KeptAnswer[_V]) -> None: ...

    def claim(self, key: _Key_contra) -> str | None:
        """Return a claim of CLAIM_SECONDS; None while another holds one."""
        ...

    def release(self, key: _Key_contra, claim: str) -> None: ...


Lives: TypeAlias = Callable[[_V], tuple[float, float]]
"""How long an answer lives in this process, and in the shared level; seconds."""


class Answers(Generic[_K, _V]):
    """One kind of answer by its key: from memory, else from the shared level, else fetched once and kept in both.

    What `fetch` raises is never kept. There is a cache each for positive and negative answers, so that a flood of
    one cannot push out the other. What the walk finds pushes nothing out: a station with more rows than entries would
    else have each walk ask for all of them again.
    """

    def __init__(
        self, clock: Clock, background: Background, shared: SharedLevel[_K, _V] | None, *, lives: Lives[_V]
    ) -> None:
        self._clock = clock
        self._shared = shared
        self._lives = lives
        self._renewed_under = RENEWED_UNDER_ALONE if shared is None else RENEWED_UNDER
        self._caches: dict[bool, Cache[_K, KeptAnswer[_V]]] = {True: Cache(clock), False: Cache(clock)}
        self._one_call = OneCall[_K, tuple[KeptAnswer[_V], Origin]](clock, background)

    def get(
        self,
        key: _K,
        fetch: Callable[[Callable[[], None]], _V],
        *,
        walk: bool = False,
        wait_for: Wait | None = None,
    ) -> tuple[KeptAnswer[_V], Origin]:
        """Return the answer and where it came from; for the walk, one that ends too soon is none.

        `fetch` is given a function to call when LML is asked. Raises what it raises, and StillFetchingError.
        """
        kept = self.kept(key, walk=walk)
        if kept is not None:
            return kept, "cached"
        return self._one_call.run(
            key, lambda under_way: self._missed(key, fetch, under_way, walk=walk), walk=walk, wait_for=wait_for
        )

    def kept(self, key: _K, *, walk: bool = False) -> KeptAnswer[_V] | None:
        """Return what this process remembers; asks nobody."""
        for cache in self._caches.values():
            kept = cache.get(key, touch=not walk)
            if kept is not None and not (walk and self._ends_soon(kept)):
                return kept
        return None

    def standings(self) -> Iterable[tuple[_K, Standing]]:
        """Return the state of every answer that this process remembers."""
        for cache in self._caches.values():
            for key, kept in cache.items():
                yield key, Standing(kept.at, kept.until, kept.value.found, kept.value.fetches)

    def _missed(
        self, key: _K, fetch: Callable[[Callable[[], None]], _V], under_way: Callable[[], None], *, walk: bool
    ) -> tuple[KeptAnswer[_V], Origin]:
        kept = self.kept(key, walk=walk)  # the call that this thread came too late for
        if kept is not None:
            return kept, "cached"
        if self._shared is None:
            return self._remembered(key, self._fresh(fetch(under_way)), walk=walk), "fetched"
        patience = self._now() + CLAIM_SECONDS
        while True:
            theirs = self._theirs(self._shared, key, walk=walk)
            if theirs is not None:
                return theirs, "shared"
            claim = self._shared.claim(key)
            if claim is not None:
                break
            under_way()
            if self._now() > patience:  # several have tried in turn, and nobody got an answer
                raise LmlBusyError("other processes ask LML for the same, and get no answer")
            self._clock.sleep(_POLL * self._clock.speed)
        try:
            theirs = self._theirs(self._shared, key, walk=walk)  # stored between our look and our claim
            if theirs is not None:
                return theirs, "shared"
            kept = self._fresh(fetch(under_way))
            self._shared.write(key, kept)
            return self._remembered(key, kept, walk=walk), "fetched"
        finally:
            self._shared.release(key, claim)

    def _theirs(self, shared: SharedLevel[_K, _V], key: _K, *, walk: bool) -> KeptAnswer[_V] | None:
        kept = shared.read(key)
        if kept is None or kept.until <= self._now() or (walk and self._ends_soon(kept)):
            return None
        return self._remembered(key, kept, walk=walk)

    def _ends_soon(self, kept: KeptAnswer[_V]) -> bool:
        """True if the walk should renew it; not an answer whose life is too short for the next walk."""
        return kept.until - self._now() < self._renewed_under < self._life(kept.value)

    def _life(self, value: _V) -> float:
        return self._lives(value)[self._shared is not None]

    def _fresh(self, value: _V) -> KeptAnswer[_V]:
        return KeptAnswer(value, self._now(), self._now() + self._life(value))

    def _remembered(self, key: _K, kept: KeptAnswer[_V], *, walk: bool) -> KeptAnswer[_V]:
        """Keep it in this process for its life, and no longer than the shared level does."""
        until = min(self._now() + self._lives(kept.value)[0], kept.until)
        self._caches[not kept.value.found].drop(key)
        self._caches[kept.value.found].put(key, kept, until, evict=not walk)
        return kept

    def _now(self) -> float:
        return self._clock.utc().timestamp()
