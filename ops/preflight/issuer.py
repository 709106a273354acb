"""Preflight's checks with the issuer of the picker's tokens: its keys, and the decision about one token."""

from collections import Counter

from core import authorization
from core.authorization import Authorizer, Keys, KeysUnavailableError
from core.authorization.keys import fetch, parsed
from core.settings import SettingsError
from ops.checklist import CheckFinding
from ops.preflight.planned import PlannedStack

_FUNCTION = "AuthorizeFunction"


def tokens(plan: PlannedStack, token: str | None) -> CheckFinding:
    """Check that tokens can be checked; given a token, also what a DJ with it would be answered."""
    if _FUNCTION not in plan.environments:
        return CheckFinding(ok=True, reason="PickerState is DISABLED: nobody needs a token")
    try:
        settings = authorization.read(plan.environments[_FUNCTION])
    except SettingsError as error:
        advice = "set PickerJwksUrl, PickerJwtIssuer, PickerJwtAudience and PickerJwtRoles"
        return CheckFinding(ok=False, reason="; ".join(str(error).splitlines()), advice=advice)
    try:
        body = fetch(settings.jwks_url)
        found = parsed(body)
    except KeysUnavailableError as error:
        advice = (
            "open PickerJwksUrl in a browser; it must answer with a JSON Web Key Set, within 3 s and without a redirect"
        )
        return CheckFinding(ok=False, reason=str(error), advice=advice)
    kinds = Counter("/".join(key.algorithms) for key in found.values())
    reason = f"{settings.jwks_url} publishes {', '.join(f'{count} of {kind}' for kind, count in sorted(kinds.items()))}"
    if token is None:
        return CheckFinding(ok=True, reason=f"{reason}; no --token to try")
    known = Keys(settings.jwks_url, lambda _: body)
    decision, why = Authorizer(settings, known).explain(f"Bearer {token.removeprefix('Bearer ')}")
    answered = {"allowed": "200", "unauthenticated": "401", "forbidden": "403"}[decision]
    advice = "" if decision == "allowed" else "compare the token's iss, aud, exp and role with the parameters"
    return CheckFinding(
        ok=decision == "allowed", reason=f"{reason}; the token is answered {answered}: {why}", advice=advice
    )
