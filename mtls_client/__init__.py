"""Call APIs that demand a client certificate.

A **source** loads an **identity**; a **credential** keeps it fresh with a **renewer**; **trust**
says what we demand of the server; a **context** presents the identity and checks the trust;
**sessions** hand the context to HTTP clients.

    import mtls_client as mtls

    source = mtls.FileSource("client.p12", password="…")
    trust = mtls.Trust.from_file("ca.pem", pins=["sha256/…"])
    with mtls.Session(source, trust=trust) as session:
        session.get("https://api.example.com/orders")

Importing this module imports nothing else: each name is loaded when it is first used, so that
`import mtls_client` costs no more than `import ssl` and needs neither requests nor httpx.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

__version__ = "0.1.0"

if TYPE_CHECKING:
    from mtls_client.context import MTLSContext
    from mtls_client.credential import Credential
    from mtls_client.doctor import diagnose
    from mtls_client.errors import (
        AmbiguousIdentityError,
        ConfigurationError,
        HostnameMismatchError,
        IdentityError,
        IdentityExpiredError,
        IdentityFormatError,
        IdentityNotFoundError,
        IdentityNotYetValidError,
        IdentityPurposeError,
        IdentityRejectedError,
        KeyMismatchError,
        KeyringError,
        LockTimeoutError,
        MissingExtraError,
        MTLSError,
        PasswordError,
        PinMismatchError,
        RejectionReason,
        RenewalError,
        RenewalRefusedError,
        RevocationUnknownError,
        RevokedError,
        ServerCertificateExpiredError,
        TrustError,
        UntrustedServerError,
        WeakIdentityError,
    )
    from mtls_client.explanation import Explanation, explain
    from mtls_client.identity import Identity
    from mtls_client.pins import Pin
    from mtls_client.renewers import RenewalPolicy, Renewer
    from mtls_client.sessions import AsyncClient, Client, Session
    from mtls_client.sources import (
        DirectorySource,
        EnvironmentSource,
        FileSource,
        KeyringSource,
        Source,
        source_from,
    )
    from mtls_client.trust import Trust

_HOME = {
    "MTLSContext": "context",
    "Credential": "credential",
    "Explanation": "explanation",
    "explain": "explanation",
    "Identity": "identity",
    "Pin": "pins",
    "RenewalPolicy": "renewers",
    "Renewer": "renewers",
    "AsyncClient": "sessions",
    "Client": "sessions",
    "Session": "sessions",
    "DirectorySource": "sources",
    "EnvironmentSource": "sources",
    "FileSource": "sources",
    "KeyringSource": "sources",
    "Source": "sources",
    "source_from": "sources",
    "Trust": "trust",
    "diagnose": "doctor",
}

__all__ = [
    "AmbiguousIdentityError",
    "AsyncClient",
    "Client",
    "ConfigurationError",
    "Credential",
    "DirectorySource",
    "EnvironmentSource",
    "Explanation",
    "FileSource",
    "HostnameMismatchError",
    "Identity",
    "IdentityError",
    "IdentityExpiredError",
    "IdentityFormatError",
    "IdentityNotFoundError",
    "IdentityNotYetValidError",
    "IdentityPurposeError",
    "IdentityRejectedError",
    "KeyMismatchError",
    "KeyringError",
    "KeyringSource",
    "LockTimeoutError",
    "MTLSContext",
    "MTLSError",
    "MissingExtraError",
    "PasswordError",
    "Pin",
    "PinMismatchError",
    "RejectionReason",
    "RenewalError",
    "RenewalPolicy",
    "RenewalRefusedError",
    "Renewer",
    "RevocationUnknownError",
    "RevokedError",
    "ServerCertificateExpiredError",
    "Session",
    "Source",
    "Trust",
    "TrustError",
    "UntrustedServerError",
    "WeakIdentityError",
    "diagnose",
    "explain",
    "source_from",
]


_SUBPACKAGES = (
    "errors",
    "events",
    "observers",
    "renewers",
    "sessions",
    "sources",
    "testing",
)


def __getattr__(name: str) -> object:
    if name in _SUBPACKAGES:
        return importlib.import_module(f"{__name__}.{name}")
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value: object = getattr(
        importlib.import_module(f"{__name__}.{_HOME.get(name, 'errors')}"), name
    )
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__, *_SUBPACKAGES})
