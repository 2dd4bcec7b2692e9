"""HTTP clients that present an identity: for requests and httpx, each loaded when first used."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mtls_client._os.lazy import lazily

if TYPE_CHECKING:
    from mtls_client.sessions.httpx import AsyncClient, AsyncMTLSTransport, Client, MTLSTransport
    from mtls_client.sessions.requests import MTLSAdapter, Session

_HOME = {
    "AsyncClient": "httpx",
    "AsyncMTLSTransport": "httpx",
    "Client": "httpx",
    "MTLSAdapter": "requests",
    "MTLSTransport": "httpx",
    "Session": "requests",
}

__all__ = [
    "AsyncClient",
    "AsyncMTLSTransport",
    "Client",
    "MTLSAdapter",
    "MTLSTransport",
    "Session",
]

__getattr__ = lazily(__name__, _HOME)
