"""A second handshake that finds out what the first one could not tell.

Under TLS 1.3 a refusal arrives after the handshake, and an async library that is busy writing a
large body loses it with the connection. Some servers send no alert at all. After such a failure,
one more connection sends nothing, waits for the server's word and watches for its
CertificateRequest. It presents the same identity under the same trust and goes through the same
proxy, so it tells nobody more than the first one did.
"""

from __future__ import annotations

import contextlib
import ssl
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

from mtls_client._tls.alerts import refusal, refused
from mtls_client._tls.inner import InnerContext, build
from mtls_client._tls.routes import STRAIGHT, Route
from mtls_client.errors import IdentityRejectedError, RejectionReason

if TYPE_CHECKING:
    import socket

__all__ = ["hung_up", "probe"]

_Result = TypeVar("_Result")

_CERTIFICATE_REQUEST = 13  # RFC 8446 §4, HandshakeType

# a server that breaks off without an alert does so as soon as it has our certificate; one that
# is content waits for a request
_GRACE = 0.5


def probe(
    context: InnerContext, host: str, port: int, *, timeout: float, route: Route = STRAIGHT
) -> IdentityRejectedError | None:
    """Shake hands once more and return the refusal of our identity, or None if there is none.

    Args:
        context: the context of the connection that failed.
        host: the server's name.
        port: its port.
        timeout: the longest that this may take, in seconds.
        route: the way to it.

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
    deadline = time.monotonic() + timeout
    try:
        with route.connect(host, port, timeout=timeout) as stream:
            broke_off = _broke_off(diagnostic, host, stream, deadline)
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


def hung_up(connection: ssl.SSLSocket, deadline: float) -> bool:
    """Wait for the server's word after a handshake; tell whether it hung up without one.

    Raises:
        IdentityRejectedError: it said why.
    """
    connection.settimeout(max(min(deadline - time.monotonic(), _GRACE), 0.001))
    try:
        return not connection.read(1)
    except TimeoutError:
        return False


def _broke_off(context: InnerContext, host: str, stream: socket.socket, deadline: float) -> bool:
    """Shake hands and wait; tell whether the server hung up by itself.

    Raises:
        IdentityRejectedError: it said why.
        OSError: there was no TLS to speak of.
    """
    wire = _Wire(context, host, stream)
    try:
        wire.carry(wire.tls.do_handshake, deadline)
        patience = min(deadline, time.monotonic() + _GRACE)
        with contextlib.suppress(TimeoutError):
            return not wire.carry(lambda: wire.tls.read(1), patience)
    except (ssl.SSLEOFError, ConnectionResetError, BrokenPipeError):
        return True
    return False


class _Wire:
    """TLS over any stream, also one that is TLS itself: with an HTTPS proxy."""

    def __init__(self, context: InnerContext, host: str, stream: socket.socket) -> None:
        self._stream = stream
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.tls = context.wrap_bio(self._incoming, self._outgoing, server_hostname=host)

    def carry(self, work: Callable[[], _Result], deadline: float) -> _Result:
        """Do what wants bytes from the server, and carry them until it is done.

        Raises:
            TimeoutError: the server was silent for too long.
            OSError: what the work raises.
        """
        while True:
            try:
                return work()
            except ssl.SSLWantReadError:
                pass
            finally:
                self._flush()
            self._stream.settimeout(max(deadline - time.monotonic(), 0.001))
            if received := self._stream.recv(65536):
                self._incoming.write(received)
            else:
                self._incoming.write_eof()

    def _flush(self) -> None:
        # a server that hung up has perhaps said why: reading will tell
        with contextlib.suppress(ConnectionError, ssl.SSLEOFError):
            if self._outgoing.pending:
                self._stream.sendall(self._outgoing.read())
