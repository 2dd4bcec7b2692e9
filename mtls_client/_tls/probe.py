"""A second handshake that finds out what the first one could not tell.

Under TLS 1.3 a refusal arrives after the handshake, and an async library that is busy writing a
large body loses it with the connection. Some servers send no alert at all. After such a failure,
one more connection sends nothing, waits for the server's word and watches for its
CertificateRequest. It presents the same identity under the same trust, so it tells nobody more
than the first one did.
"""

from __future__ import annotations

import socket
import ssl
import time
from collections.abc import Callable
from typing import Any

from mtls_client._tls.alerts import refusal, refused
from mtls_client._tls.inner import InnerContext, build
from mtls_client.errors import IdentityRejectedError, RejectionReason

__all__ = ["probe"]

_CERTIFICATE_REQUEST = 13  # RFC 8446 §4, HandshakeType

# a server that breaks off without an alert does so as soon as it has our certificate; one that
# is content waits for a request
_GRACE = 0.5
_SLICE = 0.05


def probe(
    context: InnerContext, host: str, port: int, *, timeout: float
) -> IdentityRejectedError | None:
    """Shake hands once more and return the refusal of our identity, or None if there is none.

    Args:
        context: the context of the connection that failed.
        host: the server's name.
        port: its port.
        timeout: the longest that this may take, in seconds.

    Returns:
        What the server's alert says; an error with `certain=False` if the server asked for a
        certificate and then broke off; None if it asked for none, is content, or cannot be
        reached.
    """
    requested = False

    def watch(_c: Any, direction: str, _v: Any, _t: Any, message: Any, _d: bytes) -> None:
        nonlocal requested
        if direction == "read" and message == _CERTIFICATE_REQUEST:
            requested = True

    diagnostic = build(
        context.identity, context.trust, alpn=context.alpn, scope=context.scope, watch=watch
    )
    try:
        broke_off = _broke_off(diagnostic.wrap_socket, host, port, time.monotonic() + timeout)
    except IdentityRejectedError as error:
        return refusal(
            error.alert,
            host=host,
            identity=context.identity,
            scope=context.scope,
            requested=requested,
        )
    except OSError:
        return None
    if not (broke_off and requested):
        return None
    reason = RejectionReason.UNKNOWN if context.identity else RejectionReason.MISSING
    return refused(
        reason,
        None,
        host=host,
        identity=context.identity,
        certain=False,
        scope=context.scope,
    )


def _broke_off(wrap: Callable[..., ssl.SSLSocket], host: str, port: int, deadline: float) -> bool:
    """Connect, shake hands and wait; tell whether the server hung up by itself.

    Raises:
        IdentityRejectedError: it said why.
        OSError: there was no TLS to speak of.
    """
    with socket.create_connection((host, port), timeout=_left(deadline)) as plain:
        try:
            with wrap(plain, server_hostname=host) as connection:
                content_since = time.monotonic()
                while time.monotonic() < min(deadline, content_since + _GRACE):
                    connection.settimeout(_SLICE)
                    try:
                        return not connection.read(1)
                    except TimeoutError:
                        continue
                return False
        except (ssl.SSLEOFError, ConnectionResetError, BrokenPipeError):
            return True


def _left(deadline: float) -> float:
    return max(deadline - time.monotonic(), 0.001)
