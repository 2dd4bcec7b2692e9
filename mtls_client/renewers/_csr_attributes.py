"""What an EST server wants to find in a request (RFC 7030 §4.5.2, RFC 9908).

Rules of this file: a server's wishes never change the subject or the subjectAltName, which a
renewal keeps (RFC 7030 §4.2.2); what cannot be met is left out, with a note.
"""

from __future__ import annotations

import base64
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from cryptography import x509
from cryptography.hazmat.primitives import hashes

from mtls_client._formats.der import Element, elements, integer, octets, sequence
from mtls_client.identity import Identity
from mtls_client.renewers.csr import KeyKind, Request

__all__ = ["CSRAttributes"]

_OID, _SET, _INTEGER = 0x06, 0x31, 0x02
_EXTENSION_REQUEST = "1.2.840.113549.1.9.14"
_KEYS = {
    "1.2.840.113549.1.1.1": "RSA",
    "1.2.840.10045.2.1": "EC",
    "1.3.101.112": "Ed25519",
    "1.3.101.113": "Ed448",
}
_CURVES = {"1.2.840.10045.3.1.7": 256, "1.3.132.0.34": 384, "1.3.132.0.35": 521}
_SIGNATURES: dict[str, tuple[str, hashes.HashAlgorithm]] = {
    "1.2.840.113549.1.1.11": ("RSA", hashes.SHA256()),
    "1.2.840.113549.1.1.12": ("RSA", hashes.SHA384()),
    "1.2.840.113549.1.1.13": ("RSA", hashes.SHA512()),
    "1.2.840.10045.4.3.2": ("EC", hashes.SHA256()),
    "1.2.840.10045.4.3.3": ("EC", hashes.SHA384()),
    "1.2.840.10045.4.3.4": ("EC", hashes.SHA512()),
}
_KINDS: dict[tuple[str, int | None], KeyKind] = {
    ("RSA", None): "rsa",
    ("RSA", 2048): "rsa",
    ("RSA", 3072): "rsa3072",
    ("RSA", 4096): "rsa4096",
    ("EC", None): "ec",
    ("EC", 256): "ec",
    ("EC", 384): "ec384",
    ("Ed25519", None): "ed25519",
}
_FAMILIES: dict[KeyKind, str] = {kind: family for (family, _), kind in _KINDS.items()}
_SETTLED = {"2.5.29.17", "2.5.29.14", "2.5.29.35"}
"""The subjectAltName, which stays; the key identifiers, which the issuer makes."""

_LONGEST_OID = 64
_MOST_NAMED = 8


