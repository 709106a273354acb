"""Looking up a host's name without being held by it: the resolver's own patience cannot be bounded."""

import socket
import threading
from concurrent.futures import Future
from typing import Any, TypeAlias

Addresses: TypeAlias = list[tuple[Any, ...]]
"""What socket.getaddrinfo returns."""


def begin(host: Any, port: Any, **hints: int) -> "Future[Addresses]":  # noqa: ANN401 - whatever getaddrinfo takes
    """Look a name up in a thread that nobody waits for, not even the end of the process; `hints` as getaddrinfo's."""
    found: Future[Addresses] = Future()

    def look() -> None:
        if not found.set_running_or_notify_cancel():
            return
        try:
            found.set_result(list(socket.getaddrinfo(host, port, **hints)))
        except Exception as error:  # noqa: BLE001 - whoever waits gets it
            found.set_exception(error)

    threading.Thread(target=look, name="name-lookup", daemon=True).start()
    return found
