"""Just enough DER (X.690) to find one field without parsing the rest."""

from __future__ import annotations

__all__ = ["spki"]

_SEQUENCE = 0x30
_VERSION = 0xA0


def spki(certificate: bytes) -> bytes:
    """Return the SubjectPublicKeyInfo of a DER certificate (RFC 5280 §4.1), header included.

    Raises:
        ValueError: the bytes are not a certificate.
    """
    start, _ = _entered(certificate, 0)  # Certificate
    start, _ = _entered(certificate, start)  # TBSCertificate
    if certificate[start : start + 1] == bytes([_VERSION]):
        start = _element(certificate, start)[1]
    for _field in ("serialNumber", "signature", "issuer", "validity", "subject"):
        start = _element(certificate, start)[1]
    _, end = _entered(certificate, start)
    return certificate[start:end]


def _entered(data: bytes, at: int) -> tuple[int, int]:
    """Return where a SEQUENCE's content begins and ends."""
    if data[at : at + 1] != bytes([_SEQUENCE]):
        raise ValueError("not a DER certificate")
    return _element(data, at)


def _element(data: bytes, at: int) -> tuple[int, int]:
    """Return where an element's content begins and ends."""
    try:
        length, start = data[at + 1], at + 2
        if length >= 0x80:
            count = length & 0x7F
            length, start = int.from_bytes(data[start : start + count], "big"), start + count
    except IndexError:
        length, start = 0, len(data) + 1
    if start + length > len(data):
        raise ValueError("truncated DER")
    return start, start + length
