"""What observers are told of a connection."""

from __future__ import annotations

import ssl
from typing import TYPE_CHECKING, Any

from mtls_client._tls.chain import verified_chain
from mtls_client.errors import IdentityRejectedError, MTLSError
from mtls_client.events import (
    HandshakeCompleted,
    HandshakeFailed,
    IdentityRejected,
    PinMismatch,
    UnverifiedConnection,
    emit,
)
from mtls_client.pins import Pin

if TYPE_CHECKING:
    from mtls_client._tls.inner import InnerContext
    from mtls_client._tls.sockets import Connection

__all__ = ["completed", "failed", "mismatched", "rejected"]


def completed(
    context: InnerContext,
    host: str | None,
    connection: Connection,
    seconds: float,
) -> None:
    """Tell of a handshake that passed every check."""
    about = _about(context, host)
    if not context.trust.verified:
        emit(context.observers, UnverifiedConnection(**about))
    cipher, leaf = connection.cipher(), next(verified_chain(connection), None)
    event = HandshakeCompleted(
        **about,
        port=_port(connection),
        server_pin=str(Pin.of(leaf)) if leaf else None,
        version=connection.version() or "",
        cipher=cipher[0] if cipher else "",
        alpn=connection.selected_alpn_protocol(),
        resumed=bool(connection.session_reused),
        seconds=seconds,
    )
    emit(context.observers, event)


def failed(context: InnerContext, host: str | None, error: Exception) -> None:
    """Tell of a handshake that failed."""
    if isinstance(error, MTLSError):
        code, message = error.code, str(error.args[0])
    else:
        code, message = getattr(error, "reason", None) or type(error).__name__, str(error)
    event = HandshakeFailed(**_about(context, host), code=code, message=message)
    emit(context.observers, event)


def rejected(context: InnerContext, host: str | None, error: IdentityRejectedError) -> None:
    """Tell that the server refused our identity."""
    event = IdentityRejected(
        **_about(context, host), reason=error.reason, alert=error.alert, certain=error.certain
    )
    emit(context.observers, event)


def mismatched(
    context: InnerContext,
    host: str | None,
    configured: tuple[str, ...],
    presented: tuple[tuple[str, str], ...],
) -> None:
    """Tell that no pin matched."""
    event = PinMismatch(
        **_about(context, host),
        configured=configured,
        presented=presented,
        enforced=not context.trust.pins.report_only,
    )
    emit(context.observers, event)


def _about(context: InnerContext, host: str | None) -> dict[str, Any]:
    identity = context.identity
    return {
        "host": host,
        "fingerprint": identity.fingerprint if identity else None,
        "serial": identity.serial if identity else None,
    }


def _port(connection: Connection) -> int | None:
    if not isinstance(connection, ssl.SSLSocket):
        return None  # two buffers know no address
    try:
        address = connection.getpeername()
    except OSError:  # the server has hung up already
        return None
    return address[1] if isinstance(address, tuple) else None
