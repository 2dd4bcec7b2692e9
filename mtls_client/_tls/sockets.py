"""Sockets that let no byte of a request out before the server has passed every check.

Two rules hold on `SSLSocket` (blocking libraries) and `SSLObject` (async libraries) alike:

* a connection is *passed* only when its handshake ended and the pins matched; reading and
  writing before that shakes hands first, because OpenSSL would otherwise do so by itself and
  skip the checks;
* an alert that refuses our certificate is kept and raised again: libraries ignore errors of
  writing, and look for the reason when they read.
"""

from __future__ import annotations

import contextlib
import datetime
import ssl
import time
from collections.abc import Callable
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, Self, TypeAlias

from mtls_client._tls.alerts import refusal, spoken_alert
from mtls_client._tls.chain import verified_chain
from mtls_client._tls.verdicts import verdict
from mtls_client.errors import IdentityRejectedError, MTLSError, PinMismatchError, TrustError
from mtls_client.events import (
    HandshakeCompleted,
    HandshakeFailed,
    IdentityRejected,
    PinMismatch,
    UnverifiedConnection,
    emit,
)
from mtls_client.hosts import normalised
from mtls_client.pins import Pin, match

if TYPE_CHECKING:
    from mtls_client._tls.inner import InnerContext

__all__ = ["CheckedObject", "CheckedSocket", "Connection", "Watch", "opened"]

Connection: TypeAlias = "CheckedSocket | CheckedObject"

opened: ContextVar[list[Connection] | None] = ContextVar("opened", default=None)
"""Where a request collects the connections that are opened for it, in its own context."""


class Watch:
    """What has happened on one connection so far, and the checks.

    Attributes:
        passed: every check has passed.
        received: the server has answered with at least one byte of content.
        refusal: the server has refused our identity.
    """

    __slots__ = ("begun", "passed", "received", "refusal")

    def __init__(self) -> None:
        self.passed = False
        self.received = False
        self.refusal: IdentityRejectedError | None = None
        self.begun: float | None = None

    def shake(self, connection: Connection, proceed: Callable[[], None]) -> None:
        """Take the handshake as far as it goes; check the server when it is complete."""
        if self.begun is None:
            self.begun = time.perf_counter()
            if (connections := opened.get()) is not None:
                connections.append(connection)
        try:
            proceed()
        except (ssl.SSLWantReadError, ssl.SSLWantWriteError):
            raise
        except OSError as error:
            if (explained := self.explained(connection, error, shaking=True)) is error:
                raise
            raise explained from error
        if not self.passed:
            _check(connection, time.perf_counter() - self.begun)
            self.passed = True

    def ready(self, connection: Connection) -> None:
        """Make sure that content may flow."""
        if self.refusal is not None:
            raise self.refusal
        if not self.passed:
            connection.do_handshake()

    def explained(
        self, connection: Connection, error: OSError, *, shaking: bool = False
    ) -> OSError:
        """Return our error for one of OpenSSL's, or the same one where there is none to add."""
        context, host = _context(connection), _host(connection)
        explained: TrustError | IdentityRejectedError | None = None
        if isinstance(error, ssl.SSLCertVerificationError):
            explained = verdict(error, host)
        elif isinstance(error, ssl.SSLError):
            alert = spoken_alert(error)
            # before a cipher suite is chosen, handshake_failure speaks of cipher suites
            if alert != "handshake_failure" or connection.cipher() is not None:
                explained = self.refusal = refusal(
                    alert, host=host, identity=context.identity, scope=context.scope
                )
        if context.observers:
            _report_failure(connection, explained or error, shaking=shaking)
        return explained or error


# SSLSocket and SSLObject have the same methods and no base in common
_Base: Any = object


class _Checked(_Base):  # type: ignore[misc]
    """Reading under the rules of this file, for both kinds of connection."""

    watch: Watch

    def __new__(cls, *args: Any, **kwargs: Any) -> Self:
        self: Self = super().__new__(cls, *args, **kwargs)
        self.watch = Watch()
        return self

    def read(self, len: int = 1024, buffer: Any = None) -> Any:  # noqa: A002 (ssl's own name)
        """Read content; `recv`, `recv_into` and files end here."""
        connection: Any = self
        self.watch.ready(connection)
        try:
            content = super().read(len, buffer)
        except (ssl.SSLWantReadError, ssl.SSLWantWriteError):
            raise
        except ssl.SSLError as error:
            if (explained := self.watch.explained(connection, error)) is error:
                raise
            raise explained from error
        if content:
            self.watch.received = True
        return content


class CheckedObject(_Checked, ssl.SSLObject):
    """An `SSLObject` under the rules of this file."""

    def do_handshake(self) -> None:
        """Shake hands, then check the server."""
        self.watch.shake(self, super().do_handshake)

    def write(self, data: Any) -> int:
        """Write content."""
        self.watch.ready(self)
        return super().write(data)


