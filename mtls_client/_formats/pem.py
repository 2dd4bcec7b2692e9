"""PEM (RFC 7468): blocks in any order, with any text around them."""

from __future__ import annotations

import base64
import re
from collections.abc import Iterator
from typing import NamedTuple

from mtls_client._formats import keys, parsing, pkcs12
from mtls_client._formats.contents import Certificate, Contents, Key
from mtls_client._formats.der import element
from mtls_client._formats.passwords import Secret
from mtls_client.errors import IdentityFormatError

__all__ = ["certificates", "is_pem", "read"]

_EDGE = re.compile(rb"-----(BEGIN|END) ([A-Z0-9# ]*)")
_NAME = re.compile(rb"friendlyName: ([^\r\n]+)")
_CERTIFICATES = (b"CERTIFICATE", b"X509 CERTIFICATE", b"TRUSTED CERTIFICATE")
_PKCS7 = (b"PKCS7", b"CMS", b"PKCS #7 SIGNED DATA")
_PARAMETERS = (b"EC PARAMETERS", b"DH PARAMETERS", b"DSA PARAMETERS")
_OPENSSH = b"OPENSSH PRIVATE KEY"
_NAMES = {
    b"X509 CRL": "certificate revocation list",
    b"NEW CERTIFICATE REQUEST": "certificate request",
    _OPENSSH: "private key in OpenSSH's format (ssh-keygen -p -m PKCS8 converts it)",
    b"PGP PUBLIC KEY BLOCK": "PGP key",
    b"PGP PRIVATE KEY BLOCK": "PGP key",
}


class _Block(NamedTuple):
    kind: bytes
    body: bytes
    label: str | None


def is_pem(text: bytes) -> bool:
    """Tell whether there is a PEM block in a text, or a half of one."""
    return b"-----BEGIN " in text or b"-----END " in text


def read(text: bytes, secret: Secret) -> Contents:
    """Read every block; a friendlyName in the text before one is its label.

    Raises:
        IdentityFormatError: a block has no end, or cannot be read.
        PasswordError: the password is wrong, or one is needed.
    """
    ours: list[_Block] = []
    found = Contents()
    for block in _blocks(text):
        if block.kind in _CERTIFICATES:
            ours.append(block)
        else:
            found += _read(block, secret)
    return _certificates(ours) + found


def certificates(text: bytes) -> Contents:
    """Read the certificates alone.

    Raises:
        IdentityFormatError: a block has no end, or a certificate cannot be read.
    """
    return _certificates([block for block in _blocks(text) if block.kind in _CERTIFICATES])


def _blocks(text: bytes) -> Iterator[_Block]:
    opened: re.Match[bytes] | None = None
    after = 0
    for edge in _EDGE.finditer(text):
        if edge[1] == b"BEGIN" and opened is None:
            opened = edge
        elif edge[1] == b"END" and opened is not None and edge[2] == opened[2]:
            names = _NAME.findall(text, after, opened.start())
            label = names[-1].decode("utf-8", "replace").strip() if names else None
            yield _Block(edge[2], text[opened.end() : edge.start()].lstrip(b"-"), label)
            opened, after = None, edge.end()
        else:
            raise _truncated()
    if opened is not None:
        raise _truncated()


def _read(block: _Block, secret: Secret) -> Contents:
    if block.kind.endswith(b"PRIVATE KEY") and block.kind != _OPENSSH:
        return _key(block, secret)
    if block.kind in _PKCS7:
        try:
            found = parsing.pkcs7_certificates(_decoded(block))
        except parsing.UNREADABLE as error:
            raise _damaged(block.kind) from error
        return Contents(tuple(map(Certificate, found)))
    if block.kind == b"PKCS12":  # GnuTLS writes it
        return pkcs12.read(_decoded(block), secret)
    if block.kind in _PARAMETERS:
        return Contents()
    return Contents(others=(_NAMES.get(block.kind) or block.kind.decode().lower(),))


def _certificates(blocks: list[_Block]) -> Contents:
    ders = [_decoded(block) for block in blocks]
    try:
        # a TRUSTED CERTIFICATE has OpenSSL's own settings behind it
        found = parsing.certificates([der[: element(der, 0).after] for der in ders])
    except parsing.UNREADABLE as error:
        raise _damaged(_CERTIFICATES[0]) from error
    labels = [block.label for block in blocks]
    return Contents(tuple(map(Certificate, found, labels)))


def _key(block: _Block, secret: Secret) -> Contents:
    if b"DEK-Info:" in block.body:
        pem = _armored(block.kind, [line.strip() for line in block.body.strip().splitlines()])
        return Contents(keys=(Key(keys.decrypted_pem(pem, secret), block.label),))
    der = _decoded(block)
    if block.kind == b"ENCRYPTED PRIVATE KEY":
        return Contents(keys=(Key(keys.decrypted(der, secret), block.label),))
    encoded = base64.b64encode(der)
    lines = [encoded[at : at + 64] for at in range(0, len(encoded), 64)]
    key = Key(keys.plain(der), block.label, _armored(block.kind, lines))
    return Contents(keys=(key,), exposed=True)


def _decoded(block: _Block) -> bytes:
    try:
        return base64.b64decode(b"".join(block.body.split()), validate=True)
    except ValueError as error:
        raise _damaged(block.kind) from error


def _armored(kind: bytes, lines: list[bytes]) -> bytes:
    return b"-----BEGIN %b-----\n%b\n-----END %b-----\n" % (kind, b"\n".join(lines), kind)


def _truncated() -> IdentityFormatError:
    return IdentityFormatError(
        "truncated: a PEM block lacks its BEGIN or END line",
        hint="get the file again, whole",
        code="truncated",
    )


def _damaged(kind: bytes) -> IdentityFormatError:
    return IdentityFormatError(
        f"damaged: the PEM block {kind.decode()} cannot be read",
        hint="get the file again",
        code="damaged",
    )
