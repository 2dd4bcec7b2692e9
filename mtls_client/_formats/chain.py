"""A certificate's issuers, in order (RFC 5280 §6.1, RFC 8446 §4.4.2)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TypeVar

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm

from mtls_client._formats import names

__all__ = ["ordered"]

_LONGEST = 16
"""Nobody issues longer chains; a crafted file could make the search last."""

_E = TypeVar("_E", bound=x509.ExtensionType)


def ordered(
    leaf: x509.Certificate, others: Iterable[x509.Certificate]
) -> tuple[tuple[x509.Certificate, ...], tuple[str, ...]]:
    """Return the issuers of a leaf, the nearest first, and the rest in words.

    Among several editions of an issuer the one that is valid longest is taken. A root is kept.
    """
    pool = [one for one in dict.fromkeys(others) if one != leaf]
    # stable: where editions end at the same time, the order of the file decides
    pool.sort(key=lambda one: one.not_valid_after_utc, reverse=True)
    chain: list[x509.Certificate] = []
    current = leaf
    while current.issuer != current.subject and len(chain) < _LONGEST:
        issuer = next((one for one in pool if _issued(current, one)), None)
        if issuer is None:
            break
        pool.remove(issuer)
        chain.append(issuer)
        current = issuer
    return tuple(chain), tuple(f"not part of the chain: {names.text(one.subject)}" for one in pool)


def _issued(certificate: x509.Certificate, by: x509.Certificate) -> bool:
    """Tell by the name, and by key identifiers (RFC 5280 §4.2.1.1) or else the signature."""
    if by.subject != certificate.issuer:
        return False
    authority = _extension(certificate, x509.AuthorityKeyIdentifier)
    subject = _extension(by, x509.SubjectKeyIdentifier)
    if authority and authority.key_identifier and subject:
        return authority.key_identifier == subject.digest
    try:
        certificate.verify_directly_issued_by(by)
    except InvalidSignature:
        return False
    except (ValueError, TypeError, UnsupportedAlgorithm):
        return True  # an old algorithm that cannot be checked here: the name has to do
    return True


def _extension(certificate: x509.Certificate, kind: type[_E]) -> _E | None:
    try:
        return certificate.extensions.get_extension_for_class(kind).value
    except (ValueError, x509.ExtensionNotFound, x509.DuplicateExtension):
        return None
