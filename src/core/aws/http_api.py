"""The authorizer's answer to an HTTP API, and what of it reaches the functions (payload 2.0, simple responses).

API Gateway knows two answers of an authorizer, in and out, and passes on what stands beside the first. So "in" is not
yet a yes: a function answers with data only where it finds `allowed` there.
"""

from typing import Final, Literal, TypeAlias

GatewayDecision: TypeAlias = Literal["allowed", "keys_unavailable"]
"""`keys_unavailable`: nobody could check the token; the function says so with 503, which an authorizer cannot."""

CACHED_SECONDS: Final = 300
"""For which API Gateway gives the same answer to the same token (`ReauthorizeEvery` of the template)."""
REFUSED: Final[dict[str, object]] = {"isAuthorized": False}


def let_in(decision: GatewayDecision) -> dict[str, object]:
    """Return the answer that lets a request through, with the decision for its function."""
    return {"isAuthorized": True, "context": {"decision": decision}}


def decision(event: dict[str, object]) -> object:
    """Return the authorizer's decision about a request; None where there was no authorizer."""
    found: object = event
    for name in ("requestContext", "authorizer", "lambda", "decision"):
        found = found.get(name) if isinstance(found, dict) else None
    return found
