"""Names as text that is safe to print."""

from __future__ import annotations

import re

from cryptography import x509

from mtls_client._formats import parsing
from mtls_client._formats.der import Element, element, elements, sequence

__all__ = ["addresses", "alternative", "from_der", "printable", "text"]

_UNPRINTABLE = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\u200e\u200f\u202a-\u202e\u2066-\u2069]")


def text(name: x509.Name) -> str:
    r"""Return a name as RFC 4514 writes it, on one line whatever it contains.

    What a terminal or a log would obey (line breaks, escapes, changes of direction) is written as
    `\0A`, which RFC 4514 §2.4 allows for every character.
    """
    return printable(name.rfc4514_string())


def printable(words: str) -> str:
    """Return what a stranger wrote, with what a terminal or a log would obey spelled out."""
    return _UNPRINTABLE.sub(
        lambda match: "".join(f"\\{byte:02X}" for byte in match[0].encode()), words
    )


@parsing.total
def from_der(data: bytes) -> x509.Name:
    """Read a name that stands alone (RFC 5280 §4.1.2.4); `cryptography` reads whole certificates.

    Raises:
        ValueError: it is malformed.
    """
    return x509.Name(
        x509.RelativeDistinguishedName(
            _attribute(data, one) for one in elements(data, part.start, part.end)
        )
        for part in sequence(data)
    )


def alternative(
    certificate: x509.Certificate, kind: type[x509.DNSName | x509.UniformResourceIdentifier]
) -> tuple[str, ...]:
    """Return the names of one kind in the subjectAltName (RFC 5280 §4.2.1.6)."""
    for extension in certificate.extensions:
        if isinstance(extension.value, x509.SubjectAlternativeName):
            return tuple(extension.value.get_values_for_type(kind))
    return ()


def addresses(certificate: x509.Certificate) -> tuple[str, ...]:
    """Return the IP addresses of the subjectAltName."""
    for extension in certificate.extensions:
        if isinstance(extension.value, x509.SubjectAlternativeName):
            return tuple(map(str, extension.value.get_values_for_type(x509.IPAddress)))
    return ()


# the string types of X.680; a TeletexString is Latin-1 in practice
_STRINGS = {0x0C: "utf-8", 0x13: "ascii", 0x14: "latin-1", 0x16: "ascii", 0x1E: "utf-16-be"}


def _attribute(data: bytes, pair: Element) -> x509.NameAttribute[str]:
    kind = element(data, pair.start)
    value = element(data, kind.after)
    encoding = _STRINGS.get(value.tag, "latin-1")
    content = data[value.start : value.end].decode(encoding, "replace")
    identifier = x509.ObjectIdentifier(_dotted(data[kind.start : kind.end]))
    return x509.NameAttribute(identifier, content)


def _dotted(content: bytes) -> str:
    """Return an OBJECT IDENTIFIER as people write it (X.690 §8.19)."""
    numbers, current = [], 0
    for byte in content:
        current = current << 7 | byte & 0x7F
        if not byte & 0x80:
            numbers.append(current)
            current = 0
    if not numbers:
        raise ValueError("an empty object identifier")
    first = min(numbers[0] // 40, 2)
    return ".".join(map(str, [first, numbers[0] - 40 * first, *numbers[1:]]))
