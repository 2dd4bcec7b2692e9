"""Whether a certificate is fit to be shown to a server: dates, usage, strength."""

from __future__ import annotations

import datetime
from typing import TYPE_CHECKING

from cryptography import x509
from cryptography.hazmat.primitives.hashes import MD5, SHA1
from cryptography.x509.oid import ExtendedKeyUsageOID

from mtls_client.errors import (
    IdentityExpiredError,
    IdentityNotYetValidError,
    IdentityPurposeError,
    WeakIdentityError,
)

if TYPE_CHECKING:
    from mtls_client.identity import Identity

__all__ = ["for_client_auth", "require"]

_CLIENT_AUTH = {ExtendedKeyUsageOID.CLIENT_AUTH, ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE}


def for_client_auth(certificate: x509.Certificate) -> bool:
    """Tell whether the usage extensions allow client authentication (RFC 5280 §4.2.1)."""
    for extension in certificate.extensions:
        usage = extension.value
        if isinstance(usage, x509.ExtendedKeyUsage) and not _CLIENT_AUTH.intersection(usage):
            return False
        if isinstance(usage, x509.KeyUsage) and not usage.digital_signature:
            return False
    return True


def require(identity: Identity, now: datetime.datetime) -> None:
    """Raise the first reason why a server will refuse an identity.

    Raises:
        IdentityError: see `Identity.require_usable`.
    """
    if now >= identity.not_after:
        raise IdentityExpiredError(
            f"the certificate {identity.subject} expired on "
            f"{identity.not_after:%Y-%m-%d %H:%M} UTC",
            hint="renew it; if it should still be valid, check this machine's clock",
        )
    if now < identity.not_before:
        raise IdentityNotYetValidError(
            f"the certificate {identity.subject} is not valid before "
            f"{identity.not_before:%Y-%m-%d %H:%M} UTC",
            hint=f"check this machine's clock: it says {now:%Y-%m-%d %H:%M} UTC",
        )
    if not identity.usable_for_client_auth:
        raise IdentityPurposeError(
            f"the certificate {identity.subject} is not meant for client authentication",
            hint="ask for one with extended key usage clientAuth and key usage "
            "digitalSignature; is this perhaps a server's certificate?",
        )
    if identity.key_type == "RSA" and identity.key_bits < 2048:
        raise WeakIdentityError(
            f"the key of {identity.subject} has {identity.key_bits} bits",
            hint="ask for a certificate with an RSA key of 2048 bits or more, or P-256",
        )
    if isinstance(identity.certificate.signature_hash_algorithm, (SHA1, MD5)):
        raise WeakIdentityError(
            f"the certificate {identity.subject} is signed with "
            f"{identity.certificate.signature_hash_algorithm.name.upper()}",
            hint="ask for a certificate with a SHA-256 signature",
        )
