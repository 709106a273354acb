"""The clients of AWS that the functions make, over real HTTP."""

import socket

import pytest
from starlette.applications import Starlette
from starlette.responses import Response
from starlette.routing import Route

from core.aws.client import create_client
from local import serve


@pytest.fixture
def undelayed(monkeypatch):
    """Whether each socket sends what it is given at once (TCP_NODELAY), in the order they are connected."""
    found = []
    connect = socket.socket.connect

    def connected(sock, address):
        found.append(bool(sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)))
        return connect(sock, address)

    monkeypatch.setattr(socket.socket, "connect", connected)
    return found


def test_a_request_does_not_wait_for_the_packet_before_it(monkeypatch, undelayed):
    app = Starlette(routes=[Route("/", lambda _: Response(b'{"QueueUrls":[]}'), methods=["POST"])])
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")

    with serve.in_thread(app) as url:
        monkeypatch.setenv("AWS_ENDPOINT_URL", url)
        create_client("sqs").list_queues()

    assert undelayed == [True]
