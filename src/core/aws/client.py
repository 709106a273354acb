"""How clients of AWS are made: botocore's own, with one TLS context for all of them."""

import socket
from collections.abc import Iterator, Mapping
from functools import cache
from io import BytesIO
from typing import TYPE_CHECKING, Any, Final, Literal, overload

from botocore.awsrequest import AWSPreparedRequest, AWSResponse
from botocore.compat import HTTPHeaders
from botocore.config import Config
from botocore.httpsession import URLLib3Session
from botocore.session import Session
from botocore.utils import get_environ_proxies

from core import tls

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
    if _session().get_config_variable("ca_bundle") is None:  # else botocore has to read that one
        proxies = get_environ_proxies(client.meta.endpoint_url)
        pool = _Pool(timeout=_SECONDS, proxies=proxies, socket_options=_AT_ONCE)  # type: ignore[arg-type]  # of pairs its stub knows nothing
        client._endpoint.http_session = pool  # noqa: SLF001 - botocore lets nobody choose it
    return client


class _Pool(URLLib3Session):
    """botocore's HTTP client, but for its TLS context: botocore reads the authorities anew for each connection."""

    def _get_ssl_context(self) -> "ssl.SSLContext":
        return tls.context()

    def _setup_ssl_cert(self, conn: Any, _url: str, _verify: object) -> None:  # noqa: ANN401 - urllib3's pool
        conn.cert_reqs = "CERT_REQUIRED"


class _Nothing(BytesIO):
    """A body as urllib3 hands it to botocore."""

    def stream(self, *_: object, **__: object) -> Iterator[bytes]:
        yield self.read()


def _answer_nothing(request: AWSPreparedRequest, **_: object) -> AWSResponse:
    return AWSResponse(request.url, 200, HTTPHeaders(), _Nothing(b"{}"))


@cache
def _session() -> Session:
    return Session()
