"""Checks a token with PyJWT's own client of a key set."""

import os
import ssl

import certifi
import jwt

trusted = ssl.create_default_context(cafile=certifi.where())
keys = jwt.PyJWKClient(os.environ["PICKER_JWKS_URL"], ssl_context=trusted)


def handler(event: dict[str, dict[str, str]], _: object) -> dict[str, object]:
    token = event["headers"]["authorization"].removeprefix("Bearer ")
    claims = jwt.decode(
        token,
        keys.get_signing_key_from_jwt(token).key,
        algorithms=["EdDSA"],
        issuer=os.environ["PICKER_JWT_ISSUER"],
        audience=os.environ["PICKER_JWT_AUDIENCE"],
    )
    return {"isAuthorized": claims["role"] in os.environ["PICKER_JWT_ROLES"].split(",")}
