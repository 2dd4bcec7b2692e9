"""Identities to bytes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    KeySerializationEncryption,
    NoEncryption,
    PrivateFormat,
)

from mtls_client.errors import ConfigurationError

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes

    from mtls_client.identity import Identity

__all__ = ["as_pem", "as_pkcs12", "key_as_pem", "private_pem"]


def as_pem(identity: Identity, password: str | bytes | None) -> bytes:
    """Return key, certificate and chain as PEM; the key encrypted if there is a password."""
    key = key_as_pem(identity, password)
    chain = [one.public_bytes(Encoding.PEM) for one in (identity.certificate, *identity.chain)]
    return b"".join([key, *chain])


def key_as_pem(identity: Identity, password: str | bytes | None) -> bytes:
    """Return the key alone as PKCS#8 PEM; encrypted if there is a password."""
    return private_pem(identity.private_key, password)


def private_pem(key: PrivateKeyTypes, password: str | bytes | None) -> bytes:
    """Return a private key as PKCS#8 PEM; encrypted if there is a password."""
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, _encryption(password))


def as_pkcs12(identity: Identity, password: str | bytes | None, label: str | None) -> bytes:
    """Return key, certificate and chain as PKCS#12 (RFC 7292)."""
    from cryptography.hazmat.primitives.serialization import pkcs12

    key: Any = identity.private_key
    name = label.encode() if label else None
    return pkcs12.serialize_key_and_certificates(
        name, key, identity.certificate, identity.chain, _encryption(password)
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
