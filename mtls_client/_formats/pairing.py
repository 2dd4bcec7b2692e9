"""Which key belongs to which certificate, and which certificates make its chain."""

from __future__ import annotations

import datetime
import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509.oid import NameOID

from mtls_client._formats.contents import Certificate, Contents, Key
from mtls_client._formats.fitness import for_client_auth
from mtls_client.errors import (
    AmbiguousIdentityError,
    IdentityFormatError,
    IdentityNotFoundError,
    KeyMismatchError,
)
from mtls_client.pins import Pin

__all__ = ["Pair", "chain_of", "pair", "pair_mismatch"]


@dataclass(frozen=True, slots=True, repr=False)
class Pair:
    """A key and its certificate.

    Attributes:
        leaf: the certificate.
        key: its private key.
        chain: its issuers, in order, as far as they were found.
        dropped: certificates that are no part of the chain, in words.
    """

    leaf: Certificate
    key: Key
    chain: tuple[x509.Certificate, ...]
    dropped: tuple[str, ...]


def pair(contents: Contents, select: str | None) -> Pair:
    """Find the identity in what a file or several held.

    Args:
        contents: all certificates and keys.
        select: a label, a SHA-256 fingerprint, a subject (RFC 4514) or common name, or
            `for_mtls`; None if there is only one.

    Raises:
        IdentityNotFoundError: there is no certificate, no key, or none that was selected.
        KeyMismatchError: no key belongs to any certificate.
        AmbiguousIdentityError: there are several.
        IdentityFormatError: there is neither.
    """
    pairs = _pairs(contents)
    if not pairs:
        raise _nothing(contents)
    chosen = [one for one in pairs if _selected(one, select)] if select is not None else pairs
    if not chosen:
        raise IdentityNotFoundError(
            f"no identity matches select={select!r}{_listed(pairs)}",
            hint="select by label, SHA-256 fingerprint, subject or 'for_mtls'",
            code="selection_empty",
        )
    if len(chosen) > 1:
        raise AmbiguousIdentityError(
            f"{len(chosen)} identities{_listed(chosen)}",
            hint="say which: select='<fingerprint>' (or a label, a subject, 'for_mtls')",
        )
    leaf, key = chosen[0]
    others = [one.value for one in contents.certificates if one.value != leaf.value]
    chain, dropped = chain_of(leaf.value, others)
    return Pair(leaf, key, chain, dropped)


def chain_of(
    leaf: x509.Certificate, others: Iterable[x509.Certificate]
) -> tuple[tuple[x509.Certificate, ...], tuple[str, ...]]:
    """Order a certificate's issuers by linkage; return them, and the rest in words."""
    pool = list(dict.fromkeys(others))
    chain: list[x509.Certificate] = []
    current = leaf
    while current.issuer != current.subject:
        issuers = [one for one in pool if one.subject == current.issuer]
        if len(issuers) > 1:  # two keys or two editions under one name: the signature tells
            issuers = [one for one in issuers if _issued(current, by=one)] or issuers
        if not issuers:
            break
        current = max(issuers, key=lambda one: one.not_valid_after_utc)
        pool.remove(current)
        chain.append(current)
    return tuple(chain), tuple(
        f"not part of the chain: {one.subject.rfc4514_string()}" for one in pool
    )


def pair_mismatch(
    certificates: Sequence[x509.Certificate], keys: Sequence[Key]
) -> KeyMismatchError:
    """Return the error that names the public keys of both sides."""
    ours = ", ".join(str(Pin(_digest(key))) for key in keys)
    theirs = ", ".join(
        f"{one.subject.rfc4514_string()} has {Pin.of(one.public_bytes(Encoding.DER))}"
        for one in certificates
    )
    return KeyMismatchError(
        f"the private key does not belong to the certificate: the key is {ours}; {theirs}",
        hint="find the key that was made with the certificate's request; "
        "compare with: mtls show FILE",
    )


def _pairs(contents: Contents) -> list[tuple[Certificate, Key]]:
    by_certificate = {one.value: one for one in reversed(contents.certificates)}
    certificates = [one for one in contents.certificates if by_certificate[one.value] is one]
    if not contents.keys:
        return []
    public = [(one, one.value.public_key()) for one in certificates]
    found, seen = [], []
    for key in contents.keys:
        mine = key.value.public_key()
        if mine in seen:
            continue
        seen.append(mine)
        found += [(certificate, key) for certificate, theirs in public if theirs == mine]
    return found


def _nothing(contents: Contents) -> Exception:
    held = "; it holds a " + ", a ".join(dict.fromkeys(contents.others)) if contents.others else ""
    if contents.certificates and contents.keys:
        return pair_mismatch([one.value for one in contents.certificates[:4]], contents.keys[:4])
    if contents.certificates:
        return IdentityNotFoundError(
            f"a certificate, but no private key{held}",
            hint="give the key file too: FileSource('client.pem', 'client.key')",
            code="no_key",
        )
    if contents.keys:
        return IdentityNotFoundError(
            f"a private key, but no certificate{held}",
            hint="give the certificate file too: FileSource('client.pem', 'client.key')",
            code="no_certificate",
        )
    return IdentityFormatError(
        f"neither a certificate nor a private key{held}",
        hint="check that this is the right file: mtls show FILE",
        code="no_identity",
    )


def _selected(one: tuple[Certificate, Key], select: str) -> bool:
    certificate, key = one
    value = certificate.value
    if select == "for_mtls":
        now = datetime.datetime.now(datetime.UTC)
        valid = value.not_valid_before_utc <= now < value.not_valid_after_utc
        return valid and for_client_auth(value)
    names = [str(name.value) for name in value.subject.get_attributes_for_oid(NameOID.COMMON_NAME)]
    fingerprint = value.fingerprint(SHA256()).hex()
    return (
        select in (certificate.label, key.label, value.subject.rfc4514_string(), *names)
        or select.replace(":", "").lower() == fingerprint
    )


def _listed(pairs: Iterable[tuple[Certificate, Key]]) -> str:
    return "".join(
        f"\n    {one.value.fingerprint(SHA256()).hex()}  {one.value.subject.rfc4514_string()}, "
        f"until {one.value.not_valid_after_utc:%Y-%m-%d}"
        + (f", {one.label!r}" if one.label else "")
        for one, _ in pairs
    )


def _issued(certificate: x509.Certificate, *, by: x509.Certificate) -> bool:
    try:
        certificate.verify_directly_issued_by(by)
    except (ValueError, TypeError, InvalidSignature):
        return False
    return True


def _digest(key: Key) -> bytes:
    public = key.value.public_key()
    return hashlib.sha256(
        public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    ).digest()
