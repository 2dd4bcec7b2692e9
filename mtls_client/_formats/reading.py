"""Bytes to certificates and keys, whatever the file is called.

The kind is told by the bytes: PEM blocks in any order with any text around them, DER, PKCS#12,
PKCS#7, or base64 of one of these. Where a hint says FILE, whoever knows the path puts it in.
"""

from __future__ import annotations

import base64
import binascii
import pickle
import sys

from cryptography import x509

from mtls_client._formats import aside, keys, parsing, pem, pkcs12
from mtls_client._formats.contents import Certificate, Contents, Key
from mtls_client._formats.der import element, elements, sequence
from mtls_client._formats.passwords import Secret, TooLong
from mtls_client.errors import IdentityFormatError, MTLSError

__all__ = ["certificates", "read", "without_keys"]

_JAVA = {b"\xfe\xed\xfe\xed": "JKS", b"\xce\xce\xce\xce": "JCEKS"}
_PKCS7_SIGNED = bytes.fromhex("2a864886f70d010702")

_TEXTS = {
    b"ssh-": "an SSH public key",
    b"ecdsa-sha2-": "an SSH public key",
    b"---- BEGIN SSH2": "an SSH public key",
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
    try:
        return _read(data, secret)
    except TooLong:
        return aside.read(data, secret.revealed())


def answer(data: bytes, password: bytes | None) -> None:
    """Read a file for another process: the answer, or our error, goes to standard output."""
    try:
        result: object = aside.packed(_read(data, Secret(password)))
    except MTLSError as error:
        error.__cause__ = error.__context__ = None
        result = error
    pickle.dump(result, sys.stdout.buffer)


def _read(data: bytes, secret: Secret) -> Contents:
    if name := _JAVA.get(data[:4]):
        raise IdentityFormatError(
            f"a Java keystore ({name}), which only Java reads",
            hint=f"convert it: keytool -importkeystore -srckeystore FILE -srcstoretype {name} "
            "-destkeystore NEW.p12 -deststoretype PKCS12",
            code="java_keystore",
        )
    text = _as_utf8(data)
    if not text.strip():
        raise IdentityFormatError("the file is empty", hint="check the path", code="empty")
    if pem.is_pem(text):
        return pem.read(text, secret)
    if data[:1] == b"\x30":
        return _read_der(data, secret)
    try:
        decoded = base64.b64decode(b"".join(text.split()), validate=True)
    except binascii.Error:
        decoded = b""
    if pem.is_pem(decoded):
        return pem.read(decoded, secret)
    if decoded[:1] == b"\x30":
        return _read_der(decoded, secret)
    kind = next((kind for start, kind in _TEXTS.items() if text.lstrip().startswith(start)), None)
    raise IdentityFormatError(
        f"neither a certificate nor a key, but {kind}"
        if kind
        else "neither a certificate nor a key in any format this library knows",
        hint="give PEM, DER, PKCS#12 or PKCS#7; see what it is with: file FILE",
        code="unknown_format",
    )


def without_keys(data: bytes) -> Contents:
    """Read the certificates of a PEM file, its keys left unread; nothing for other formats."""
    text = _as_utf8(data)
    return pem.certificates(text) if pem.is_pem(text) else Contents()


def certificates(given: x509.Certificate | bytes, secret: Secret) -> tuple[Certificate, ...]:
    """Return the certificates of a file's bytes, or the one that was given as an object."""
    return read(given, secret).certificates if isinstance(given, bytes) else (Certificate(given),)


def _as_utf8(data: bytes) -> bytes:
    """Return text as UTF-8 without a byte order mark; Windows tools write UTF-16."""
    if data[:2] in (b"\xff\xfe", b"\xfe\xff"):
        return data.decode("utf-16", "replace").encode()
    if data[1:128:2] == bytes(64):
        return data.decode("utf-16-le", "replace").encode()
    return data.removeprefix(b"\xef\xbb\xbf")


def _read_der(data: bytes, secret: Secret) -> Contents:
    """Read one element after the other; what follows the last one is no DER."""
    found, at = Contents(), 0
    while data[at : at + 1] == b"\x30":
        try:
            inner, after = sequence(data, at), element(data, at).after
        except ValueError as error:
            raise IdentityFormatError(
                "truncated: the binary data ends too early",
                hint="get the file again; copy it in binary mode",
                code="truncated",
            ) from error
        tags = [one.tag for one in inner]
        first = data[inner[0].start : inner[0].end] if inner else b""
        found += _read_element(data[at:after], tags, first, secret)
        at = after
    return found


def _read_element(der: bytes, tags: list[int], first: bytes, secret: Secret) -> Contents:
    match tags:
        case [0x02, 0x30, *_] if first == b"\x03":
            return pkcs12.read(der, secret)
        case [0x06, *_] if first == _PKCS7_SIGNED:
            return _read_pkcs7(der)
        case [0x30, 0x04]:  # EncryptedPrivateKeyInfo
            return Contents(keys=(Key(keys.decrypted(der, secret)),))
        case [0x02, 0x30, 0x04, *_] | [0x02, 0x04, *_] | [0x02, 0x02, 0x02, 0x02, *_]:
            return Contents(keys=(Key(keys.plain(der)),), exposed=True)
        case [0x30, 0x03] | [0x02, 0x02]:
            return Contents(others=("public key",))
        case [0x30, 0x30, 0x03]:
            return _read_signed(der, first)
    return Contents(others=("piece of ASN.1",))


def _read_pkcs7(der: bytes) -> Contents:
    try:
        return Contents(tuple(map(Certificate, parsing.pkcs7_certificates(der))))
    except parsing.UNREADABLE as error:
        raise _damaged("a PKCS#7 file without readable certificates") from error


def _read_signed(der: bytes, signed: bytes) -> Contents:
    """Read a certificate, or what else is signed: a request (RFC 2986) or a CRL."""
    try:
        tags = [one.tag for one in elements(signed, 0, len(signed))]
        if tags == [0x02, 0x30, 0x30, 0xA0]:
            return Contents(others=("certificate request",))
        if {0x17, 0x18}.intersection(tags):  # a time; a certificate has its times deeper
            return Contents(others=("certificate revocation list",))
        return Contents(tuple(map(Certificate, parsing.certificates([der]))))
    except parsing.UNREADABLE as error:
        raise _damaged("a certificate that cannot be parsed") from error


def _damaged(what: str) -> IdentityFormatError:
    return IdentityFormatError(
        f"damaged: {what}", hint="get the file again; copy it in binary mode", code="damaged"
    )
