"""What is left of a part, in the order in which it is asked: fresh ids, those asked in vain, those in doubt. Pure."""

import math
from collections import deque
from itertools import takewhile
from typing import Final

from core.runs.plan import Carried, RefreshMessage

DOUBT_SECONDS: Final = 60.0
"""Seconds after an answer in doubt before the same identity is asked again."""
LONGEST_BACKOFF: Final = 3600.0
"""Seconds of the longest back-off that a part hands on; one further ahead means a clock that was set back."""


class Worklist:
    """The ids of one part, each in one place; times are paced seconds."""

    def __init__(self, message: RefreshMessage, now: float) -> None:
        known = message.known
        self.failures = message.attempts
        self.artists_shed = dict(known.artists_shed)
        self.in_doubt = {identity: min(float(since), now) for identity, since in known.in_doubt.items()}
        """Id to when its first answer in doubt came."""
        self.discogs_up = float(known.discogs_up) if known.discogs_up <= now else 0.0
        """When Discogs was last seen to be up; a time to come means a clock that was set back."""
        self.not_before = float(known.not_before) if known.not_before <= now + LONGEST_BACKOFF else 0.0
        self.asked_before = {i for i, count in self.failures.items() if count} | known.artists_shed.keys()
        self._doubted = deque(sorted(self.in_doubt, key=self.in_doubt.__getitem__))
        self._again = deque(i for i in self.failures if i in self.asked_before and i not in self.in_doubt)
        self.asked_before |= self.in_doubt.keys()
        self._fresh = deque(i for i in self.failures if i not in self.asked_before)

    def __bool__(self) -> bool:
        return bool(self._fresh or self._again or self._doubted)

    def __contains__(self, identity: object) -> bool:
        return identity in self._fresh or identity in self._again or identity in self._doubted

    @property
    def due(self) -> float:
        """When the next id may be asked."""
        return self.not_before if self._fresh or self._again else max(self.not_before, self.doubt_ends)

    @property
    def doubt_ends(self) -> float:
        """When the first id in doubt may be asked again, if only such ids are left; else 0."""
        return self.in_doubt[self._doubted[0]] + DOUBT_SECONDS if not (self._fresh or self._again) else 0.0

    @property
    def next_ids(self) -> int:
        """How many ids may go together next."""
        if self._fresh or self._again:
            return len(self._fresh or self._again)
        first = self.in_doubt[self._doubted[0]]
        return len(list(takewhile(lambda identity: self.in_doubt[identity] <= first, self._doubted)))

    def take(self, count: int, identity: int | None = None) -> list[int]:
        """Take the next ids out, or the one that is asked for."""
        if identity is not None:
            for waiting in (self._fresh, self._again, self._doubted):
                if identity in waiting:
                    waiting.remove(identity)
            return [identity]
        waiting = self._fresh or self._again or self._doubted
        return [waiting.popleft() for _ in range(count)]

    def put_back(self, ids: list[int]) -> None:
        """Ask these next, as if they had not been asked."""
        for identity in reversed(ids):
            (self._doubted if identity in self.in_doubt else self._fresh).appendleft(identity)

    def ask_again(self, identity: int) -> None:
        """Ask this one behind all fresh ids."""
        self._again.append(identity)

    def doubt(self, identity: int, now: float) -> None:
        """Ask this one behind all others, a minute later at least."""
        self.in_doubt[identity] = now
        self._doubted.append(identity)

    def next_part(self, message: RefreshMessage, now: float, longest_delay: float) -> RefreshMessage | None:
        """The message that carries on with what is left; None where nothing is.

        A back-off goes with it only if the queue cannot hold the message back so long.
        """
        left = {identity: self.failures[identity] for identity in (*self._fresh, *self._again, *self._doubted)}
        carried = Carried(
            in_doubt={identity: math.ceil(self.in_doubt[identity]) for identity in self._doubted},
            artists_shed={i: count for i, count in self.artists_shed.items() if i in left},
            discogs_up=math.floor(self.discogs_up) if self._doubted else 0,
            not_before=math.ceil(self.not_before) if self.not_before > now + longest_delay else 0,
        )
        return message.next_part(left, carried) if left else None