@dataclass(frozen=True, slots=True)
class CSRAttributes:
    """The wishes of an EST server.

    Attributes:
        keys: the kinds of key it takes, as `Identity.key_type` and a size in bits, or None for
            any size; no kinds if it does not say.
        signatures: the kinds of key and the hashes that requests may be signed with.
        extensions: what certificates should have: an OID, and the value if the server gives one.
        unknown: the OIDs of whatever else it wants.
    """

    keys: tuple[tuple[str, int | None], ...] = ()
    signatures: tuple[tuple[str, hashes.HashAlgorithm], ...] = ()
    extensions: tuple[tuple[str, bool, bytes | None], ...] = ()
    unknown: tuple[str, ...] = ()

    @classmethod
    def read(cls, body: bytes) -> CSRAttributes:
        """Read the body of an answer to `csrattrs`, base64 or DER.

        Raises:
            ValueError: it is neither.
        """
        der = body if body[:1] == b"\x30" else base64.b64decode(b"".join(body.split()))
        keys: list[tuple[str, int | None]] = []
        signatures: list[tuple[str, hashes.HashAlgorithm]] = []
        extensions: list[tuple[str, bool, bytes | None]] = []
        unknown: list[str] = []
        for name, values in _attributes(der):
            if name in _KEYS:
                sizes = [_size(der, one) for one in values]
                keys += [(_KEYS[name], size) for size in sizes or [None]]
            elif name in _CURVES:
                keys.append(("EC", _CURVES[name]))
            elif name in _SIGNATURES:
                signatures.append(_SIGNATURES[name])
            elif name == _EXTENSION_REQUEST:
                extensions += [found for one in values for found in _extensions(der, one)]
            else:
                unknown.append(name)
        return cls(tuple(keys), tuple(signatures), tuple(extensions), tuple(unknown))

    def request(
        self, current: Identity, *, reuse_key: bool, key: KeyKind | None
    ) -> tuple[Request, tuple[str, ...]]:
        """Make a request that is as the server wants it, and say what could not be met.

        Args:
            current: the identity to replace.
            reuse_key: keep its key, whatever the server wants.
            key: the kind of the new key, whatever the server wants.
        """
        notes: list[str] = []
        if key is None and not reuse_key:
            key = self._kind(current, notes)
        family = _FAMILIES[key] if key and not reuse_key else current.key_type
        digests = [digest for kind, digest in self.signatures if kind == family]
        request = Request.renewing(
            current,
            reuse_key=reuse_key,
            key=key,
            extensions=list(self._wanted(current, notes)),
            digest=min(digests, key=lambda one: one.digest_size, default=None),
        )
        if self.unknown:
            notes.append(f"the EST server wants what is not known here: {_listed(self.unknown)}")
        return request, tuple(notes)

    def _kind(self, current: Identity, notes: list[str]) -> KeyKind | None:
        """Return the kind of a new key, None for that of the present one."""
        taken = self.keys or tuple((family, None) for family, _ in self.signatures)
        present = current.key_type
        if not taken or {(present, None), (present, current.key_bits)}.intersection(taken):
            return None
        kinds = [_KINDS[one] for one in taken if one in _KINDS]
        if not kinds:
            names = [f"{family} {size or ''}".strip() for family, size in taken]
            notes.append(f"the EST server wants a key that is not made here: {_listed(names)}")
        return kinds[0] if kinds else None

    def _wanted(
        self, current: Identity, notes: list[str]
    ) -> Iterator[tuple[x509.ExtensionType, bool]]:
        """Return extensions: as the server writes them, or else as the present ones are."""
        present = {one.oid.dotted_string: one for one in current.certificate.extensions}
        missing = []
        for name, critical, value in dict.fromkeys(self.extensions):
            if name in _SETTLED:
                continue
            if value is not None:
                yield x509.UnrecognizedExtension(x509.ObjectIdentifier(name), value), critical
            elif name in present:
                yield present[name].value, present[name].critical
            else:
                missing.append(name)
        if missing:
            notes.append(
                "the EST server wants extensions that the present certificate has not: "
                + _listed(missing)
            )


def _attributes(der: bytes) -> Iterator[tuple[str, list[Element]]]:
    """Return each OID of a CsrAttrs, with its values if it is an attribute."""
    for one in sequence(der):
        if one.tag == _OID:
            yield _dotted(der, one), []
            continue
        name, values = elements(der, one.start, one.end)
        if values.tag != _SET:
            raise ValueError("an attribute without values")
        yield _dotted(der, name), list(elements(der, values.start, values.end))


def _size(der: bytes, value: Element) -> int | None:
    """Return the size of a key: a curve's, or that of an RSA modulus."""
    if value.tag == _OID:
        return _CURVES.get(_dotted(der, value), 0)
    return integer(der, value) if value.tag == _INTEGER else None


def _extensions(der: bytes, value: Element) -> Iterator[tuple[str, bool, bytes | None]]:
    """Return what is wanted: an OID alone, or Extensions (RFC 5280 §4.1)."""
    if value.tag == _OID:
        yield _dotted(der, value), False, None
        return
    for one in elements(der, value.start, value.end):
        name, *critical, content = elements(der, one.start, one.end)
        flagged = bool(critical) and der[critical[0].start : critical[0].end] != b"\0"
        yield _dotted(der, name), flagged, octets(der, content) or None


def _dotted(der: bytes, oid: Element) -> str:
    content = der[oid.start : oid.end]
    if oid.tag != _OID or not 0 < len(content) <= _LONGEST_OID or content[-1] & 0x80:
        raise ValueError("not an object identifier")
    numbers, number = [], 0
    for byte in content:
        number = number << 7 | byte & 0x7F
        if not byte & 0x80:
            numbers.append(number)
            number = 0
    first = min(numbers[0] // 40, 2)
    text = ".".join(map(str, (first, numbers[0] - 40 * first, *numbers[1:])))
    return x509.ObjectIdentifier(text).dotted_string  # a ValueError now rather than later


def _listed(names: Sequence[str]) -> str:
    more = len(names) - _MOST_NAMED
    return ", ".join(names[:_MOST_NAMED]) + (f" and {more} more" if more > 0 else "")
