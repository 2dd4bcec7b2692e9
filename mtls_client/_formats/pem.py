"""PEM (RFC 7468): blocks in any order, with any text around them."""

from __future__ import annotations

import base64
import binascii
import re

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from mtls_client._formats import certificate
from mtls_client._formats.contents import Certificate, Contents, Key, Secret, password_needed
from mtls_client._formats.der import element
from mtls_client._formats.pkcs12 import check_rounds
from mtls_client.errors import IdentityFormatError

__all__ = ["certificates", "read"]

_BLOCK = re.compile(rb"-----BEGIN ([A-Z0-9# ]+)-----(.*?)-----END \1-----", re.DOTALL)
_BEGIN = re.compile(rb"-----BEGIN ([A-Z0-9# ]+)-----")
_NAME = re.compile(rb"friendlyName: ([^\r\n]+)")
_CERTIFICATES = (b"CERTIFICATE", b"X509 CERTIFICATE", b"TRUSTED CERTIFICATE")
_NAMES = {
    b"X509 CRL": "certificate revocation list",
    b"NEW CERTIFICATE REQUEST": "certificate request",
    b"OPENSSH PRIVATE KEY": "private key in OpenSSH's format (ssh-keygen -p -m PKCS8 converts it)",
    b"PGP PRIVATE KEY BLOCK": "PGP key",
}
_PARAMETERS = (b"EC PARAMETERS", b"DH PARAMETERS", b"DSA PARAMETERS")


def read(text: bytes, secret: Secret) -> Contents:
    """Read every block; a friendlyName in the text before one is its label.

    Raises:
        IdentityFormatError: a block has no end, or cannot be read.
        PasswordError: the password is wrong, or one is needed.
    """
    found, after = Contents(), 0
    for block in _BLOCK.finditer(text):
        names = _NAME.findall(text, after, block.start())
        label = names[-1].decode("utf-8", "replace").strip() if names else None
        found += _read_block(block[1], block[2], block[0], label, secret)
        after = block.end()
    opened, closed = len(_BEGIN.findall(text)), len(_BLOCK.findall(text))
    if opened != closed:
        raise IdentityFormatError(
            "truncated: a PEM block has a BEGIN line and no END line",
            hint="get the file again, whole",
            code="truncated",
        )
    return found


def certificates(text: bytes) -> Contents:
    """Read the certificates only.

    Raises:
        IdentityFormatError: one cannot be read.
    """
    blocks = [block[2] for block in _BLOCK.finditer(text) if block[1] in _CERTIFICATES]
    return Contents(tuple(Certificate(_certificate(body)) for body in blocks))


def _read_block(
    kind: bytes, body: bytes, whole: bytes, label: str | None, secret: Secret
) -> Contents:
    if kind in _CERTIFICATES:
        return Contents((Certificate(_certificate(body), label),))
    if kind.endswith(b"PRIVATE KEY") and kind != b"OPENSSH PRIVATE KEY":
        return _key(kind, body, whole, label, secret)
    if kind in (b"PKCS7", b"CMS", b"PKCS #7 SIGNED DATA"):
        return _pkcs7(body)
    if kind in _PARAMETERS:
        return Contents()
    return Contents(others=(_NAMES.get(kind) or kind.decode().lower(),))


def _certificate(body: bytes) -> x509.Certificate:
    try:
        der = base64.b64decode(b"".join(body.split()), validate=True)
        # a TRUSTED CERTIFICATE has OpenSSL's own settings behind it
        return certificate.load(der[: element(der, 0).after])
    except (ValueError, binascii.Error) as error:
        raise _damaged("certificate") from error


def _key(kind: bytes, body: bytes, whole: bytes, label: str | None, secret: Secret) -> Contents:
    encrypted = kind == b"ENCRYPTED PRIVATE KEY" or b"Proc-Type: 4,ENCRYPTED" in body
    password = None
    if encrypted:
        if kind == b"ENCRYPTED PRIVATE KEY":
            _check_rounds(body)
        password = secret.reveal()
        if password is None:
            raise password_needed("the private key")
    try:
        # the check of a whole RSA key takes 36 ms; that it belongs to the certificate is
        # checked later, and OpenSSL loads it once more
        key = load_pem_private_key(whole, password, unsafe_skip_rsa_key_validation=True)
    except UnsupportedAlgorithm as error:
        raise IdentityFormatError(
            "a private key of a kind, or encrypted in a way, that is not supported",
            hint="convert it: openssl pkcs8 -topk8 -in OLD -out NEW; "
            "use an RSA, EC, Ed25519 or Ed448 key",
            code="unsupported_key",
        ) from error
    except (ValueError, TypeError):
        # without `from`: nothing of what the parser saw belongs in a message
        if encrypted:
            raise secret.wrong("the private key") from None
        raise _damaged("private key") from None
    pem = None if encrypted else whole + b"\n"
    return Contents(keys=(Key(key, label, pem),), exposed=not encrypted)


def _check_rounds(body: bytes) -> None:
    try:
        check_rounds(base64.b64decode(b"".join(body.split())))
    except binascii.Error:
        raise _damaged("private key") from None


def _pkcs7(body: bytes) -> Contents:
    from cryptography.hazmat.primitives.serialization import pkcs7

    try:
        found = pkcs7.load_der_pkcs7_certificates(base64.b64decode(b"".join(body.split())))
        return Contents(tuple(Certificate(certificate.sound(one)) for one in found))
    except (ValueError, binascii.Error, UnsupportedAlgorithm) as error:
        raise _damaged("PKCS#7 block") from error


def _damaged(what: str) -> IdentityFormatError:
    return IdentityFormatError(
        f"damaged: a PEM {what} cannot be parsed", hint="get the file again", code="damaged"
    )
