"""The pins of a trust against the verified chain of a connection."""

from __future__ import annotations

import datetime
from typing import TYPE_CHECKING

from cryptography import x509

from mtls_client._tls import reports
from mtls_client._tls.chain import verified_chain
from mtls_client.errors import PinMismatchError
from mtls_client.pins import Pin, match

if TYPE_CHECKING:
    from mtls_client._tls.inner import InnerContext
    from mtls_client._tls.sockets import Connection

__all__ = ["check_pins"]


def check_pins(context: InnerContext, host: str | None, connection: Connection) -> None:
    """Check the pins that apply to a host; tell of a mismatch.

    Args:
        context: the context of the connection.
        host: the `normalised` host.
        connection: a connection whose handshake is complete.

    Raises:
        PinMismatchError: none matches, and the trust enforces them.
    """
    policy = context.trust.pins
    pins = policy.applying_to(host or "")
    if not pins:
        return
    expired = policy.expires and policy.expired(datetime.datetime.now(datetime.UTC))
    if expired and policy.on_expiry == "fail-open":
        return
    if not expired and match(pins, verified_chain(connection)):
        return
    chain = list(verified_chain(connection))
    configured = tuple(str(pin) for pin in pins)
    presented = tuple((_subject(certificate), str(Pin.of(certificate))) for certificate in chain)
    reports.mismatched(context, host, configured, presented)
    if policy.report_only:
        return
    if expired:
        message = f"the pins of {host} expired on {policy.expires:%Y-%m-%d %H:%M} UTC"
    else:
        rows = "".join(f"\n    {pin}  {subject}" for subject, pin in presented)
        wanted = "".join(f"\n    {pin}" for pin in configured)
        message = (
            f"{host} presented none of the pinned keys"
            f"\n  its verified chain:{rows}\n  the pinned keys:{wanted}"
        )
    error = PinMismatchError(
        message,
        hint="get the current pins from the server's owner by another way than this connection",
        code="pins_expired" if expired else None,
        host=host,
    )
    error.configured, error.presented = configured, presented
    raise error


def _subject(certificate: bytes) -> str:
    return x509.load_der_x509_certificate(certificate).subject.rfc4514_string()
