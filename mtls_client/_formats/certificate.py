"""Certificates that are known to parse: cryptography reads most fields only when asked."""

from __future__ import annotations

from cryptography import x509

__all__ = ["load", "sound"]


def load(der: bytes) -> x509.Certificate:
    """Parse a DER certificate.

    Raises:
        ValueError: it cannot be parsed, or not all of it.
    """
    return sound(x509.load_der_x509_certificate(der))


def sound(certificate: x509.Certificate) -> x509.Certificate:
    """Return a certificate whose fields can all be read.

    Raises:
        ValueError: one of them cannot.
    """
    _ = (
        certificate.subject,
        certificate.issuer,
        certificate.serial_number,
        certificate.not_valid_before_utc,
        certificate.not_valid_after_utc,
        certificate.extensions,
    )
    return certificate
