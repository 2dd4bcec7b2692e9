"""What the server says about our certificate, as one error with one set of reasons.

A server that refuses a client certificate sends a TLS alert (RFC 8446 §6.2). Under TLS 1.2 it
arrives within the handshake, under TLS 1.3 after the client believes that the handshake
succeeded. Alerts that do not speak of our certificate are left alone.
"""

from __future__ import annotations

import datetime
import ssl
from collections.abc import Iterable
from typing import TYPE_CHECKING

from mtls_client.errors import IdentityRejectedError, RejectionReason

if TYPE_CHECKING:
    from mtls_client.identity import Identity

__all__ = ["overheard", "reason_of", "refusal", "refused", "spoken_alert"]

_REASONS = {
    "no_certificate": RejectionReason.MISSING,
    "certificate_required": RejectionReason.MISSING,
    "certificate_expired": RejectionReason.EXPIRED,
    "certificate_revoked": RejectionReason.REVOKED,
    "unknown_ca": RejectionReason.UNTRUSTED,
    "unsupported_certificate": RejectionReason.UNSUPPORTED,
    "bad_certificate": RejectionReason.BAD,
    "certificate_unknown": RejectionReason.BAD,
    "decrypt_error": RejectionReason.BAD,
    "access_denied": RejectionReason.DENIED,
}

_PREFIXES = ("SSLV3_ALERT_", "TLSV1_ALERT_", "TLSV13_ALERT_")


def spoken_alert(error: ssl.SSLError | str) -> str | None:
    """Return the alert that the server sent, as RFC 8446 §6 names it, or None.

    Args:
        error: OpenSSL's error, or its `reason`.
    """
    reason = error if isinstance(error, str) else error.reason or ""
    for prefix in _PREFIXES:
        if reason.startswith(prefix):
            return reason.removeprefix(prefix).lower()
    return None


def reason_of(alert: str | None) -> RejectionReason | None:
    """Return why our certificate was refused, or None if the alert is not about it."""
    return _REASONS.get(alert or "")


def overheard(reason: RejectionReason, seen: str, *, host: str | None) -> tuple[str, str]:
    """Return message and hint for a refusal of a certificate that we do not know.

    Args:
        reason: why it was refused.
        seen: how the server said so.
        host: its name.
    """
    where = host or "the server"
    if reason is RejectionReason.MISSING:
        return f"{where} demands a client certificate and received none ({seen})", _hint_for_none(
            ()
        )
    return f"{where} refused our certificate ({seen}): {_FACTS[reason]}", _HINTS[reason]


def refusal(
    alert: str | None,
    *,
    host: str | None,
    identity: Identity | None,
    scope: Iterable[str] = (),
    requested: bool = False,
) -> IdentityRejectedError | None:
    """Return the error for an alert, or None if the alert is not about our certificate.

    Args:
        alert: the name of the alert; `handshake_failure` counts as one about our certificate,
            so ask only when the server had already chosen a cipher suite.
        host: the server's name.
        identity: what we offered, or None.
        scope: the host patterns that the identity is limited to, for the hint.
        requested: the server is known to have asked for a certificate.
    """
    if alert == "handshake_failure":
        # TLS 1.2 has no certificate_required (RFC 5246 §7.4.6); only the server's
        # CertificateRequest tells this failure from others
        return refused(
            RejectionReason.UNKNOWN if identity else RejectionReason.MISSING,
            alert,
            host=host,
            identity=identity,
            certain=requested and identity is None,
            scope=scope,
        )
    if (reason := reason_of(alert)) is None:
        return None
    return refused(reason, alert, host=host, identity=identity, scope=scope)


def refused(
    reason: RejectionReason,
    alert: str | None,
    *,
    host: str | None,
    identity: Identity | None,
    certain: bool = True,
    scope: Iterable[str] = (),
) -> IdentityRejectedError:
    """Return the error for a refusal, saying what we know of our own certificate."""
    where = host or "the server"
    seen = f"alert {alert}" if alert else "it closed the connection without an alert"
    if identity is None:
        message = f"{where} demands a client certificate and none was presented ({seen})"
        hint = _hint_for_none(scope)
    elif reason is RejectionReason.MISSING:
        message = f"{where} demands a client certificate and received none ({seen})"
        hint = (
            f"ours was held back: the server accepts no signature algorithm of an "
            f"{identity.key_type} key; ask for a certificate with another kind of key"
        )
    else:
        message = f"{where} refused our certificate ({seen}): {_fact(reason, identity)}"
        hint = _HINTS[reason]
    if not certain:
        hint = f"the server did not say why; most likely: {hint}"
    return IdentityRejectedError(
        message, reason=reason, alert=alert, certain=certain, host=host, hint=hint
    )


def _hint_for_none(scope: Iterable[str]) -> str:
    patterns = ", ".join(scope)
    if patterns:
        return f"the identity is presented to these hosts only: {patterns}"
    return (
        "pass a source with your certificate and key; across a redirect to another origin, "
        "none is ever presented"
    )


def _fact(reason: RejectionReason, identity: Identity) -> str:
    """Return what our own copy of the certificate says about the refusal."""
    now = datetime.datetime.now(datetime.UTC)
    dates = f"valid {identity.not_before:%Y-%m-%d %H:%M} to {identity.not_after:%Y-%m-%d %H:%M} UTC"
    if now >= identity.not_after:
        return f"{identity.subject} expired on {identity.not_after:%Y-%m-%d %H:%M} UTC"
    if now < identity.not_before:
        return f"{identity.subject} is not valid before {identity.not_before:%Y-%m-%d %H:%M} UTC"
    if reason is RejectionReason.UNTRUSTED:
        return f"{identity.subject} was issued by {identity.issuer}"
    if not identity.usable_for_client_auth:
        return f"{identity.subject} is not meant for client authentication"
    return f"{identity.subject}, serial {identity.serial}, {dates}"


_FACTS = {
    RejectionReason.EXPIRED: "it, or one of its issuers, has expired by the server's clock",
    RejectionReason.REVOKED: "it has been revoked",
    RejectionReason.UNTRUSTED: "the server does not know its issuer",
    RejectionReason.UNSUPPORTED: "it is not meant for client authentication, or its key is of a "
    "kind that the server does not take",
    RejectionReason.BAD: "the server found it unacceptable",
    RejectionReason.DENIED: "it is not on the server's list",
    RejectionReason.UNKNOWN: "the server does not say why",
}

_HINTS = {
    RejectionReason.EXPIRED: "renew the certificate; if it has not expired, "
    "check the clocks of both sides and the dates of its issuer",
    RejectionReason.REVOKED: "ask the issuer for a new certificate, with a new key",
    RejectionReason.UNTRUSTED: "the server does not know this issuer: add a missing intermediate "
    "with chain=…, or ask the server's owner which CAs are accepted",
    RejectionReason.UNSUPPORTED: "ask for a certificate with extended key usage clientAuth "
    "and key usage digitalSignature",
    RejectionReason.BAD: "look at the certificate with: mtls show FILE; "
    "then ask the server's owner what its log says",
    RejectionReason.DENIED: "the certificate is valid but not on the server's list: "
    "ask the server's owner to admit its subject or fingerprint",
    RejectionReason.UNKNOWN: "the certificate is expired, revoked, of an issuer the server does "
    "not know, or not for client authentication; ask the server's owner what its log says",
}
