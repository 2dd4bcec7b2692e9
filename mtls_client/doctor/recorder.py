"""What was said in one handshake, as far as it tells about certificates."""

from __future__ import annotations

import contextlib
from typing import Any

from mtls_client.doctor import messages
from mtls_client.doctor.messages import CertificateRequest

__all__ = ["Recorder"]

# RFC 8446 §4 and §5.1: HandshakeType and ContentType
_CERTIFICATE, _CERTIFICATE_REQUEST = 11, 13
_HEADER, _HANDSHAKE = 256, 22  # a record's header is none of TLS's own types
_TLS13 = 0x0304


class Recorder:
    """Listens to a connection; give it to a context as its `_msg_callback`.

    Attributes:
        certificates: what the server sent, as DER, its own first.
        request: what the server said when it asked for a certificate of ours, or None.
        sent: a certificate of ours has left.
        begin: the first five bytes of the server.
    """

    def __init__(self) -> None:
        self.certificates: tuple[bytes, ...] = ()
        self.request: CertificateRequest | None = None
        self.sent = False
        self.begin = b""

    def __call__(
        self, _c: Any, direction: str, version: int, content: int, kind: int, data: bytes
    ) -> None:
        """Take note of a message; see `ssl.SSLContext._msg_callback`."""
        read = direction == "read"
        if content == _HEADER and read:
            self.begin = self.begin or data
        elif content == _HANDSHAKE:
            # malformed, and then OpenSSL ends the handshake
            with contextlib.suppress(ValueError):
                self._handshake(read, kind, data, version == _TLS13)

    def _handshake(self, read: bool, kind: int, data: bytes, tls13: bool) -> None:
        if not read:
            if kind == _CERTIFICATE:
                self.sent = bool(messages.certificates(data, tls13=tls13)) or self.sent
        elif kind == _CERTIFICATE:
            self.certificates = messages.certificates(data, tls13=tls13)
        elif kind == _CERTIFICATE_REQUEST:
            self.request = messages.certificate_request(data, tls13=tls13)
