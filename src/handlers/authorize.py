"""Says who may read tracks, before the HTTP API lets a request through (a Lambda authorizer, payload 2.0)."""

import logging
import os
from functools import cache
from typing import TYPE_CHECKING

from core import authorization

if TYPE_CHECKING:
    from aws_lambda_powertools.utilities.typing import LambdaContext


class UnauthorizedError(Exception):
    """Its text is what makes the API answer 401; a decision "no" is 403, and any other error 500."""

    def __init__(self) -> None:
        super().__init__("Unauthorized")


@cache
def authorizer() -> authorization.Authorizer:
    return authorization.authorizer(authorization.read(os.environ))


def handler(event: object, _context: "LambdaContext") -> dict[str, bool]:
    try:
        decision = authorizer().decide(_authorization(event))
    except authorization.KeysUnavailableError as error:
        logging.getLogger().error("%s", error)  # noqa: TRY400 - Lambda logs the stack itself; an alarm waits for the words
        raise
    if decision == "unauthenticated":
        raise UnauthorizedError
    return {"isAuthorized": decision == "allowed"}


def _authorization(event: object) -> str | None:
    """Return the header of a request; None in an event that is no request, such as the console's test."""
    headers = event.get("headers") if isinstance(event, dict) else None
    if not isinstance(headers, dict):
        return None
    return next((str(headers[name]) for name in headers if str(name).lower() == "authorization"), None)
