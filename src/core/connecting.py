"""Connecting to a host within a limit that holds for its name's lookup and all its addresses together."""

import socket
import threading
import time
from collections.abc import Sequence
from concurrent.futures import Future
from typing import Any, TypeAlias

Addresses: TypeAlias = list[tuple[Any, ...]]
"""What socket.getaddrinfo returns."""


def begin_lookup(host: Any, port: Any, **hints: int) -> "Future[Addresses]":  # noqa: ANN401 - whatever getaddrinfo takes
    """Look a name up in a thread that nobody waits for, not even the end of the process; `hints` as getaddrinfo's.

    The resolver's own patience cannot be bounded.
    """
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


def connect(
    host: str, port: int, deadline: float, options: Sequence[tuple[int, int, int | bytes]] = ()
) -> socket.socket:
    """Connect to the first address of a host that answers; each gets an equal share of the time that is left.

    `deadline` is of time.monotonic(); `options` as setsockopt takes them. Raises OSError: TimeoutError at the deadline,
    socket.gaierror for a name that is none.
    """
    addresses = begin_lookup(host, port, type=socket.SOCK_STREAM).result(max(0.0, deadline - time.monotonic()))
    for left, (family, kind, protocol, _, address) in zip(range(len(addresses), 0, -1), addresses, strict=True):
        sock = socket.socket(family, kind, protocol)
        try:
            for option in options:
                sock.setsockopt(*option)
            sock.settimeout(max(0.001, (deadline - time.monotonic()) / left))
            sock.connect(address)
        except OSError:
            sock.close()
            if left == 1:
                raise
        else:
            sock.settimeout(max(0.001, deadline - time.monotonic()))
            return sock
    raise OSError(f"{host} has no address")
