"""Bytes to certificates and keys, whatever the file is called.

The kind is told by the bytes: PEM blocks in any order with any text around them, DER, PKCS#12,
PKCS#7, or base64 of one of these.
"""

from __future__ import annotations

import base64
import binascii
import re

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import load_der_private_key

from mtls_client._formats import certificate, pem, pkcs12
from mtls_client._formats.contents import Certificate, Contents, Key, Secret, password_needed
from mtls_client._formats.der import element, elements
from mtls_client.errors import IdentityFormatError

__all__ = ["read", "without_keys"]

_JKS = {b"\xfe\xed\xfe\xed": "JKS", b"\xce\xce\xce\xce": "JCEKS"}
_BASE64 = re.compile(rb"[A-Za-z0-9+/\s]+=?\s*=?\s*")
_PKCS7_SIGNED = bytes.fromhex("2a864886f70d010702")

_TEXTS = {
    b"ssh-": "an SSH public key",
    b"ecdsa-sha2-": "an SSH public key",
    b"PuTTY-User-Key-File": "a PuTTY key",
    b"<": "a web page or XML",
    b"{": "JSON",
}


def read(data: bytes, secret: Secret) -> Contents:
    """Read all certificates and keys of a file.

    Args:
        data: the file's bytes.
        secret: the password for what is encrypted.

    Raises:
        IdentityFormatError: there is nothing in it that this library knows, or it is damaged.
        PasswordError: the password is wrong, or one is needed.
    """
    text = _decoded(data)
    if not text.strip():
        raise IdentityFormatError("the file is empty", hint="check the path", code="empty")
    if b"-----BEGIN " in text:
        return pem.read(text, secret)
    if name := _JKS.get(data[:4]):
        raise IdentityFormatError(
            f"a Java keystore ({name}), which only Java reads",
            hint="convert it: keytool -importkeystore -srckeystore FILE -destkeystore new.p12 "
            "-deststoretype PKCS12",
            code="java_keystore",
        )
    if data[:1] == b"\x30":
        return _read_der(data, secret)
    if _BASE64.fullmatch(text):
        return _read_base64(text, secret)
    kind = next((kind for start, kind in _TEXTS.items() if text.lstrip().startswith(start)), None)
    raise IdentityFormatError(
        f"neither a certificate nor a key, but {kind}"
        if kind
        else "neither a certificate nor a key in any format this library knows",
        hint="give PEM, DER, PKCS#12 or PKCS#7; see what it is with: file FILE",
        code="unknown_format",
    )


def _decoded(data: bytes) -> bytes:
    """Return text as UTF-8 without a byte order mark; Windows tools write UTF-16."""
    if data[:2] in (b"\xff\xfe", b"\xfe\xff"):
        return data.decode("utf-16", "replace").encode()
    return data.removeprefix(b"\xef\xbb\xbf")


def _read_base64(text: bytes, secret: Secret) -> Contents:
    try:
        decoded = base64.b64decode(b"".join(text.split()))
    except binascii.Error as error:
        raise _damaged("base64 text of a wrong length") from error
    if decoded[:1] != b"\x30" and b"-----BEGIN " not in decoded:
        raise IdentityFormatError(
            "base64 text of something that is neither a certificate nor a key",
            hint="give PEM, DER, PKCS#12 or PKCS#7, or base64 of one of these",
            code="unknown_format",
        )
    return pem.read(decoded, secret) if decoded[:1] != b"\x30" else _read_der(decoded, secret)


def _read_der(data: bytes, secret: Secret) -> Contents:
    try:
        whole = element(data, 0)
        inner = list(elements(data, whole.start, whole.end))
    except ValueError as error:
        raise IdentityFormatError(
            "truncated: the binary data ends too early",
            hint="get the file again; copy it in binary mode",
            code="truncated",
        ) from error
    tags = [one.tag for one in inner[:3]]
    first = data[inner[0].start : inner[0].end] if inner else b""
    match tags:
        case [0x02, *_] if first == b"\x03":
            return pkcs12.read(data, secret)
        case [0x06, *_] if first == _PKCS7_SIGNED:
            return _read_pkcs7(data)
        case [0x02, *_]:  # PKCS#8, PKCS#1, SEC1: a version, then the key
            return _read_key(data, None)
        case [0x30, 0x04]:  # EncryptedPrivateKeyInfo
            pkcs12.check_rounds(data)
            return _read_key(data, secret)
    return _read_certificate(data[: whole.after], inner_is_signed=tags == [0x30, 0x30, 0x03])


def _read_key(data: bytes, secret: Secret | None) -> Contents:
    password = secret.reveal() if secret else None
    if secret and password is None:
        raise password_needed("the private key")
    try:
        key = load_der_private_key(data, password, unsafe_skip_rsa_key_validation=True)
    except UnsupportedAlgorithm as error:
        raise IdentityFormatError(
            "a private key of a kind, or encrypted in a way, that is not supported",
            hint="convert it: openssl pkcs8 -topk8 -in OLD -out NEW; "
            "use an RSA, EC, Ed25519 or Ed448 key",
            code="unsupported_key",
        ) from error
    except (ValueError, TypeError):
        if secret:
            raise secret.wrong("the private key") from None
        raise _damaged("binary data that begins like a private key") from None
    return Contents(keys=(Key(key),), exposed=secret is None)


def _read_pkcs7(data: bytes) -> Contents:
    from cryptography.hazmat.primitives.serialization import pkcs7

    try:
        found = pkcs7.load_der_pkcs7_certificates(data)
        return Contents(tuple(Certificate(certificate.sound(one)) for one in found))
    except (ValueError, UnsupportedAlgorithm) as error:
        raise _damaged("a PKCS#7 file without readable certificates") from error


def _read_certificate(data: bytes, *, inner_is_signed: bool) -> Contents:
    try:
        return Contents((Certificate(certificate.load(data)),))
    except ValueError as error:
        for load, name in (
            (x509.load_der_x509_csr, "certificate request"),
            (x509.load_der_x509_crl, "certificate revocation list"),
        ):
            try:
                load(data)
            except (ValueError, TypeError):
                continue
            return Contents(others=(name,))
        if not inner_is_signed:
            return Contents(others=("public key or other ASN.1",))
        raise _damaged("a certificate that cannot be parsed") from error


def _damaged(what: str) -> IdentityFormatError:
    return IdentityFormatError(
        f"damaged: {what}", hint="get the file again; copy it in binary mode", code="damaged"
    )


def without_keys(data: bytes) -> Contents:
    """Read the certificates of a PEM file, its keys left unread; nothing for other formats."""
    text = _decoded(data)
    return pem.certificates(text) if b"-----BEGIN " in text else Contents()
