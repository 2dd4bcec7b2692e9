"""Certificates for requests: what `mtls_client.testing.CA` issues for keys, issued for CSRs."""

from __future__ import annotations

import datetime
from collections.abc import Iterable

from cryptography import x509
from cryptography.hazmat.primitives import hashes

from mtls_client.testing import CA

HOUR = datetime.timedelta(hours=1)


def certified(
    ca: CA,
    public_key: x509.base.CertificatePublicKeyTypes,
    subject: x509.Name,
    extensions: Iterable[x509.Extension[x509.ExtensionType]] = (),
    *,
    further: Iterable[x509.ExtensionType] = (),
) -> x509.Certificate:
    """Issue a certificate with the names and usages of a request, or of a certificate, and more."""
    now = datetime.datetime.now(datetime.UTC)
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(ca.certificate.subject)
        .public_key(public_key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - HOUR)
        .not_valid_after(now + HOUR)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public_key), critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(ca.certificate.public_key()), False
        )
    )
    for one in extensions:
        if isinstance(one.value, (x509.SubjectAlternativeName, x509.ExtendedKeyUsage)):
            builder = builder.add_extension(one.value, one.critical)
    for extension in further:
        builder = builder.add_extension(extension, critical=False)
    return builder.sign(ca._key, hashes.SHA256())  # type: ignore[arg-type]
