"""Which key belongs to which certificate."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes, PublicKeyTypes
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from mtls_client._formats import chain, keys, names, parsing
from mtls_client._formats.contents import Certificate, Contents, Key
from mtls_client.errors import IdentityError, IdentityNotFoundError, KeyMismatchError
from mtls_client.pins import Pin

__all__ = ["Pair", "examined", "matching", "mismatch", "pairs", "pin"]


@dataclass(frozen=True, slots=True, repr=False)
class Pair:
    """A certificate and its private key."""

    certificate: Certificate
    key: Key


def pairs(contents: Contents) -> list[Pair]:
    """Return each certificate whose private key is there too, once.

    Raises:
        IdentityNotFoundError: there is no certificate, no key, or neither.
        KeyMismatchError: no key belongs to any certificate.
        IdentityFormatError: TLS has no use for such a key.
    """
    found = matching(contents)
    if not found:
        for key in contents.keys:
            keys.kind(key.value)  # rather than that it does not belong to the certificate
        raise _none(contents)
    return found


@parsing.total
def matching(contents: Contents) -> list[Pair]:
    """Return each certificate whose private key is there too, once; none may be."""
    certificates: dict[x509.Certificate, Certificate] = {}
    for one in contents.certificates:
        certificates.setdefault(one.value, one)
    found = []
    for certificate in certificates.values():
        for key in contents.keys:
            if _belong_together(certificate.value, key.value):
                found.append(Pair(certificate, key))
                break
    return found


@parsing.total
def examined(
    certificate: x509.Certificate, key: PrivateKeyTypes, others: Iterable[x509.Certificate]
) -> tuple[bool, tuple[x509.Certificate, ...], tuple[str, ...]]:
    """Read what an identity needs of its certificates, while it can still be refused.

    Returns:
        Whether the key belongs to the certificate; its chain; what is no part of it, in words.
    """
    _ = parsing.touched(certificate).extensions
    issuers, dropped = chain.ordered(certificate, [parsing.touched(one) for one in others])
    return _belong_together(certificate, key), issuers, dropped


def mismatch(
    certificates: Sequence[x509.Certificate], private: Sequence[PrivateKeyTypes]
) -> KeyMismatchError:
    """Return the error that names the public keys of both sides, by their pins."""
    ours = ", ".join(str(pin(key.public_key())) for key in private)
    theirs = ", ".join(
        f"{names.text(one.subject)} has {Pin.of(one.public_bytes(Encoding.DER))}"
        for one in certificates
    )
    return KeyMismatchError(
        f"the private key does not belong to the certificate: the key is {ours}; {theirs}",
        hint="find the key that was made with the certificate's request; "
        "compare with: mtls show FILE",
    )


def pin(public: PublicKeyTypes) -> Pin:
    """Return the pin of a public key."""
    der = public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return Pin(hashlib.sha256(der).digest())


def _belong_together(certificate: x509.Certificate, key: PrivateKeyTypes) -> bool:
    try:
        return bool(certificate.public_key() == key.public_key())
    except parsing.UNREADABLE:
        return False  # of a kind that is none of ours


def _none(contents: Contents) -> IdentityError:
    if contents.certificates and contents.keys:
        return mismatch(
            [one.value for one in contents.certificates[:4]],
            [one.value for one in contents.keys[:4]],
        )
    others = "; it holds " + ", ".join(dict.fromkeys(contents.others)) if contents.others else ""
    if contents.certificates:
        return IdentityNotFoundError(
            f"a certificate, but no private key{others}",
            hint="give the key file too: FileSource('client.pem', 'client.key')",
            code="no_key",
        )
    if contents.keys:
        return IdentityNotFoundError(
            f"a private key, but no certificate{others}",
            hint="give the certificate file too: FileSource('client.pem', 'client.key')",
            code="no_certificate",
        )
    return IdentityNotFoundError(
        f"neither a certificate nor a private key{others}",
        hint="check that this is the right file: mtls show FILE",
        code="no_identity",
    )