class CheckedSocket(_Checked, ssl.SSLSocket):
    """An `SSLSocket` under the rules of this file."""

    _early = b""

    def do_handshake(self, block: bool = False) -> None:
        """Shake hands, then check the server."""
        handshake = super().do_handshake
        self.watch.shake(self, lambda: handshake(block))

    def read(self, len: int = 1024, buffer: Any = None) -> Any:  # noqa: A002 (ssl's own name)
        """Read content, what came before a failed write first."""
        return self._taken(len, buffer) if self._early else super().read(len, buffer)

    def write(self, data: Any) -> int:
        """Write content."""
        self.watch.ready(self)
        try:
            return super().write(data)
        except (BrokenPipeError, ConnectionResetError, ssl.SSLEOFError) as error:
            if (salvaged := self._salvaged()) is None:
                raise
            raise salvaged from error

    def send(self, data: Any, flags: int = 0) -> int:
        """Write content; `sendall` and `sendfile` end here."""
        self.watch.ready(self)
        try:
            return super().send(data, flags)
        except (BrokenPipeError, ConnectionResetError, ssl.SSLEOFError) as error:
            if (salvaged := self._salvaged()) is None:
                raise
            raise salvaged from error

    def pending(self) -> int:
        """Count the bytes that can be read without waiting."""
        return super().pending() + len(self._early)

    def _salvaged(self) -> IdentityRejectedError | None:
        """Return why the server stopped reading, if it said so before it hung up.

        Under TLS 1.3 the alert lies unread in the receive buffer while a large request is
        being written. What else lies there may be an early response, and is kept.
        """
        if self.watch.received:
            return None
        timeout = self.gettimeout()
        with contextlib.suppress(OSError):
            try:
                # the connection is dead: all that can come is here already
                self.settimeout(1.0 if timeout is None else min(timeout, 1.0))
                self._early = super().read(16384)
            finally:
                self.settimeout(timeout)
        return self.watch.refusal

    def _taken(self, count: int, buffer: Any) -> Any:
        room = len(buffer) if buffer is not None else count
        taken, self._early = self._early[:room], self._early[room:]
        if buffer is None:
            return taken
        memoryview(buffer).cast("B")[: len(taken)] = taken
        return len(taken)


def _context(connection: Connection) -> InnerContext:
    context: Any = connection.context
    return context  # type: ignore[no-any-return]  # inner contexts are all that make these sockets


def _host(connection: Connection) -> str | None:
    name = connection.server_hostname
    return normalised(name) if name else None


def _about(connection: Connection) -> dict[str, Any]:
    identity = _context(connection).identity
    return {
        "host": _host(connection),
        "fingerprint": identity.fingerprint if identity else None,
        "serial": identity.serial if identity else None,
    }


def _check(connection: Connection, seconds: float) -> None:
    context = _context(connection)
    chain = verified_chain(connection) if context.trust.pins.pins or context.observers else []
    if context.trust.pins.pins:
        _check_pins(connection, chain)
    if not context.observers:
        return
    if not context.trust.verified:
        emit(context.observers, UnverifiedConnection(**_about(connection)))
    cipher = connection.cipher()
    emit(
        context.observers,
        HandshakeCompleted(
            **_about(connection),
            port=_port(connection),
            server_pin=str(Pin.of(chain[0])) if chain else None,
            version=connection.version() or "",
            cipher=cipher[0] if cipher else "",
            alpn=connection.selected_alpn_protocol(),
            resumed=bool(connection.session_reused),
            seconds=seconds,
        ),
    )


def _port(connection: Connection) -> int | None:
    if not isinstance(connection, ssl.SSLSocket):
        return None
    address = connection.getpeername()
    return address[1] if isinstance(address, tuple) else None


def _check_pins(connection: Connection, chain: list[bytes]) -> None:
    context, host = _context(connection), _host(connection)
    policy = context.trust.pins
    pins = policy.applying_to(host or "")
    if not pins:
        return
    expired = policy.expired(datetime.datetime.now(datetime.UTC))
    if expired and policy.on_expiry == "fail-open":
        return
    if not expired and match(pins, chain):
        return
    configured = tuple(str(pin) for pin in pins)
    presented = tuple((_subject(certificate), str(Pin.of(certificate))) for certificate in chain)
    enforced = not policy.report_only
    emit(
        context.observers,
        PinMismatch(
            **_about(connection), configured=configured, presented=presented, enforced=enforced
        ),
    )
    if not enforced:
        return
    rows = "".join(f"\n    {pin}  {subject}" for subject, pin in presented)
    wanted = "".join(f"\n    {pin}" for pin in configured)
    error = PinMismatchError(
        f"the pins of {host} expired on {policy.expires:%Y-%m-%d %H:%M} UTC"
        if expired
        else f"{host} presented none of the pinned keys"
        f"\n  its verified chain:{rows}\n  the pinned keys:{wanted}",
        hint="get the current pins from the server's owner by another way than this connection",
        code="pins_expired" if expired else None,
        host=host,
    )
    error.configured, error.presented = configured, presented
    if context.observers:
        _report_failure(connection, error, shaking=True)
    raise error


def _subject(certificate: bytes) -> str:
    from cryptography import x509

    return x509.load_der_x509_certificate(certificate).subject.rfc4514_string()


def _report_failure(connection: Connection, error: Exception, *, shaking: bool) -> None:
    observers, about = _context(connection).observers, _about(connection)
    if isinstance(error, IdentityRejectedError):
        emit(
            observers,
            IdentityRejected(
                **about, reason=error.reason, alert=error.alert, certain=error.certain
            ),
        )
    if shaking:
        code = error.code if isinstance(error, MTLSError) else getattr(error, "reason", None)
        message = str(error.args[0]) if isinstance(error, MTLSError) else str(error)
        emit(observers, HandshakeFailed(**about, code=code or "tls", message=message))
