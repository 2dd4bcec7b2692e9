"""Private keys: PKCS#8 (RFC 5958), PKCS#1 (RFC 8017 appendix A.1.2), SEC1 (RFC 5915)."""

from __future__ import annotations

import re

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, rsa
from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes

from mtls_client._formats import parsing, protection
from mtls_client._formats.passwords import Secret
from mtls_client.errors import IdentityFormatError

__all__ = ["bits", "decrypted", "decrypted_pem", "kind", "plain"]

_KINDS: dict[type, str] = {
    rsa.RSAPrivateKey: "RSA",
    ec.EllipticCurvePrivateKey: "EC",
    ed25519.Ed25519PrivateKey: "Ed25519",
    ed448.Ed448PrivateKey: "Ed448",
}
_WHAT = "the private key"
_CONVERT = "openssl pkey -provider legacy -provider default -in FILE -aes256 -out NEW.key"
# what cryptography reads of all that OpenSSL writes; a short initialisation vector makes it panic
_PEM_CIPHER = re.compile(
    rb"DEK-Info: (?:AES-(?:128|256)-CBC,[0-9A-Fa-f]{32}|DES-EDE3-CBC,[0-9A-Fa-f]{16})\n"
)


def kind(key: object) -> str:
    """Return `RSA`, `EC`, `Ed25519` or `Ed448`.

    Raises:
        IdentityFormatError: it is of a kind that TLS does not sign with.
    """
    for one, name in _KINDS.items():
        if isinstance(key, one):
            return name
    raise IdentityFormatError(
        f"a {type(key).__name__} cannot be used in TLS",
        hint="use an RSA, EC, Ed25519 or Ed448 key",
        code="unsupported_key",
    )


def bits(key: PrivateKeyTypes) -> int:
    """Return the size of a key."""
    fixed = {"Ed25519": 256, "Ed448": 456}.get(kind(key))
    return fixed or int(getattr(key, "key_size", 0))


def plain(der: bytes) -> PrivateKeyTypes:
    """Read a key that is not encrypted.

    Raises:
        IdentityFormatError: it is damaged, or of an unknown kind.
    """
    try:
        return parsing.key_from_der(der, None)
    except UnsupportedAlgorithm as error:
        raise _unsupported() from error
    except ValueError:
        # nothing of what a parser says about a key belongs in an error, hence no cause
        damaged = IdentityFormatError(
            "damaged: the private key cannot be parsed",
            hint="get the file again; copy it in binary mode",
            code="damaged",
        )
    raise damaged


def decrypted(der: bytes, secret: Secret) -> PrivateKeyTypes:
    """Read a PKCS#8 EncryptedPrivateKeyInfo.

    Raises:
        IdentityFormatError: it cannot be read, with whatever password.
        PasswordError: the password is wrong, or one is needed.
    """
    secret.spend(protection.rounds(der))
    protection.refuse_disabled(der, _WHAT, _CONVERT)
    protection.refuse_unknown(der, _WHAT, _CONVERT)
    try:
        return secret.unlock(_WHAT, lambda password: parsing.key_from_der(der, password))
    except UnsupportedAlgorithm as error:
        raise _unsupported() from error


def decrypted_pem(pem: bytes, secret: Secret) -> PrivateKeyTypes:
    """Read a key that PEM encrypts, with a DEK-Info header (RFC 1421 §4.6.1.3).

    Raises:
        IdentityFormatError: it cannot be read, with whatever password.
        PasswordError: the password is wrong, or one is needed.
    """
    if not _PEM_CIPHER.search(pem):
        raise protection.unsupported(_WHAT, _CONVERT)
    try:
        return secret.unlock(_WHAT, lambda password: parsing.key_from_pem(pem, password or b""))
    except UnsupportedAlgorithm as error:
        raise _unsupported() from error


def _unsupported() -> IdentityFormatError:
    return IdentityFormatError(
        "a private key of a kind that this library does not know",
        hint="use an RSA, EC (P-256, P-384, P-521), Ed25519 or Ed448 key",
        code="unsupported_key",
    )
