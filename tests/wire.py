"""A server on 127.0.0.1 that answers byte by byte as a test says: for faults that no well-behaved server has."""

import select
import socket
import ssl
import struct
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path
from typing import Self

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID


@dataclass(frozen=True, slots=True)
class Request:
    method: str
    target: str
    headers: dict[str, str]
    body: bytes
    connection: int


class Peer:
    """The client's end of one connection, as a script sees it."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock

    def send(self, data: bytes) -> None:
        self._sock.sendall(data)

    def hung_up(self, within: float = 30) -> bool:
        """Wait, seconds, for the client to close the connection."""
        return bool(select.select([self._sock], [], [], within)[0])

    def close(self) -> None:
        with suppress(OSError):
            self._sock.shutdown(socket.SHUT_RDWR)

    def reset(self) -> None:
        """End the connection with a RST, as a killed process or an impatient load balancer does."""
        self._sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        socket.close(self._sock.detach())


Script = Callable[[Peer, Request], None]


def reply(status: int, body: bytes = b"", headers: Mapping[str, str] | None = None) -> Script:
    """Answer in full and keep the connection."""
    fields = {"Content-Length": str(len(body))} | dict(headers or {})
    head = "".join(f"{name}: {value}\r\n" for name, value in fields.items())

    def script(peer: Peer, _: Request) -> None:
        peer.send(f"HTTP/1.1 {status} Status\r\n{head}\r\n".encode() + body)

    return script


class Wire:
    """Answers the n-th request with the n-th script, and all after the last with that; keeps what it was asked."""

    def __init__(self, *scripts: Script, tls: ssl.SSLContext | None = None) -> None:
        self.requests: list[Request] = []
        self.connections = 0
        self._scripts = scripts
        self._tls = tls
        self._open: list[socket.socket] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._threads = [threading.Thread(target=self._accept, daemon=True)]
        self.port: int = self._listener.getsockname()[1]
        self.url = f"{'https' if tls else 'http'}://127.0.0.1:{self.port}"

    def __enter__(self) -> Self:
        self._threads[0].start()
        return self

    def __exit__(self, *_: object) -> None:
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for sock in self._open:
            with suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join(10)

    def _accept(self) -> None:
        while True:
            try:
                sock, _ = self._listener.accept()
            except OSError:
                return
            self.connections += 1
            self._open.append(sock)
            thread = threading.Thread(target=self._converse, args=(sock, self.connections), daemon=True)
            self._threads.append(thread)
            thread.start()

    def _converse(self, sock: socket.socket, connection: int) -> None:
        with suppress(OSError), sock:
            stream = self._tls.wrap_socket(sock, server_side=True) if self._tls else sock
            with stream, stream.makefile("rb") as received:
                while request := _request(received, connection):
                    self.requests.append(request)
                    script = self._scripts[min(len(self.requests), len(self._scripts)) - 1]
                    script(Peer(stream), request)


def self_signed(directory: Path) -> Path:
    """Write a key and a certificate for 127.0.0.1 that vouches for itself; one file, for a server and for trust."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "127.0.0.1")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), critical=False)
        .sign(key, hashes.SHA256())
    )
    pem = directory / "self-signed.pem"
    pem.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        + certificate.public_bytes(serialization.Encoding.PEM)
    )
    return pem


def _request(received: socket.SocketIO, connection: int) -> Request | None:
    first = received.readline().decode().split(" ")
    if len(first) != 3:
        return None
    headers: dict[str, str] = {}
    while line := received.readline().decode().strip():
        name, _, value = line.partition(":")
        headers[name.lower()] = value.strip()
    body = received.read(int(headers.get("content-length", "0")))
    return Request(first[0], first[1], headers, body or b"", connection)
