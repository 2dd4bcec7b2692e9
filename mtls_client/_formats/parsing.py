"""cryptography's parsers, made total: a value, a ValueError or an UnsupportedAlgorithm.

cryptography warns about what real files hold (BER from NSS, a serial number of zero), which a
program that turns warnings into errors would die of; and it raises whatever it likes over what
hostile files hold. Both end here. The filters of warnings belong to all threads, hence the lock.
"""

from __future__ import annotations

import functools
import os
import threading
import warnings
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, ParamSpec, TypeVar

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes
from cryptography.hazmat.primitives.serialization import (
    load_der_private_key,
    load_pem_private_key,
)

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.serialization.pkcs12 import PKCS12KeyAndCertificates

__all__ = [
    "UNREADABLE",
    "certificates",
    "key_from_der",
    "key_from_pem",
    "pkcs7_certificates",
    "pkcs12",
    "readable",
    "serial",
    "signature_hash",
    "total",
    "touched",
]

UNREADABLE = (ValueError, UnsupportedAlgorithm)
"""All that a function of this file raises."""

_lock = threading.Lock()
_P = ParamSpec("_P")
_T = TypeVar("_T")


def total(parse: Callable[_P, _T]) -> Callable[_P, _T]:
    """Make a function raise nothing but `UNREADABLE`, and warn of nothing. It must not nest."""

    @functools.wraps(parse)
    def contained(*args: _P.args, **kwargs: _P.kwargs) -> _T:
        with _lock, warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return _contained(parse, *args, **kwargs)

    return contained


def slow(parse: Callable[_P, _T]) -> Callable[_P, _T]:
    """Make a function total that may stretch a password for a second, and rarely warns.

    Nobody else waits for it, or misses a warning meanwhile.
    """

    @functools.wraps(parse)
    def contained(*args: _P.args, **kwargs: _P.kwargs) -> _T:
        try:
            return _contained(parse, *args, **kwargs)
        except Warning:  # the program turns them into errors
            return total(parse)(*args, **kwargs)

    return contained


def _contained(parse: Callable[_P, _T], *args: _P.args, **kwargs: _P.kwargs) -> _T:
    try:
        return parse(*args, **kwargs)
    except (*UNREADABLE, Warning, KeyboardInterrupt, SystemExit):
        raise
    except BaseException as error:  # a panic in Rust is no Exception
        raise ValueError(type(error).__name__) from error


def _after_fork() -> None:
    global _lock
    _lock = threading.Lock()  # another thread may have held it, which the child does not have


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


@total
def certificates(ders: Iterable[bytes]) -> list[x509.Certificate]:
    """Parse certificates, and the fields that make them such."""
    return [touched(x509.load_der_x509_certificate(der)) for der in ders]


def touched(value: x509.Certificate) -> x509.Certificate:
    """Return a certificate whose fields can be read: cryptography parses them when asked."""
    _ = value.subject, value.issuer, value.serial_number
    _ = value.not_valid_before_utc, value.not_valid_after_utc
    return value


def readable(value: x509.Certificate) -> bool:
    """Tell whether all extensions of a certificate can be read."""
    try:
        _extensions(value)
    except UNREADABLE:
        return False
    return True


@total
def _extensions(value: x509.Certificate) -> x509.Extensions:
    return value.extensions


@total
def serial(value: x509.Certificate) -> str:
    """Return a serial number in hex, also one that RFC 5280 §4.1.2.2 forbids."""
    return f"{value.serial_number:x}"


@total
def signature_hash(value: x509.Certificate) -> hashes.HashAlgorithm | None:
    """Return the hash of a certificate's signature, None for a signature without one."""
    return value.signature_hash_algorithm


@slow
def key_from_der(der: bytes, password: bytes | None) -> PrivateKeyTypes:
    """Parse a PKCS#8, PKCS#1 or SEC1 key."""
    # the check of a whole RSA key takes 36 ms; that the key belongs to the certificate is
    # checked later, and OpenSSL loads it once more
    return load_der_private_key(der, password, unsafe_skip_rsa_key_validation=True)


@slow
def key_from_pem(pem: bytes, password: bytes) -> PrivateKeyTypes:
    """Parse a key that PEM itself encrypts (RFC 1421), as OpenSSL did before PKCS#8."""
    return load_pem_private_key(pem, password, unsafe_skip_rsa_key_validation=True)


@total
def pkcs7_certificates(der: bytes) -> list[x509.Certificate]:
    """Parse the certificates of a PKCS#7 SignedData (RFC 2315 §9.1)."""
    from cryptography.hazmat.primitives.serialization import pkcs7

    return [touched(one) for one in pkcs7.load_der_pkcs7_certificates(der)]


def pkcs12(data: bytes, password: bytes | None) -> PKCS12KeyAndCertificates:
    """Open a PKCS#12 file."""
    # cryptography warns of BER, in which NSS writes
    load = _load_pkcs12_quietly if data[1:2] == b"\x80" else _load_pkcs12
    bundle = load(data, password)
    _touched_all([one.certificate for one in (bundle.cert, *bundle.additional_certs) if one])
    return bundle


def _open_pkcs12(data: bytes, password: bytes | None) -> PKCS12KeyAndCertificates:
    from cryptography.hazmat.primitives.serialization import pkcs12

    return pkcs12.load_pkcs12(data, password)


_load_pkcs12, _load_pkcs12_quietly = slow(_open_pkcs12), total(_open_pkcs12)


@total
def _touched_all(values: Iterable[x509.Certificate]) -> None:
    for value in values:
        touched(value)
