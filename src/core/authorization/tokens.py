"""Bearer tokens: JSON Web Tokens (RFC 7519) of one issuer, for one audience, with a role that may read."""

import threading
import time
from collections.abc import Callable
from typing import Any, Final, Literal, TypeAlias

import jwt

from core.authorization.config import AuthorizationSettings
from core.authorization.keys import ALGORITHMS, Keys

TOKEN_MOST: Final = 8192
"""Characters; the API takes 10,240 bytes of headers in all."""
REMEMBERED_SECONDS: Final = 300.0
"""For which a token that was let in needs no second look, as the API remembers it."""
_REMEMBERED_MOST: Final = 1000
_NAMES: Final = frozenset[str]().union(*ALGORITHMS.values())
# Not `iat`: it says when a token was made, no clock is exact to the second, and `nbf` is there for "not before".
_CHECKS: Final = {"require": ["exp", "iss", "aud"], "verify_iat": False}

Decision: TypeAlias = Literal["allowed", "unauthenticated", "forbidden"]
"""`unauthenticated` is 401: no valid token. `forbidden` is 403: a valid one, of somebody who may not read."""


class Authorizer:
    """Decides by the header `Authorization`; safe for threads."""

    def __init__(self, settings: AuthorizationSettings, keys: Keys) -> None:
        self._settings = settings
        self._keys = keys
        self._allowed: dict[str, float] = {}
        self._lock = threading.Lock()

    def remembers(self, authorization: str) -> bool:
        """Say whether this very header was let in a moment ago, and its token has not expired; waits for nothing."""
        until = self._allowed.get(authorization)
        return until is not None and time.time() < until

    def decide(self, authorization: str | None) -> Decision:
        """Check a header's token; may fetch the issuer's keys. Raises KeysUnavailableError."""
        scheme, _, token = (authorization or "").partition(" ")
        token = token.strip()
        if scheme.lower() != "bearer" or not 0 < len(token) <= TOKEN_MOST:
            return "unauthenticated"
        kid = _guarded(lambda: _key_id(token))
        key = None if kid is None else self._keys.key(kid)
        if key is None:
            return "unauthenticated"
        claims = _guarded(
            lambda: jwt.decode(
                token,
                key.public,  # type: ignore[arg-type]  # PyJWT's own, of the type that its algorithm takes
                algorithms=list(key.algorithms),
                issuer=self._settings.issuer,
                audience=self._settings.audience,
                options=_CHECKS,  # type: ignore[arg-type]  # a part of PyJWT's options
            )
        )
        if claims is None:
            return "unauthenticated"
        if claims.get("banned") or not self._settings.roles.intersection(_roles(claims.get("role"))):
            return "forbidden"
        self._remember(str(authorization), float(claims["exp"]))
        return "allowed"

    def _remember(self, authorization: str, expires: float) -> None:
        with self._lock:
            self._allowed.pop(authorization, None)
            while len(self._allowed) >= _REMEMBERED_MOST:
                del self._allowed[next(iter(self._allowed))]
            self._allowed[authorization] = min(expires, time.time() + REMEMBERED_SECONDS)


def _key_id(token: str) -> str | None:
    header = jwt.get_unverified_header(token)
    kid = header.get("kid")
    return kid if header.get("alg") in _NAMES and isinstance(kid, str) else None


def _guarded(work: Callable[[], Any]) -> Any:  # noqa: ANN401 - claims of any shape
    """Do it; whatever a token makes the library raise (also numbers beyond a date, nesting) is None: no valid token."""
    try:
        return work()
    except Exception:  # noqa: BLE001 - an error must never let anybody in, nor a token cause a 500
        return None


def _roles(claim: object) -> list[str]:
    """Return the roles that a claim names: a text, several with commas between them, or a list."""
    if isinstance(claim, str):
        return [role.strip() for role in claim.split(",")]
    return [role for role in claim if isinstance(role, str)] if isinstance(claim, list) else []
