"""What tests of several clients share."""

import socket
import threading

import pytest


@pytest.fixture
def hanging(monkeypatch):
    """Have the resolver hang, for a minute, at every name under .example."""
    ended, ask = threading.Event(), socket.getaddrinfo

    def answer(host, *args, **hints):
        if ".example" in str(host):
            ended.wait(60)
        return ask(host, *args, **hints)

    monkeypatch.setattr(socket, "getaddrinfo", answer)
    yield
    ended.set()
