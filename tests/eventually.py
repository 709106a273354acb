"""Waiting for what other processes do: until something is there, never for a time."""

import threading
import time
from collections.abc import Callable
from typing import TypeVar

PATIENCE = 60.0  # seconds, for a loaded machine

_T = TypeVar("_T")


def eventually(look: Callable[[], _T]) -> _T:
    """Return what `look` finds as soon as that is true; fails when it is not within a minute."""
    deadline = time.monotonic() + PATIENCE
    pause = threading.Event()
    while not (found := look()):
        assert time.monotonic() < deadline
        pause.wait(0.05)
    return found
