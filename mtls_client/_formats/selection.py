"""Which identity, if there are several."""

from __future__ import annotations

import datetime
from collections.abc import Iterable

from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.x509.oid import NameOID

from mtls_client._formats import fitness, names, parsing
from mtls_client._formats.contents import Certificate, Contents
from mtls_client._formats.pairing import Pair, pairs
from mtls_client.errors import AmbiguousIdentityError, IdentityNotFoundError

__all__ = ["matches", "selected"]

_HINT = "select by label, SHA-256 fingerprint, subject or common name, or 'for_mtls'"
_MOST_LISTED = 20


def selected(contents: Contents, select: str | None) -> Pair:
    """Return the one identity in what files held.

    Args:
        contents: all certificates and keys.
        select: a label, a SHA-256 fingerprint, a subject (RFC 4514) or common name, or
            `for_mtls` (valid now and meant for client authentication); None if there is but one.

    Raises:
        IdentityNotFoundError: there is none, or none that was selected.
        KeyMismatchError: no key belongs to any certificate.
        AmbiguousIdentityError: there are several.
    """
    found = pairs(contents)
    chosen = (
        [one for one in found if matches(one.certificate, select, one.key.label)]
        if select is not None
        else found
    )
    if not chosen:
        raise IdentityNotFoundError(
            f"no identity matches select={select!r}; there is{_listed(found)}",
            hint=_HINT,
            code="selection_empty",
        )
    if len(chosen) > 1:
        raise AmbiguousIdentityError(
            f"{len(chosen)} identities, and no word on which to use:{_listed(chosen)}",
            hint=f"say which, for example select='{_fingerprint(chosen[0])}'; {_HINT}",
        )
    return chosen[0]


def matches(certificate: Certificate, select: str, label: str | None = None) -> bool:
    """Tell whether a certificate is the one that is meant, see `selected`.

    Args:
        certificate: the certificate.
        select: what it is to match.
        label: a further label: its key's.
    """
    value = certificate.value
    if select == "for_mtls":
        now = datetime.datetime.now(datetime.UTC)
        valid = value.not_valid_before_utc <= now < value.not_valid_after_utc
        return valid and fitness.for_client_auth(value)
    common = [str(one.value) for one in value.subject.get_attributes_for_oid(NameOID.COMMON_NAME)]
    subject = (value.subject.rfc4514_string(), names.text(value.subject))
    if select in (certificate.label, label, *subject, *common):
        return True
    return select.replace(":", "").lower() == value.fingerprint(SHA256()).hex()


def _listed(candidates: Iterable[Pair]) -> str:
    lines = [_line(one) for one in candidates]
    more = len(lines) - _MOST_LISTED
    return "".join(lines[:_MOST_LISTED]) + (f"\n    and {more} more" if more > 0 else "")


def _line(pair: Pair) -> str:
    value, label = pair.certificate.value, pair.certificate.label or pair.key.label
    return (
        f"\n    {_fingerprint(pair)}  {names.text(value.subject)}, "
        f"serial {parsing.serial(value)}, until {value.not_valid_after_utc:%Y-%m-%d}"
        + (f", label {label!r}" if label else "")
    )


def _fingerprint(pair: Pair) -> str:
    return pair.certificate.value.fingerprint(SHA256()).hex()
