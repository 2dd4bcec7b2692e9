"""Just enough DER and BER (X.690) to find a field without parsing the rest.

Everything is bounds-checked and raises ValueError; nothing recurses into unknown content.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

__all__ = ["Element", "element", "elements", "integer", "octets", "sequence", "spki"]

_SEQUENCE = 0x30
_VERSION = 0xA0


class Element(NamedTuple):
    """One TLV.

    Attributes:
        tag: the identifier octet.
        start: where the content begins.
        end: where the content ends, an end-of-contents marker left out.
        after: where the next element begins.
    """

    tag: int
    start: int
    end: int
    after: int


def element(data: bytes, at: int, depth: int = 0) -> Element:
    """Return the element at an offset; of indefinite length too, as BER allows.

    Raises:
        ValueError: the data ends before the element does, or is not BER.
    """
    try:
        tag, length, start = data[at], data[at + 1], at + 2
        if length > 0x80:
            count = length & 0x7F
            length, start = int.from_bytes(data[start : start + count], "big"), start + count
        elif length == 0x80:
            if not tag & 0x20 or depth > 16:
                raise ValueError("malformed BER")
            end = start
            while data[end : end + 2] != b"\0\0":
                end = element(data, end, depth + 1).after
            return Element(tag, start, end, end + 2)
    except IndexError:
        raise ValueError("truncated DER") from None
    if tag & 0x1F == 0x1F:
        raise ValueError("malformed DER: a tag of more than one byte")
    if start + length > len(data):
        raise ValueError("truncated DER")
    return Element(tag, start, start + length, start + length)


def elements(data: bytes, start: int, end: int) -> Iterator[Element]:
    """Return the elements of a constructed one's content.

    Raises:
        ValueError: see `element`.
    """
    while start < end:
        found = element(data, start)
        yield found
        start = found.after


def sequence(data: bytes, at: int = 0) -> list[Element]:
    """Return the elements of a SEQUENCE.

    Raises:
        ValueError: it is something else; and see `element`.
    """
    whole = element(data, at)
    if whole.tag != _SEQUENCE:
        raise ValueError("not a SEQUENCE")
    return list(elements(data, whole.start, whole.end))


def integer(data: bytes, number: Element) -> int:
    """Return an INTEGER that is not negative; one of more than eight bytes as 2**64."""
    content = data[number.start : number.end]
    return int.from_bytes(content, "big") if len(content) <= 8 else 1 << 64


def octets(data: bytes, string: Element) -> bytes:
    """Return an OCTET STRING's bytes; BER may have cut it into pieces.

    Raises:
        ValueError: see `element`.
    """
    if not string.tag & 0x20:
        return data[string.start : string.end]
    return b"".join(
        data[piece.start : piece.end] for piece in elements(data, string.start, string.end)
    )


def spki(certificate: bytes) -> bytes:
    """Return the SubjectPublicKeyInfo of a DER certificate (RFC 5280 §4.1), header included.

    Pins need it at every handshake, so it makes no elements.

    Raises:
        ValueError: the bytes are not a certificate.
    """
    try:
        at, _ = _content(certificate, 0)  # Certificate
        if certificate[0] != _SEQUENCE or certificate[at] != _SEQUENCE:
            raise ValueError("not a certificate")
        at, _ = _content(certificate, at)  # TBSCertificate
        if certificate[at] == _VERSION:
            at = _content(certificate, at)[1]
        for _field in ("serialNumber", "signature", "issuer", "validity", "subject"):
            at = _content(certificate, at)[1]
        if certificate[at] != _SEQUENCE:
            raise ValueError("not a certificate")
        end = _content(certificate, at)[1]
    except IndexError:
        raise ValueError("truncated certificate") from None
    if end > len(certificate):
        raise ValueError("truncated certificate")
    return certificate[at:end]


def _content(data: bytes, at: int) -> tuple[int, int]:
    """Return where the content of a DER element begins and ends."""
    length = data[at + 1]
    if length < 0x80:
        return at + 2, at + 2 + length
    start = at + 2 + (length & 0x7F)
    return start, start + int.from_bytes(data[at + 2 : start], "big")
