"""Names as text that is safe to print."""

from __future__ import annotations

import re

from cryptography import x509

__all__ = ["alternative", "text"]

_UNPRINTABLE = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\u200e\u200f\u202a-\u202e\u2066-\u2069]")


def text(name: x509.Name) -> str:
    r"""Return a name as RFC 4514 writes it, on one line whatever it contains.

    What a terminal or a log would obey (line breaks, escapes, changes of direction) is written as
    `\0A`, which RFC 4514 §2.4 allows for every character.
    """
    return _UNPRINTABLE.sub(
        lambda match: "".join(f"\\{byte:02X}" for byte in match[0].encode()), name.rfc4514_string()
    )


def alternative(
    certificate: x509.Certificate, kind: type[x509.DNSName | x509.UniformResourceIdentifier]
) -> tuple[str, ...]:
    """Return the names of one kind in the subjectAltName (RFC 5280 §4.2.1.6)."""
    for extension in certificate.extensions:
        if isinstance(extension.value, x509.SubjectAlternativeName):
            return tuple(extension.value.get_values_for_type(kind))
    return ()
