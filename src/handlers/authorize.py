"""The Lambda authorizer of the HTTP API (payload 2.0): decides who may read tracks."""

import logging
import os
from functools import cache
from typing import TYPE_CHECKING

from core import authorization
from core.aws import http_api
from handlers import init

if TYPE_CHECKING:
    from aws_lambda_powertools.utilities.typing import LambdaContext


class UnauthorizedError(Exception):
    """Its text is what makes the API answer 401; a decision "no" is 403, and any other error 500."""

    def __init__(self) -> None:
        super().__init__("Unauthorized")


@cache
def authorizer() -> authorization.Authorizer:
    return authorization.authorizer(authorization.read(os.environ), authorization.fetch_patiently)


def handler(event: object, _context: "LambdaContext") -> dict[str, object]:
    headers = event.get("headers") if isinstance(event, dict) and event.get("version") != "1.0" else None
    if not isinstance(headers, dict):  # a test of the console, a ping, payload 1.0: no request that could get in
        return http_api.REFUSED
    authorization_header = next((str(headers[name]) for name in headers if str(name).lower() == "authorization"), None)
    try:
        decision = authorizer().decide(authorization_header)
    except authorization.KeysUnavailableError as error:
        logging.getLogger().error("%s", error)  # noqa: TRY400 - its words are what an alarm waits for
        return http_api.let_in("keys_unavailable")
    if decision == "unauthenticated":
        raise UnauthorizedError
    return http_api.let_in("allowed") if decision == "allowed" else http_api.REFUSED


init.make_now(lambda: authorizer().fetch_keys())
