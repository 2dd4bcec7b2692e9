"""Events without a handshake, and what checks an audit log."""

from __future__ import annotations

import datetime
from pathlib import Path
from typing import Any

from mtls_client import events
from mtls_client.observers._chain import Checked, check

MOMENT = datetime.datetime(2026, 11, 25, 12, 0, tzinfo=datetime.UTC)


def completed(host: str | None = "api.example.com", **changes: Any) -> events.HandshakeCompleted:
    values: dict[str, Any] = {
        "fingerprint": "ab" * 32,
        "serial": "1f",
        "port": 443,
        "server_pin": "sha256/AAAA",
        "version": "TLSv1.3",
        "cipher": "TLS_AES_256_GCM_SHA384",
        "alpn": None,
        "resumed": False,
        "seconds": 0.25,
    }
    return events.HandshakeCompleted(host=host, **{**values, **changes})


def rejected(host: str = "api.example.com", reason: str = "expired") -> events.IdentityRejected:
    return events.IdentityRejected(
        host=host, fingerprint="ab" * 32, serial="1f", reason=reason, alert=None, certain=True
    )


def mismatched(host: str = "api.example.com") -> events.PinMismatch:
    return events.PinMismatch(
        host=host, fingerprint=None, serial=None, configured=(), presented=(), enforced=True
    )


def expiring(remaining: datetime.timedelta, fingerprint: str = "ab") -> events.IdentityExpiring:
    return events.IdentityExpiring(
        fingerprint=fingerprint, serial="1f", not_after=MOMENT, remaining=remaining
    )


def reloaded() -> events.IdentityReloaded:
    return events.IdentityReloaded(generation=2, fingerprint="cd", serial="2f", not_after=MOMENT)


def renewed() -> events.IdentityRenewed:
    return events.IdentityRenewed(
        replaced="ab",
        fingerprint="cd",
        serial="2f",
        not_after=MOMENT,
        renewer="Vault",
        seconds=0.5,
        saved=True,
    )


def renewal_failed() -> events.RenewalFailed:
    return events.RenewalFailed(
        code="renewal_refused",
        message="the issuer says no",
        hint=None,
        attempts=3,
        retryable=False,
        retry_in=60.0,
        not_after=MOMENT,
    )


def checked(lines: Path | list[bytes], **options: Any) -> tuple[Checked, list[dict[str, Any]]]:
    """Return what a check says, and the lines that it could read."""
    if isinstance(lines, Path):
        lines = lines.read_bytes().splitlines(keepends=True)
    verdict = Checked()
    return verdict, list(check(lines, verdict, **options))


def intact(path: Path, **options: Any) -> list[dict[str, Any]]:
    """Return the lines of a log that must be intact."""
    verdict, lines = checked(path, **options)
    assert verdict.problems == []
    return lines
