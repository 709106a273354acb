"""The clients of AWS that the functions make, over real HTTP."""

import socket
import ssl
import time

import pytest
from botocore.exceptions import ConnectTimeoutError, EndpointConnectionError, SSLError
from starlette.applications import Starlette
from starlette.responses import Response
from starlette.routing import Route

from core.aws import client
from core.aws.client import create_client
from local import serve
from tests.wire import Wire, reply, self_signed


@pytest.fixture
def credentials(monkeypatch):
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    yield
    client._session.cache_clear()


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


@pytest.mark.usefixtures("credentials")
def test_a_request_does_not_wait_for_the_packet_before_it(monkeypatch, undelayed):
    app = Starlette(routes=[Route("/", lambda _: Response(b'{"QueueUrls":[]}'), methods=["POST"])])

    with serve.in_thread(app) as url:
        monkeypatch.setenv("AWS_ENDPOINT_URL", url)
        create_client("sqs").list_queues()

    assert undelayed == [True]


@pytest.mark.usefixtures("hanging", "credentials")
@pytest.mark.parametrize("service", ["dynamodb", "sqs", "secretsmanager", "lambda"])
@pytest.mark.parametrize("scheme", ["http", "https"])
def test_a_call_ends_at_its_limit_while_the_host_is_being_looked_up(monkeypatch, service, scheme):
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"{scheme}://aws.example")
    monkeypatch.setattr(client, "_SECONDS", (0.05, 10.0))
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "2")
    client._session.cache_clear()
    operation, request = CALLS[service]
    began = time.monotonic()

    with pytest.raises(ConnectTimeoutError):
        getattr(create_client(service), operation)(**request)

    assert time.monotonic() - began < 10


CALLS = {
    "dynamodb": ("list_tables", {}),
    "sqs": ("list_queues", {}),
    "secretsmanager": ("get_secret_value", {"SecretId": "x"}),
    "lambda": ("invoke", {"FunctionName": "x"}),
}


@pytest.mark.usefixtures("credentials")
def test_a_name_that_is_none_is_reported_as_that(monkeypatch):
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://nowhere.invalid")
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    client._session.cache_clear()

    with pytest.raises(EndpointConnectionError, match=r"nowhere\.invalid"):
        create_client("sqs").list_queues()


@pytest.mark.usefixtures("credentials")
def test_a_port_at_which_nobody_listens_is_reported_at_once(monkeypatch):
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    client._session.cache_clear()

    with pytest.raises(EndpointConnectionError, match="Could not connect"):
        create_client("sqs").list_queues()


@pytest.mark.usefixtures("credentials")
@pytest.mark.parametrize("trusted", [True, False], ids=["of the bundle", "of nobody's"])
def test_a_bundle_that_the_environment_names_says_which_authorities_count(monkeypatch, tmp_path, trusted):
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    bundle = self_signed(tmp_path)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(bundle)
    with Wire(reply(200, b'{"QueueUrls":[]}'), tls=context) as aws:
        monkeypatch.setenv("AWS_ENDPOINT_URL", aws.url)
        if trusted:
            monkeypatch.setenv("AWS_CA_BUNDLE", str(bundle))
        client._session.cache_clear()

        if trusted:
            create_client("sqs").list_queues()
        else:
            with pytest.raises(SSLError, match="CERTIFICATE_VERIFY_FAILED"):
                create_client("sqs").list_queues()
