"""When an ACME server wants a certificate to be renewed (ARI, RFC 9773)."""

from __future__ import annotations

import datetime
from typing import TYPE_CHECKING

from cryptography import x509

from mtls_client.renewers._acme_problems import misunderstood
from mtls_client.renewers._acme_signing import base64url
from mtls_client.renewers._http import retry_after
from mtls_client.renewers.base import RenewalWindow

if TYPE_CHECKING:
    from mtls_client.renewers._acme_network import Network

__all__ = ["certificate_id", "window"]

_SOONEST = 60.0
"""Seconds; what is below counts as this (RFC 9773 §4.3.2)."""


def certificate_id(certificate: x509.Certificate) -> str | None:
    """Return how ARI names a certificate (§4.1); None if it has no authority key identifier."""
    try:
        extension = certificate.extensions.get_extension_for_class(x509.AuthorityKeyIdentifier)
    except x509.ExtensionNotFound:
        return None
    issuer = extension.value.key_identifier
    if issuer is None:
        return None
    number = certificate.serial_number
    # as DER has it: with room for the sign
    serial = number.to_bytes(number.bit_length() // 8 + 1, "big")
    return f"{base64url(issuer)}.{base64url(serial)}"


def window(network: Network, certificate: x509.Certificate) -> RenewalWindow | None:
    """Ask for the window of a certificate; None if the server does not offer any.

    Raises:
        RenewalError: there is no answer, or one that makes no sense.
    """
    name = certificate_id(certificate)
    if name is None or "renewalInfo" not in network.directory:
        return None
    response = network.answer("GET", f"{network.url('renewalInfo').rstrip('/')}/{name}")
    suggested = network.json(response).get("suggestedWindow")
    bounds = suggested if isinstance(suggested, dict) else {}
    try:
        start, end = (
            datetime.datetime.fromisoformat(network.text(bounds, one)).astimezone(datetime.UTC)
            for one in ("start", "end")
        )
    except (ValueError, OverflowError) as error:
        raise misunderstood(network.host, "a window without times") from error
    if end <= start:
        raise misunderstood(network.host, "a window that ends before it starts")
    pause = retry_after(response)
    if pause is None:
        return RenewalWindow(start, end)
    return RenewalWindow(start, end, max(pause, _SOONEST))
