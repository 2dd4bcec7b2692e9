"""Identities to bytes."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    KeySerializationEncryption,
    NoEncryption,
    PrivateFormat,
)
from cryptography.x509 import Certificate

from mtls_client.errors import ConfigurationError

if TYPE_CHECKING:
    from mtls_client.identity import Identity

__all__ = ["as_pem", "as_pkcs12", "certificates_as_pem", "encoded_key"]


def as_pem(identity: Identity, password: str | bytes | None) -> bytes:
    """Return key, certificate and chain as PEM; the key encrypted if there is a password."""
    key = encoded_key(identity.private_key, password)
    return key + certificates_as_pem((identity.certificate, *identity.chain))


def certificates_as_pem(certificates: Iterable[Certificate]) -> bytes:
    """Return certificates as PEM, in their order."""
    return b"".join(one.public_bytes(Encoding.PEM) for one in certificates)


def encoded_key(
    key: PrivateKeyTypes, password: str | bytes | None, encoding: Encoding = Encoding.PEM
) -> bytes:
    """Return a key alone as PKCS#8; encrypted if there is a password."""
    return key.private_bytes(encoding, PrivateFormat.PKCS8, _encryption(password))


def as_pkcs12(
    identity: Identity,
    password: str | bytes | None,
    label: str | None,
    further: Iterable[Certificate] = (),
) -> bytes:
    """Return key, certificate and chain, and what else is to be in it, as PKCS#12 (RFC 7292)."""
    from cryptography.hazmat.primitives.serialization import pkcs12

    key: Any = identity.private_key
    name = label.encode() if label else None
    return pkcs12.serialize_key_and_certificates(
        name, key, identity.certificate, [*identity.chain, *further], _encryption(password)
    )


def _encryption(password: str | bytes | None) -> KeySerializationEncryption:
    if password is None:
        return NoEncryption()
    encoded = password.encode() if isinstance(password, str) else password
    if not 0 < len(encoded) < 1024:
        raise ConfigurationError(
            "a password to encrypt with has 1 to 1023 bytes",
            hint="write password=None to write the key unencrypted",
            code="password_length",
        )
    return BestAvailableEncryption(encoded)
