"""What a cold start meets: one server over TLS for AWS, Sentry and the issuer of tokens, and its certificate authority.

It answers each operation with what the functions need to go on, and counts it. It keeps nothing: work on a table is
measured with `memory_aws`, and whole runs with the emulator of `local.cloud`.
"""

import json
import ssl
import threading
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from ipaddress import IPv4Address
from pathlib import Path
from typing import Final

import jwt
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.x509.oid import NameOID
from jwt.algorithms import OKPAlgorithm

_HOST: Final = "127.0.0.1"


class Cloud(ThreadingHTTPServer):
    """Counts the requests that it answers, by operation; `secrets` are by their ids."""

    daemon_threads = True

    def __init__(self, scheme: str) -> None:
        super().__init__((_HOST, 0), _Request)
        self.asked: Counter[str] = Counter()
        self.secrets: dict[str, str] = {}
        self.issuer = ed25519.Ed25519PrivateKey.generate()
        self.url = f"{scheme}://{_HOST}:{self.server_port}"

    def handle_error(self, *_: object) -> None:
        """Say nothing: a client that is ended hangs up."""

    def environment(self) -> dict[str, str]:
        """Return what makes the SDK ask here."""
        return {
            "AWS_ACCESS_KEY_ID": "none",
            "AWS_SECRET_ACCESS_KEY": "none",
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_ENDPOINT_URL": self.url,
            "LEDGER_TABLE": "ledger",
            "PICKER_TABLE": "picker",
        }

    def authorization(self) -> dict[str, str]:
        """Return the settings of an authorizer that trusts the tokens of `token`."""
        return {
            "PICKER_JWKS_URL": f"{self.url}/jwks",
            "PICKER_JWT_ISSUER": "bench",
            "PICKER_JWT_AUDIENCE": "bench",
            "PICKER_JWT_ROLES": "dj,musicDirector",
        }

    def token(self) -> str:
        claims = {"iss": "bench", "aud": "bench", "role": "dj", "exp": datetime.now(UTC) + timedelta(hours=1)}
        return jwt.encode(claims, self.issuer, "EdDSA", {"kid": "bench"})

    def keep(self, values: Mapping[str, str]) -> dict[str, str]:
        """Keep values as secrets; returns the variables that name them instead."""
        arns = {name: f"arn:aws:secretsmanager:us-east-1:123456789012:secret:{name}-AbCdEf" for name in values}
        self.secrets |= {arns[name]: value for name, value in values.items()}
        return {f"{name}_SECRET_ARN": arn for name, arn in arns.items()}

    def taken(self) -> dict[str, int]:
        """Return what was asked for since the last look."""
        taken, self.asked = dict(sorted(self.asked.items())), Counter()
        return taken


class _Request(BaseHTTPRequestHandler):
    server: Cloud
    protocol_version = "HTTP/1.1"
    wbufsize = -1
    disable_nagle_algorithm = True

    def do_GET(self) -> None:
        """Publish the issuer's key, the only thing that anybody reads here."""
        self.server.asked["GET"] += 1
        key = json.loads(OKPAlgorithm.to_jwk(self.server.issuer.public_key()))
        self._answer(json.dumps({"keys": [key | {"kid": "bench"}]}).encode(), "application/json")

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", "0")))
        operation = self.headers.get("X-Amz-Target", "").rpartition(".")[2]
        if operation:
            self.server.asked[operation] += 1
        else:
            self.server.asked["Sentry"] = 1  # the SDK sends the spans of two traces at once or one by one, by chance
        answer = b'{"Items": []}'  # of a scan; to all others it says nothing
        if operation == "GetSecretValue":
            answer = json.dumps({"SecretString": self.server.secrets[json.loads(body)["SecretId"]]}).encode()
        self._answer(answer, "application/x-amz-json-1.0")

    def _answer(self, answer: bytes, kind: str) -> None:
        self.send_response(200)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@contextmanager
def cloud(certificates: Path | None = None) -> Iterator[Cloud]:
    """Run the server: over TLS with the files that `certify` wrote to a directory, without them over HTTP."""
    with Cloud("https" if certificates else "http") as server:
        if certificates:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(certificates / "server.pem")
            # The handshake belongs to the connection's own thread.
            server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield server
        finally:
            server.shutdown()


def certify(directory: Path) -> None:
    """Write `authority.pem`, for who shall trust the server, and `server.pem`, its certificate and key."""
    now, key, name = datetime.now(UTC), ec.generate_private_key(ec.SECP256R1()), _named("authority of a bench")
    identifier = x509.SubjectKeyIdentifier.from_public_key(key.public_key())
    usage = dict.fromkeys(
        (
            "content_commitment",
            "key_encipherment",
            "data_encipherment",
            "key_agreement",
            "encipher_only",
            "decipher_only",
        ),
        False,
    )
    authority = (
        _certificate(name, name, key.public_key(), now)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(x509.KeyUsage(digital_signature=True, key_cert_sign=True, crl_sign=True, **usage), critical=True)
        .add_extension(identifier, critical=False)
    )
    own = ec.generate_private_key(ec.SECP256R1())
    server = (
        _certificate(_named(_HOST), name, own.public_key(), now)
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(IPv4Address(_HOST))]), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(identifier), critical=False)
    )
    pem = serialization.Encoding.PEM
    (directory / "authority.pem").write_bytes(authority.sign(key, hashes.SHA256()).public_bytes(pem))
    private = own.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    (directory / "server.pem").write_bytes(server.sign(key, hashes.SHA256()).public_bytes(pem) + private)


def _named(name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])


def _certificate(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey, now: datetime
) -> x509.CertificateBuilder:
    return x509.CertificateBuilder(
        issuer_name=issuer,
        subject_name=subject,
        public_key=key,
        serial_number=x509.random_serial_number(),
        not_valid_before=now - timedelta(days=1),
        not_valid_after=now + timedelta(days=1),
    )
