"""HTTP clients that present an identity: for requests and httpx, each loaded when first used."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mtls_client.sessions.httpx import AsyncClient, AsyncMTLSTransport, Client, MTLSTransport
    from mtls_client.sessions.requests import MTLSAdapter, Session

__all__ = [
    "AsyncClient",
    "AsyncMTLSTransport",
    "Client",
    "MTLSAdapter",
    "MTLSTransport",
    "Session",
]


def __getattr__(name: str) -> object:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    library = "requests" if name in ("MTLSAdapter", "Session") else "httpx"
    value: object = getattr(importlib.import_module(f"{__name__}.{library}"), name)
    globals()[name] = value
    return value
