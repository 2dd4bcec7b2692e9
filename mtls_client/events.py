"""What happened, as values: one frozen dataclass for each kind of event.

Rules of this file: no event has a field that could hold a key, a password or a request's
content; times are UTC; an observer is any callable that takes one event, and one that raises
is logged and never breaks a request.
"""

from __future__ import annotations

import datetime
import logging
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import TypeAlias, TypeVar

__all__ = [
    "Event",
    "GenerationDrained",
    "HandshakeCompleted",
    "HandshakeFailed",
    "IdentityExpiring",
    "IdentityRejected",
    "IdentityReloaded",
    "IdentityRenewed",
    "IdentitySaved",
    "Observer",
    "PinMismatch",
    "ReloadFailed",
    "RenewalFailed",
    "UnverifiedConnection",
    "emit",
    "only",
]

_log = logging.getLogger("mtls_client")


def _now() -> datetime.datetime:
    return datetime.datetime.now(datetime.UTC)


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """The base of all events.

    Attributes:
        at: when it happened, in UTC.
    """

    at: datetime.datetime = field(default_factory=_now)


Observer: TypeAlias = Callable[[Event], object]

_E = TypeVar("_E", bound=Event)


@dataclass(frozen=True, slots=True, kw_only=True)
class ConnectionEvent(Event):
    """An event of one connection.

    Attributes:
        host: the server's name as an A-label or IP address, without a trailing dot; None if
            the caller gave none.
        fingerprint: SHA-256 of our certificate in hex, or None if none was offered.
        serial: the serial number of our certificate in hex, or None.
    """

    host: str | None
    fingerprint: str | None
    serial: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class HandshakeCompleted(ConnectionEvent):
    """A handshake ended, and the server passed every check of the trust.

    Under TLS 1.3 the server may still refuse our identity: it looks at our certificate
    after the client's handshake has ended (RFC 8446 §4.4.2.4), see `IdentityRejected`.

    Attributes:
        port: the server's port, or None where the library that connects does not tell.
        server_pin: the pin of the server's own certificate, `sha256/<base64>`.
        version: `TLSv1.2` or `TLSv1.3`.
        cipher: the cipher suite, as OpenSSL names it.
        alpn: the protocol chosen by ALPN, or None.
        resumed: whether an earlier session was resumed.
        seconds: how long the handshake took, wall clock.
    """

    port: int | None
    server_pin: str | None
    version: str
    cipher: str
    alpn: str | None
    resumed: bool
    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class HandshakeFailed(ConnectionEvent):
    """A handshake failed, by our decision or the server's.

    Attributes:
        code: the `code` of the error that was raised, or OpenSSL's reason.
        message: one line, as in the error.
    """

    code: str
    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class IdentityRejected(ConnectionEvent):
    """The server refused our identity.

    Attributes:
        reason: a `mtls_client.errors.RejectionReason` value.
        alert: the TLS alert, or None if the server sent none.
        certain: False where only the end of the connection was seen.
    """

    reason: str
    alert: str | None
    certain: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class PinMismatch(ConnectionEvent):
    """No certificate of the server's verified chain has a pinned key.

    Attributes:
        configured: the pins that apply to the host, as text.
        presented: `(subject, pin)` of each certificate of the verified chain, leaf first.
        enforced: False under `report_only`: the connection went on.
    """

    configured: tuple[str, ...]
    presented: tuple[tuple[str, str], ...]
    enforced: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class UnverifiedConnection(ConnectionEvent):
    """A connection was made under `Trust.dangerously_unverified()`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class IdentityReloaded(Event):
    """A credential took over another identity.

    Attributes:
        generation: the credential's count of identities, from 1.
        fingerprint: SHA-256 of the new certificate in hex.
        serial: its serial number in hex.
        not_after: the end of its validity, in UTC.
    """

    generation: int
    fingerprint: str
    serial: str
    not_after: datetime.datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class ReloadFailed(Event):
    """A source has changed, but what it holds now cannot be used; the last identity stays.

    Attributes:
        code: the `code` of the error.
        message: one line, as in the error.
        attempts: how often it has failed in a row.
        retry_in: when the same content is tried again, in seconds; other content is tried as
            soon as it is noticed.
    """

    code: str
    message: str
    attempts: int
    retry_in: float


@dataclass(frozen=True, slots=True, kw_only=True)
class GenerationDrained(Event):
    """No request uses a replaced identity any more; its certificate may be revoked.

    Attributes:
        generation: the credential's count of identities, from 1.
        fingerprint: SHA-256 of the old certificate in hex.
        serial: its serial number in hex.
    """

    generation: int
    fingerprint: str
    serial: str


@dataclass(frozen=True, slots=True, kw_only=True)
class IdentityRenewed(Event):
    """A renewer has replaced the identity.

    An `IdentityReloaded` comes before it; other processes emit that one only.

    Attributes:
        replaced: SHA-256 of the old certificate in hex.
        fingerprint: SHA-256 of the new certificate in hex.
        serial: its serial number in hex.
        not_after: the end of its validity, in UTC.
        renewer: the name of the renewer's class or function.
        seconds: how long it took, wall clock.
        saved: whether the source holds it. If not, it is used from memory, and `IdentitySaved`
            tells when the source has it after all.
        notes: what is remarkable about the new identity, see `Identity.notes`.
    """

    replaced: str
    fingerprint: str
    serial: str
    not_after: datetime.datetime
    renewer: str
    seconds: float
    saved: bool
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class IdentitySaved(Event):
    """A renewed identity that could not be saved at first is in its source now.

    Attributes:
        fingerprint: SHA-256 of the certificate in hex.
        serial: its serial number in hex.
    """

    fingerprint: str
    serial: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RenewalFailed(Event):
    """An attempt to renew the identity, or to save the renewed one, has failed.

    Attributes:
        code: the `code` of the error.
        message: one line, as in the error.
        hint: what to do, or None.
        attempts: how often it has failed in a row.
        retryable: whether it may succeed without anybody's help.
        retry_in: when it is tried again, in seconds; None if nobody will.
        not_after: when the present identity expires, in UTC.
    """

    code: str
    message: str
    hint: str | None
    attempts: int
    retryable: bool
    retry_in: float | None
    not_after: datetime.datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class IdentityExpiring(Event):
    """The identity expires soon and has not been renewed; once for each threshold it passes.

    Attributes:
        fingerprint: SHA-256 of the certificate in hex.
        serial: its serial number in hex.
        not_after: the end of its validity, in UTC.
        remaining: how long that is away; negative once it has expired.
    """

    fingerprint: str
    serial: str
    not_after: datetime.datetime
    remaining: datetime.timedelta


def only(kind: type[_E], hook: Callable[[_E], object]) -> Observer:
    """Return an observer that hands on the events of one kind."""

    def observer(event: Event) -> None:
        if isinstance(event, kind):
            hook(event)

    return observer


def emit(observers: Iterable[Observer], event: Event) -> None:
    """Hand an event to each observer; one that raises is logged and passed over."""
    for observer in observers:
        try:
            observer(event)
        except Exception:
            _log.exception("observer %r failed on %s", observer, type(event).__name__)
