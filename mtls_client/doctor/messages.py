"""The two messages of a handshake that tell about certificates, read from their bytes.

Certificate and CertificateRequest, of TLS 1.2 (RFC 5246 §7.4.2, §7.4.4) and TLS 1.3 (RFC 8446
§4.4.2, §4.3.2). The bytes come from a stranger: every length is checked, and what is malformed
raises ValueError and nothing else.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass

__all__ = ["CertificateRequest", "certificate_request", "certificates"]

_HEADER = 4  # the type and the length of a handshake message
_SIGNATURE_ALGORITHMS, _CERTIFICATE_AUTHORITIES = 13, 47  # RFC 8446 §4.2


@dataclass(frozen=True, slots=True)
class CertificateRequest:
    """What a server says when it asks for a client certificate.

    Attributes:
        authorities: the names of the CAs that it accepts, as DER; none means: it does not say.
        signature_algorithms: the SignatureScheme numbers that it accepts (RFC 8446 §4.2.3).
    """

    authorities: tuple[bytes, ...]
    signature_algorithms: tuple[int, ...]


def certificates(message: bytes, *, tls13: bool) -> tuple[bytes, ...]:
    """Return the certificates of a Certificate message as DER, the leaf first.

    Args:
        message: the handshake message, header included.
        tls13: whether it is one of TLS 1.3.

    Raises:
        ValueError: it is malformed.
    """
    reader = _Reader(message[_HEADER:])
    if tls13:
        reader.vector(1)  # certificate_request_context
    entries = _Reader(reader.vector(3))
    found = []
    while entries:
        found.append(entries.vector(3))
        if tls13:
            entries.vector(2)  # extensions
    return tuple(found)


def certificate_request(message: bytes, *, tls13: bool) -> CertificateRequest:
    """Read a CertificateRequest message.

    Args:
        message: the handshake message, header included.
        tls13: whether it is one of TLS 1.3.

    Raises:
        ValueError: it is malformed.
    """
    reader = _Reader(message[_HEADER:])
    reader.vector(1)  # certificate_request_context; under TLS 1.2 certificate_types
    if not tls13:
        algorithms, authorities = reader.vector(2), reader.vector(2)
        return CertificateRequest(_names(authorities), _numbers(algorithms))
    extensions = dict(_extensions(reader.vector(2)))
    algorithms = _Reader(extensions.get(_SIGNATURE_ALGORITHMS, b"\0\0")).vector(2)
    authorities = _Reader(extensions.get(_CERTIFICATE_AUTHORITIES, b"\0\0")).vector(2)
    return CertificateRequest(_names(authorities), _numbers(algorithms))


class _Reader:
    """Reads vectors: a length, then as many bytes (RFC 8446 §3.4)."""

    def __init__(self, data: bytes) -> None:
        self._data, self._at = data, 0

    def __bool__(self) -> bool:
        return self._at < len(self._data)

    def taken(self, count: int) -> bytes:
        piece = self._data[self._at : self._at + count]
        if len(piece) != count:
            raise ValueError("truncated TLS message")
        self._at += count
        return piece

    def vector(self, width: int) -> bytes:
        return self.taken(int.from_bytes(self.taken(width), "big"))


def _extensions(data: bytes) -> Iterator[tuple[int, bytes]]:
    reader = _Reader(data)
    while reader:
        yield int.from_bytes(reader.taken(2), "big"), reader.vector(2)


def _names(data: bytes) -> tuple[bytes, ...]:
    reader, found = _Reader(data), []
    while reader:
        found.append(reader.vector(2))
    return tuple(found)


def _numbers(data: bytes) -> tuple[int, ...]:
    if len(data) % 2:
        raise ValueError("malformed TLS message: half a number")
    return struct.unpack(f">{len(data) // 2}H", data)
