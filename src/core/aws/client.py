"""How clients of AWS are made: botocore's own, with one TLS context for all of them."""

import socket
import time
from collections.abc import Iterator, Mapping
from functools import cache
from io import BytesIO
from typing import TYPE_CHECKING, Any, Final, Literal, overload

from botocore.awsrequest import (
    AWSHTTPConnectionPool,
    AWSHTTPSConnectionPool,
    AWSPreparedRequest,
    AWSResponse,
)
from botocore.compat import HTTPHeaders
from botocore.config import Config
from botocore.httpsession import URLLib3Session
from botocore.session import Session
from botocore.utils import get_environ_proxies
from urllib3.exceptions import ConnectTimeoutError, NameResolutionError, NewConnectionError
from urllib3.util.ssl_ import create_urllib3_context

from core import connecting, tls

if TYPE_CHECKING:
    import ssl

    from mypy_boto3_dynamodb import DynamoDBClient
    from mypy_boto3_lambda import LambdaClient
    from mypy_boto3_secretsmanager import SecretsManagerClient
    from mypy_boto3_sqs import SQSClient

_SECONDS: Final = (3.0, 10.0)
"""To connect, and between two bytes: a call that hangs is made again within the 20 s that a part keeps for committing.

botocore would wait 60.
"""
_AT_ONCE: Final = [(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)]
"""As botocore's own pool has it: else a request's last packet waits 40 ms for the server's word on the one before."""
CLIENT: Final = Config(user_agent="rotation-artist-backfill", connect_timeout=_SECONDS[0], read_timeout=_SECONDS[1])
"""The name that CloudTrail shows; botocore would make up a longer one for every call, a tenth of what a call costs."""

_FIRST_CALLS: Final[Mapping[str, tuple[str, Mapping[str, Any]]]] = {
    "dynamodb": ("get_item", {"TableName": "none", "Key": {"pk": {"S": "none"}}}),
    "sqs": ("send_message", {"QueueUrl": "https://none", "MessageBody": "none"}),
}


@overload
def create_client(service: Literal["dynamodb"], *, rehearsed: bool = ...) -> "DynamoDBClient": ...
@overload
def create_client(service: Literal["lambda"], *, rehearsed: bool = ...) -> "LambdaClient": ...
@overload
def create_client(service: Literal["secretsmanager"], *, rehearsed: bool = ...) -> "SecretsManagerClient": ...
@overload
def create_client(service: Literal["sqs"], *, rehearsed: bool = ...) -> "SQSClient": ...
def create_client(service: str, *, rehearsed: bool = False) -> Any:
    """Make a client of a service, for the region and the place that the environment names.

    A rehearsed one has done all of a first call but the network: the endpoint's rules, signing and parsing load what
    they need when they are first used. That needs credentials.
    """
    client: Any = _session().create_client(service, config=CLIENT)
    if rehearsed and service in _FIRST_CALLS:
        operation, request = _FIRST_CALLS[service]
        events = client.meta.events
        events.register("before-send", _answer_nothing)  # what it returns is taken for the answer
        getattr(client, operation)(**request)
        events.unregister("before-send", _answer_nothing)
    client._endpoint.http_session = _Http(  # noqa: SLF001 - botocore lets nobody choose it
        timeout=_SECONDS,
        proxies=get_environ_proxies(client.meta.endpoint_url),
        socket_options=_AT_ONCE,
        verify=_session().get_config_variable("ca_bundle") or True,
    )
    return client


class _Connecting:
    """Makes urllib3's connections within one limit; its own begins after the name's lookup, anew for each address."""

    def _new_conn(self: Any) -> socket.socket:
        limit = _SECONDS[0]
        try:
            return connecting.connect(self._dns_host, self.port, time.monotonic() + limit, self.socket_options or ())
        except TimeoutError as error:
            raise ConnectTimeoutError(self, f"no connection to {self.host} within {limit:g} s") from error
        except socket.gaierror as error:
            raise NameResolutionError(self.host, self, error) from error
        except OSError as error:
            raise NewConnectionError(self, f"no connection: {error}") from error


def _pool_of(base: Any) -> type:  # noqa: ANN401 - botocore's pool of connections, whose stub contradicts its own bases
    return type("Pool", (base,), {"ConnectionCls": type("Connection", (_Connecting, base.ConnectionCls), {})})


_POOLS: Final = {"http": _pool_of(AWSHTTPConnectionPool), "https": _pool_of(AWSHTTPSConnectionPool)}


class _Http(URLLib3Session):
    """botocore's HTTP client, but for how it connects, and for its TLS context.

    botocore reads the authorities anew for each connection; so do we only where somebody names a file of them.
    """

    _pool_classes_by_scheme: dict[str, type]
    _verify: object

    def __init__(self, **how: Any) -> None:  # noqa: ANN401 - its own
        super().__init__(**how)
        self._pool_classes_by_scheme.update(_POOLS)

    def _get_ssl_context(self) -> "ssl.SSLContext":
        return tls.context() if self._verify is True else create_urllib3_context()

    def _setup_ssl_cert(self, conn: Any, _url: str, verify: object) -> None:  # noqa: ANN401 - urllib3's pool
        conn.cert_reqs = "CERT_REQUIRED"
        if verify is not True:
            conn.ca_certs = verify


class _Nothing(BytesIO):
    """A body as urllib3 hands it to botocore."""

    def stream(self, *_: object, **__: object) -> Iterator[bytes]:
        yield self.read()


def _answer_nothing(request: AWSPreparedRequest, **_: object) -> AWSResponse:
    return AWSResponse(request.url, 200, HTTPHeaders(), _Nothing(b"{}"))


@cache
def _session() -> Session:
    return Session()
