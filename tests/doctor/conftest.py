"""A folder, servers and CAs to make mistakes with."""

from __future__ import annotations

import contextlib
import datetime
import socket
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding

from mtls_client import Identity, Trust
from mtls_client.testing import CA, Server


@dataclass(frozen=True)
class Stage:
    """What a mistake is made with.

    Attributes:
        folder: an empty folder.
        identity: good.
        serve: starts a server that demands a certificate; keywords are those of `Server`.
        talk: starts a server that is none: it answers each connection with these bytes.
    """

    folder: Path
    ca: CA
    other_ca: CA
    trust: Trust
    identity: Identity
    serve: Callable[..., Server]
    talk: Callable[[bytes], int]
    monkeypatch: pytest.MonkeyPatch

    def write(self, name: str, *content: bytes | x509.Certificate) -> Path:
        """Write a file that only its owner may read."""
        path = self.folder / name
        pieces = [
            one.public_bytes(Encoding.PEM) if isinstance(one, x509.Certificate) else one
            for one in content
        ]
        path.write_bytes(b"".join(pieces))
        path.chmod(0o600)
        return path


@pytest.fixture
def stage(
    tmp_path: Path,
    ca: CA,
    other_ca: CA,
    trust: Trust,
    identity: Identity,
    server_identity: Identity,
    talk: Callable[[bytes], int],
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[Stage]:
    with contextlib.ExitStack() as stack:

        def serve(identity: Identity = server_identity, **options: Any) -> Server:
            return stack.enter_context(Server(identity, **{"client_ca": ca, **options}))

        yield Stage(tmp_path, ca, other_ca, trust, identity, serve, talk, monkeypatch)


@pytest.fixture
def talk() -> Iterator[Callable[[bytes], int]]:
    """Start listeners on loopback that read a little and answer with some bytes."""
    listeners: list[socket.socket] = []
    threads: list[threading.Thread] = []

    def start(answer: bytes) -> int:
        listener = socket.create_server(("127.0.0.1", 0))
        listeners.append(listener)

        def run() -> None:
            with contextlib.suppress(OSError):
                while True:
                    connection, _ = listener.accept()
                    connection.settimeout(5)
                    with contextlib.suppress(OSError), connection:
                        connection.recv(65536)
                        connection.sendall(answer)

        threads.append(threading.Thread(target=run, daemon=True))
        threads[-1].start()
        port: int = listener.getsockname()[1]
        return port

    yield start
    for listener in listeners:
        with contextlib.suppress(OSError):
            listener.shutdown(socket.SHUT_RDWR)
        listener.close()
    for thread in threads:
        thread.join(5)


def bare(identity: Identity) -> Identity:
    """Return an identity without its chain."""
    return Identity(identity.certificate, identity.private_key)


def made_by_hand(
    name: str, *, by: Identity | None = None, ca: bool = False, dns: str | None = None
) -> Identity:
    """Return a certificate with no more extensions than must be, self-signed without `by`."""
    key = ec.generate_private_key(ec.SECP256R1())
    now = datetime.datetime.now(datetime.UTC)
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(by.certificate.subject if by else subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
    )
    if dns:
        names = x509.SubjectAlternativeName([x509.DNSName(dns)])
        builder = builder.add_extension(names, critical=False)
    signing = by.private_key if by else key
    assert isinstance(signing, ec.EllipticCurvePrivateKey)
    return Identity(builder.sign(signing, hashes.SHA256()), key)
