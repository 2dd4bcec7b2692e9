"""How something is encrypted, read before any password is tried.

cryptography reports a cipher that it cannot read as a wrong password, and runs as many rounds of
key derivation as it is told to. The algorithm identifiers lie in the open, so they can be asked;
they are found by their bytes, which works in BER as in DER.
"""

from __future__ import annotations

from collections.abc import Iterator

from cryptography.exceptions import UnsupportedAlgorithm

from mtls_client._formats.der import element, integer, sequence
from mtls_client.errors import IdentityFormatError

__all__ = ["refuse_disabled", "refuse_unknown", "rounds", "unsupported"]

_PKCS12 = bytes.fromhex("2a864886f70d010c01")  # pkcs-12PbeIds, RFC 7292 appendix C
_PKCS5 = bytes.fromhex("2a864886f70d0105")  # pkcs-5, RFC 8018 appendix C
_PBES2 = _PKCS5 + b"\x0d"
_SCRYPT = bytes.fromhex("2b06010401da47040b")  # RFC 7914 §7

_DES = bytes.fromhex("2b0e030207")

_OLD = {  # OpenSSL has these in its legacy provider only, which may be switched off
    _PKCS12 + b"\x01": "RC4-128",
    _PKCS12 + b"\x02": "RC4-40",
    _PKCS12 + b"\x05": "RC2-128",
    _PKCS12 + b"\x06": "RC2-40",
    _PKCS5 + b"\x03": "DES",
    bytes.fromhex("2a864886f70d0302"): "RC2",
    _DES: "DES",
}
_KNOWN = {
    *(_OLD.keys() - {_DES}),
    _PKCS12 + b"\x03",  # 3DES
    bytes.fromhex("2a864886f70d0307"),  # 3DES
    bytes.fromhex("608648016503040102"),  # AES-128-CBC
    bytes.fromhex("608648016503040116"),  # AES-192-CBC
    bytes.fromhex("60864801650304012a"),  # AES-256-CBC
}


def rounds(data: bytes) -> int:
    """Return how many rounds of key derivation it takes to open some BER."""
    total = 0
    for prefix, suffix in ((_PKCS12, 1), (_PKCS5, 1), (_SCRYPT, 0)):
        for numbers in _parameters(data, prefix, suffix):
            # a thousand for the rest of the work: a thousand small things are a large one
            total += 1000 + numbers[0]
            if prefix == _SCRYPT and len(numbers) > 2:
                # costs time as its product, and memory: 128 bytes for each N and r
                total += 4 * numbers[0] * numbers[1] * numbers[2]
    return total


def refuse_disabled(data: bytes, what: str, convert: str) -> None:
    """Raise an error if this OpenSSL has switched off what something is encrypted with.

    Args:
        data: what is encrypted.
        what: its name.
        convert: the command that encrypts it anew.

    Raises:
        IdentityFormatError: no password will open it.
    """
    for identifier in _ciphers(data):
        if identifier in _OLD and not _old_ciphers_work():
            raise IdentityFormatError(
                f"{what} is encrypted with {_OLD[identifier]}, which this OpenSSL has disabled",
                hint=f"convert it where that is on: {convert}; or unset "
                "CRYPTOGRAPHY_OPENSSL_NO_LEGACY",
                code="legacy_cipher",
            )


def refuse_unknown(data: bytes, what: str, convert: str) -> None:
    """Raise an error if something is encrypted in a way that cryptography cannot read.

    The arguments are those of `refuse_disabled`.

    Raises:
        IdentityFormatError: no password will open it.
    """
    for identifier in _ciphers(data):
        if identifier not in _KNOWN:
            raise unsupported(what, convert)


def unsupported(what: str, convert: str) -> IdentityFormatError:
    """Return the error for a cipher that is hardly in use anywhere."""
    return IdentityFormatError(
        f"{what} is encrypted with a cipher that this library cannot read",
        hint=f"convert it: {convert}",
        code="unsupported_cipher",
    )


def _ciphers(data: bytes) -> Iterator[bytes]:
    """Return the object identifier of each cipher, without its header."""
    for prefix in (_PKCS12, _PKCS5):
        for at in _places(data, prefix):
            identifier = data[at : at + len(prefix) + 1]
            if identifier == _PBES2:
                yield from _scheme(data, at + len(identifier))
            elif identifier != _PKCS5 + b"\x0c":  # PBKDF2 is no cipher
                yield identifier


def _scheme(data: bytes, at: int) -> Iterator[bytes]:
    """Return the cipher of PBES2's parameters (RFC 8018 appendix A.4)."""
    try:
        _derivation, scheme = sequence(data, at)
        identifier = element(data, scheme.start)
    except ValueError:
        return
    yield data[identifier.start : identifier.end]


def _parameters(data: bytes, prefix: bytes, suffix: int) -> Iterator[list[int]]:
    """Return the integers after the salt in the parameters of each algorithm."""
    for at in _places(data, prefix):
        try:
            _salt, *rest = sequence(data, at + len(prefix) + suffix)
        except ValueError:
            continue
        if numbers := [integer(data, one) for one in rest if one.tag == 0x02]:
            yield numbers


def _places(data: bytes, pattern: bytes) -> Iterator[int]:
    at = data.find(pattern)
    while at >= 0:
        yield at
        at = data.find(pattern, at + 1)


def _old_ciphers_work() -> bool:
    from cryptography.hazmat.decrepit.ciphers.algorithms import ARC4
    from cryptography.hazmat.primitives.ciphers import Cipher

    try:
        Cipher(ARC4(bytes(16)), mode=None).encryptor()
    except UnsupportedAlgorithm:
        return False
    return True
