"""Whether a certificate is fit to be shown to a server: dates, usage, strength."""

from __future__ import annotations

import datetime
from typing import TYPE_CHECKING

from cryptography import x509
from cryptography.hazmat.primitives.hashes import MD5, SHA1
from cryptography.x509.oid import ExtendedKeyUsageOID

from mtls_client._formats import parsing
from mtls_client.errors import (
    IdentityExpiredError,
    IdentityNotYetValidError,
    IdentityPurposeError,
    WeakIdentityError,
)

if TYPE_CHECKING:
    from mtls_client.identity import Identity

__all__ = ["for_client_auth", "is_ca", "missing_usage", "require", "weak_signature"]

_CLIENT_AUTH = {ExtendedKeyUsageOID.CLIENT_AUTH, ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE}


def for_client_auth(certificate: x509.Certificate) -> bool:
    """Tell whether the usage extensions allow client authentication (RFC 5280 §4.2.1)."""
    return missing_usage(certificate) is None


def is_ca(certificate: x509.Certificate) -> bool:
    """Tell whether a certificate is one of a CA (RFC 5280 §4.2.1.9)."""
    return any(
        isinstance(one.value, x509.BasicConstraints) and one.value.ca
        for one in certificate.extensions
    )


def require(identity: Identity, now: datetime.datetime) -> None:
    """Raise the first reason why a server will refuse an identity.

    Raises:
        IdentityError: see `Identity.require_usable`.
    """
    subject = identity.subject
    if now >= identity.not_after:
        raise IdentityExpiredError(
            f"the certificate {subject} expired on {identity.not_after:%Y-%m-%d %H:%M} UTC",
            hint="renew it; if it should still be valid, check this machine's clock",
        )
    if now < identity.not_before:
        raise IdentityNotYetValidError(
            f"the certificate {subject} is not valid before "
            f"{identity.not_before:%Y-%m-%d %H:%M} UTC",
            hint=f"check this machine's clock: it says {now:%Y-%m-%d %H:%M} UTC",
        )
    if missing := missing_usage(identity.certificate):
        raise IdentityPurposeError(
            f"the certificate {subject} is not meant for client authentication: {missing}",
            hint="ask for one with extended key usage clientAuth and key usage "
            "digitalSignature; is this perhaps a server's certificate?",
        )
    if identity.key_type == "RSA" and identity.key_bits < 2048:
        raise WeakIdentityError(
            f"the RSA key of {subject} has {identity.key_bits} bits",
            hint="ask for a certificate with an RSA key of 2048 bits or more, or P-256",
        )
    if weak := weak_signature(identity.certificate):
        raise WeakIdentityError(
            f"the certificate {subject} is signed with {weak}",
            hint="ask for a certificate with a SHA-256 signature",
        )


def missing_usage(certificate: x509.Certificate) -> str | None:
    """Return what the usage extensions lack, or None; one that is not there restricts nothing."""
    for extension in certificate.extensions:
        usage = extension.value
        if isinstance(usage, x509.ExtendedKeyUsage) and not _CLIENT_AUTH.intersection(usage):
            return "its extended key usage lacks clientAuth"
        if isinstance(usage, x509.KeyUsage) and not usage.digital_signature:
            return "its key usage lacks digitalSignature"
    return None


def weak_signature(certificate: x509.Certificate) -> str | None:
    """Return the hash of a certificate's signature if it is no longer safe, or None."""
    try:
        algorithm = parsing.signature_hash(certificate)
    except parsing.UNREADABLE:
        return None  # not known to be weak
    return algorithm.name.upper() if isinstance(algorithm, (SHA1, MD5)) else None
