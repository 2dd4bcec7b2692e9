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
import ssl
import time
from collections.abc import Callable
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, Self, TypeAlias

from mtls_client._tls import reports
from mtls_client._tls.alerts import refusal, spoken_alert
from mtls_client._tls.pinning import check_pins
from mtls_client._tls.verdicts import verdict
from mtls_client.errors import (
    ConfigurationError,
    IdentityRejectedError,
    PinMismatchError,
    TrustError,
)
from mtls_client.hosts import normalised

if TYPE_CHECKING:
    from mtls_client._tls.inner import InnerContext

__all__ = ["CheckedObject", "CheckedSocket", "Connection", "Watch", "context_of", "opened"]

Connection: TypeAlias = "CheckedSocket | CheckedObject"

opened: ContextVar[list[Connection] | None] = ContextVar("opened", default=None)
"""Where a request collects the connections that are opened for it, in its own context."""


class Watch:
    """What has happened on one connection so far, and the checks.

    Attributes:
        agreed: the server had chosen a cipher suite, so what came later is not about those.
        passed: every check has passed.
        received: the server has answered with at least one byte of content.
        refusal: the server has refused our identity.
    """

    __slots__ = ("agreed", "begun", "passed", "received", "refusal")

    def __init__(self) -> None:
        self.agreed = False
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
            self.agreed = connection.cipher() is not None
            if (explained := self.explained(connection, error, shaking=True)) is error:
                raise
            raise explained from error
        if not self.passed:
            self._check(connection, time.perf_counter() - self.begun)
            self.passed = self.agreed = True

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
        context, host = self._about(connection)
        explained: TrustError | IdentityRejectedError | None = None
        if isinstance(error, ssl.SSLCertVerificationError):
            explained = verdict(error, host)
        elif isinstance(error, ssl.SSLError):
            alert = spoken_alert(error)
            # before a cipher suite is chosen, handshake_failure speaks of cipher suites
            if alert != "handshake_failure" or self.agreed:
                explained = self.refusal = refusal(
                    alert, host=host, identity=context.identity, scope=context.scope
                )
        if self.refusal is not None:
            reports.rejected(context, host, self.refusal)
        if shaking:
            reports.failed(context, host, explained or error)
        return explained or error

    def _check(self, connection: Connection, seconds: float) -> None:
        context = context_of(connection)
        if not (context.trust.pins.pins or context.observers):
            return
        _, host = self._about(connection)
        try:
            check_pins(context, host, connection)
        except PinMismatchError as error:
            reports.failed(context, host, error)
            raise
        if context.observers:
            reports.completed(context, host, connection, seconds)

    @staticmethod
    def _about(connection: Connection) -> tuple[InnerContext, str | None]:
        name = connection.server_hostname
        return context_of(connection), normalised(name) if name else None


# SSLSocket and SSLObject have the same methods and no base in common
_Base: Any = object


class _Checked(_Base):  # type: ignore[misc]
    """Reading under the rules of this file, for both kinds of connection."""

    watch: Watch

    def __new__(cls, *args: Any, **kwargs: Any) -> Self:
        self: Self = super().__new__(cls, *args, **kwargs)
        self.watch = Watch()
        return self

    @property
    def session(self) -> Any:
        """The TLS session; one passed by hand would skip the checks of the server."""
        return super().session

    @session.setter
    def session(self, _session: object) -> None:
        raise ConfigurationError(
            "a session passed by hand would skip the checks of the server",
            hint="leave it out",
            code="session",
        )

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
    on_close: Callable[[], None] | None = None
    """Called when it is closed."""

    def _real_close(self) -> None:
        super()._real_close()  # close and the last file of makefile end here
        if self.on_close is not None:
            self.on_close()

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


def context_of(connection: Connection) -> InnerContext:
    """Return the context of a connection; inner contexts are all that make these."""
    context: Any = connection.context
    return context  # type: ignore[no-any-return]
