"""One identity with an RSA key and one with an EC key, as files and as bytes.

The CA signs them with `cryptography`; what other tools make of them is in the tests.
"""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from mtls_client import Identity
from mtls_client.testing import CA

PASSWORD = "secret-Passw0rd"


@dataclass(frozen=True)
class Files:
    """An identity, and a folder with `client.key`, `client.pem`, `chain.pem` and `root.pem`."""

    identity: Identity
    folder: Path

    @property
    def key(self) -> Path:
        return self.folder / "client.key"

    @property
    def certificate(self) -> Path:
        return self.folder / "client.pem"

    @property
    def chain(self) -> Path:
        return self.folder / "chain.pem"

    @property
    def everything(self) -> bytes:
        return b"".join(path.read_bytes() for path in (self.key, self.certificate, self.chain))

    def path(self, name: str) -> Path:
        return self.folder / name


def written(identity: Identity, folder: Path) -> Files:
    chain = [one.public_bytes(Encoding.PEM) for one in identity.chain]
    for name, content in (
        ("client.key", identity.private_key_pem()),
        ("client.pem", identity.certificate.public_bytes(Encoding.PEM)),
        ("chain.pem", b"".join(chain)),
        ("root.pem", chain[-1]),
    ):
        (folder / name).write_bytes(content)
        (folder / name).chmod(0o600)
    return Files(identity, folder)


def run(*command: str | Path, stdin: bytes = b"", env: dict[str, str] | None = None) -> bytes:
    """Run a program and return what it prints; a failure shows what it complained of."""
    done = subprocess.run(
        [str(word) for word in command], input=stdin, capture_output=True, timeout=60, env=env
    )
    assert done.returncode == 0, done.stderr.decode(errors="replace")[:500]
    return done.stdout


def der(identity: Identity) -> tuple[bytes, bytes]:
    """Return a certificate and its key as DER."""
    key = identity.private_key.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())
    return identity.certificate.public_bytes(Encoding.DER), key


@pytest.fixture(scope="session")
def issuing_ca() -> CA:
    """An intermediate CA: what it issues has a chain of two."""
    return CA("Root").intermediate("Issuing")


@pytest.fixture(scope="session")
def rsa(issuing_ca: CA, tmp_path_factory: pytest.TempPathFactory) -> Files:
    return written(issuing_ca.issue("client", key="rsa"), tmp_path_factory.mktemp("rsa"))


@pytest.fixture(scope="session")
def ec(issuing_ca: CA, tmp_path_factory: pytest.TempPathFactory) -> Files:
    return written(issuing_ca.issue("client-ec"), tmp_path_factory.mktemp("ec"))
