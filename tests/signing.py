"""An issuer of tokens for tests: keys of every kind, the key set that it publishes, and tokens signed with them."""

import json
import time

import jwt
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from jwt.algorithms import ECAlgorithm, OKPAlgorithm, RSAAlgorithm

ISSUER = "https://auth.station.example"
AUDIENCE = "https://api.station.example"
PRIVATE = {
    "EdDSA": ed25519.Ed25519PrivateKey.generate(),
    "ES256": ec.generate_private_key(ec.SECP256R1()),
    "ES384": ec.generate_private_key(ec.SECP384R1()),
    "RS256": rsa.generate_private_key(65537, 2048),
}
STRANGER = ed25519.Ed25519PrivateKey.generate()
_KINDS = {"EdDSA": OKPAlgorithm, "ES256": ECAlgorithm, "ES384": ECAlgorithm, "RS256": RSAAlgorithm}
SETTINGS = {
    "PICKER_JWT_ISSUER": ISSUER,
    "PICKER_JWT_AUDIENCE": AUDIENCE,
    "PICKER_JWT_ROLES": "dj,musicDirector",
}


def public(name, private=None, **fields):
    """The published form of a key; its id is its algorithm's name."""
    kind = _KINDS.get(name, OKPAlgorithm)
    return json.loads(kind.to_jwk((private or PRIVATE[name]).public_key())) | {"kid": name, **fields}


def key_set(*keys):
    """What the issuer publishes: these keys, or one of each kind."""
    return json.dumps({"keys": list(keys) or [public(name) for name in PRIVATE]}).encode()


def pem(name):
    form = serialization.PublicFormat.SubjectPublicKeyInfo
    return PRIVATE[name].public_key().public_bytes(serialization.Encoding.PEM, form)


def token(algorithm="EdDSA", *, key=None, kid=None, header=None, **claims):
    """A token of a DJ that is valid for five minutes, unless told otherwise; a claim of None is left out."""
    now = int(time.time())
    payload = {"iss": ISSUER, "aud": AUDIENCE, "sub": "7", "role": "dj", "iat": now, "exp": now + 300} | claims
    payload = {name: value for name, value in payload.items() if value is not None}
    headers = {"kid": kid or algorithm, **(header or {})}
    return jwt.encode(payload, key or PRIVATE[algorithm], algorithm, headers)


def bearer(*args, **how):
    return f"Bearer {token(*args, **how)}"
