"""Bearer tokens: JSON Web Tokens (RFC 7519) of one issuer, for one audience, with a role that may read."""

import threading
import time
from typing import Any, Final, Literal, TypeAlias

import jwt

from core.authorization.config import AuthorizationSettings
from core.authorization.keys import ALGORITHMS, Keys, KeysUnavailableError

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

    def fetch_keys(self) -> None:
        """Fetch the issuer's keys before the first token comes; raises nothing where they cannot be had."""
        self._keys.fetch_early()

    def remembers(self, authorization: str) -> bool:
        """True if this very header was let in a moment ago and its token has not expired; waits for nothing."""
        until = self._allowed.get(authorization)
        return until is not None and time.time() < until

    def decide(self, authorization: str | None) -> Decision:
        """Check a header's token; may fetch the issuer's keys. Raises KeysUnavailableError."""
        return self.explain(authorization)[0]

    def explain(self, authorization: str | None) -> tuple[Decision, str]:
        """Return the decision and its reason, for an operator and not for the caller. Raises KeysUnavailableError."""
        try:
            claims = self._claims(authorization or "")
        except KeysUnavailableError:
            raise
        except Exception as error:  # noqa: BLE001
            # Whatever a token makes the library raise (also for numbers beyond a date, or nesting) means that it is not
            # valid: an error must never let anybody in, nor a token cause a 500.
            return "unauthenticated", str(error)
        if claims.get("banned"):
            return "forbidden", "its owner is banned"
        if not self._settings.roles.intersection(_roles(claims.get("role"))):
            return "forbidden", f"its role {claims.get('role')!r} may not read tracks"
        self._remember(str(authorization), float(claims["exp"]))
        return "allowed", "it is valid, and its role may read tracks"

    def _claims(self, authorization: str) -> dict[str, Any]:
        """Return the claims of a valid token; raises KeysUnavailableError, and anything for an invalid one."""
        scheme, _, token = authorization.partition(" ")
        token = token.strip()
        if scheme.lower() != "bearer" or not 0 < len(token) <= TOKEN_MOST:
            raise jwt.InvalidTokenError(f"there is no bearer token of up to {TOKEN_MOST} characters")
        kid = _key_id(token)
        key = self._keys.key(kid)
        if key is None:
            raise jwt.InvalidTokenError(f"the issuer has no key {kid!r}")
        claims: dict[str, Any] = jwt.decode(
            token,
            key.public,  # type: ignore[arg-type]  # PyJWT's own, of the type that its algorithm takes
            algorithms=list(key.algorithms),
            issuer=self._settings.issuer,
            audience=self._settings.audience,
            options=_CHECKS,  # type: ignore[arg-type]  # a part of PyJWT's options
        )
        return claims

    def _remember(self, authorization: str, expires: float) -> None:
        with self._lock:
            self._allowed.pop(authorization, None)
            while len(self._allowed) >= _REMEMBERED_MOST:
                del self._allowed[next(iter(self._allowed))]
            self._allowed[authorization] = min(expires, time.time() + REMEMBERED_SECONDS)


def _key_id(token: str) -> str:
    """Return the id of the key that a token says it was signed with; raises PyJWT's errors."""
    header = jwt.get_unverified_header(token)
    kid, algorithm = header.get("kid"), header.get("alg")
    if algorithm not in _NAMES:
        raise jwt.InvalidAlgorithmError(f"the algorithm {algorithm!r} is none of {', '.join(sorted(_NAMES))}")
    if not isinstance(kid, str):
        raise jwt.InvalidTokenError("it names no key (kid)")
    return kid


def _roles(claim: object) -> list[str]:
    """Return the roles that a claim names: a text, several with commas between them, or a list."""
    if isinstance(claim, str):
        return [role.strip() for role in claim.split(",")]
    return [role for role in claim if isinstance(role, str)] if isinstance(claim, list) else []
