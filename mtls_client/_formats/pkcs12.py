"""PKCS#12 (RFC 7292): what cryptography reads, and what it leaves out.

cryptography opens one key and calls everything else a chain; here every key is found. It also
reports a cipher that this OpenSSL cannot read as a wrong password, so the algorithm is read first.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes
from cryptography.hazmat.primitives.serialization import load_der_private_key, pkcs12

from mtls_client._formats.certificate import sound
from mtls_client._formats.contents import Certificate, Contents, Key, Secret, password_needed
from mtls_client._formats.der import Element, element, elements
from mtls_client.errors import IdentityFormatError

__all__ = ["check_rounds", "read"]

# pkcs-12PbeIds (RFC 7292 appendix C); the first two are RC4, the last two RC2
_PBE = bytes.fromhex("060a2a864886f70d010c01")
_LEGACY = {1: "RC4-128", 2: "RC4-40", 5: "RC2-128", 6: "RC2-40"}
_PBKDF2 = bytes.fromhex("06092a864886f70d01050c")
_DATA = bytes.fromhex("2a864886f70d010701")
_SHROUDED_KEY = bytes.fromhex("2a864886f70d010c0a0102")
_FRIENDLY_NAME = bytes.fromhex("2a864886f70d010914")

_MOST_ROUNDS = 10_000_000


def read(data: bytes, secret: Secret) -> Contents:
    """Read a PKCS#12 file.

    Raises:
        PasswordError: the password is wrong, or one is needed.
        IdentityFormatError: the file is damaged, or encrypted in a way that this OpenSSL
            cannot read.
    """
    check_rounds(data)
    password = secret.reveal()
    # an empty password and none are two different things in PKCS#12, and one for people
    candidates = [password] if password else [b"", None]
    bundle = next(
        (one for one in (_opened(data, candidate) for candidate in candidates) if one), None
    )
    if bundle is None:
        _explain_legacy(data)
        if password is None:
            raise password_needed("the PKCS#12 file")
        raise secret.wrong("the PKCS#12 file")
    own = [bundle.cert] if bundle.cert else []
    try:
        certificates = tuple(
            Certificate(sound(one.certificate), _text(one.friendly_name))
            for one in (*own, *bundle.additional_certs)
        )
    except ValueError as error:
        raise IdentityFormatError(
            "damaged: a certificate in the PKCS#12 file cannot be parsed",
            hint="get the file again",
            code="damaged",
        ) from error
    label = _text(bundle.cert.friendly_name) if bundle.cert else None
    keys = [Key(bundle.key, label)] if bundle.key is not None else []
    keys += _further_keys(data, password, keys)
    # a PKCS#12 file counts as encrypted: whether it really is takes its MAC and more
    return Contents(certificates, tuple(keys))


def check_rounds(data: bytes) -> None:
    """Refuse a key derivation that would run for minutes.

    Raises:
        IdentityFormatError: some algorithm asks for more than ten million rounds.
    """
    for rounds in _rounds(data):
        if rounds > _MOST_ROUNDS:
            raise IdentityFormatError(
                f"the key derivation asks for {rounds} rounds, more than {_MOST_ROUNDS}",
                hint="export it again with the tool's default settings",
                code="kdf_rounds",
            )


def _opened(data: bytes, password: bytes | None) -> pkcs12.PKCS12KeyAndCertificates | None:
    try:
        with warnings.catch_warnings():
            # NSS writes BER, about which cryptography warns
            warnings.simplefilter("ignore")
            return pkcs12.load_pkcs12(data, password)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        return None


def _explain_legacy(data: bytes) -> None:
    algorithms = {data[at + len(_PBE)] for at in _places(data, _PBE)} & _LEGACY.keys()
    if algorithms and not _legacy_readable():
        name = _LEGACY[algorithms.pop()]
        raise IdentityFormatError(
            f"the PKCS#12 file is encrypted with {name}, which this OpenSSL has disabled",
            hint="convert it where the legacy provider is on: openssl pkcs12 -legacy -in OLD.p12 "
            "-nodes | openssl pkcs12 -export -out NEW.p12; or unset CRYPTOGRAPHY_OPENSSL_NO_LEGACY",
            code="legacy_cipher",
        )


def _legacy_readable() -> bool:
    from cryptography.hazmat.decrepit.ciphers.algorithms import ARC4
    from cryptography.hazmat.primitives.ciphers import Cipher

    try:
        Cipher(ARC4(bytes(16)), mode=None).encryptor()
    except UnsupportedAlgorithm:
        return False
    return True


def _further_keys(data: bytes, password: bytes | None, known: list[Key]) -> list[Key]:
    """Return the keys that cryptography passes over: all but one."""
    found: list[Key] = []
    try:
        bags = list(_key_bags(data))
    except ValueError:
        return []
    if len(bags) < 2:
        return []
    public = [_public(key.value) for key in known]
    for shrouded, label in bags:
        try:
            key = load_der_private_key(shrouded, password, unsafe_skip_rsa_key_validation=True)
        except (ValueError, TypeError, UnsupportedAlgorithm):
            continue
        if _public(key) not in public:
            public.append(_public(key))
            found.append(Key(key, label))
    return found


def _public(key: PrivateKeyTypes) -> object:
    return key.public_key()


def _key_bags(data: bytes) -> Iterator[tuple[bytes, str | None]]:
    """Return each PKCS8ShroudedKeyBag that lies in the open, with its friendly name."""
    pfx = element(data, 0)
    _version, auth_safe, *_mac = elements(data, pfx.start, pfx.end)
    safe = _octets(data, _content(data, auth_safe))
    outer = element(safe, 0)
    for info in elements(safe, outer.start, outer.end):
        kind = element(safe, info.start)
        if safe[kind.start : kind.end] != _DATA:
            continue  # encrypted as a whole; tools put certificates there
        bags = _octets(safe, _content(safe, info))
        listed = element(bags, 0)
        for bag in elements(bags, listed.start, listed.end):
            kind, value, *attributes = elements(bags, bag.start, bag.end)
            if bags[kind.start : kind.end] == _SHROUDED_KEY:
                label = _label(bags, attributes[0]) if attributes else None
                yield bags[value.start : value.end], label


def _content(data: bytes, info: Element) -> Element:
    """Return what is inside the [0] EXPLICIT of a ContentInfo."""
    _kind, explicit = elements(data, info.start, info.end)
    return element(data, explicit.start)


def _octets(data: bytes, string: Element) -> bytes:
    """Return an OCTET STRING's bytes; BER may have cut it into pieces."""
    if not string.tag & 0x20:
        return data[string.start : string.end]
    return b"".join(_octets(data, piece) for piece in elements(data, string.start, string.end))


def _label(data: bytes, attributes: Element) -> str | None:
    for attribute in elements(data, attributes.start, attributes.end):
        kind, values = elements(data, attribute.start, attribute.end)
        if data[kind.start : kind.end] == _FRIENDLY_NAME:
            name = element(data, values.start)
            return data[name.start : name.end].decode("utf-16-be", "replace")
    return None


def _rounds(data: bytes) -> Iterator[int]:
    """Return every count of rounds that can be seen without a password."""
    for pattern, skipped in ((_PBE, 1), (_PBKDF2, 0)):
        for at in _places(data, pattern):
            try:
                parameters = element(data, at + len(pattern) + skipped)
                _salt, rounds, *_ = elements(data, parameters.start, parameters.end)
            except ValueError:
                continue
            yield int.from_bytes(data[rounds.start : rounds.end], "big")
    try:
        pfx = element(data, 0)
        _version, _safe, mac, *_ = elements(data, pfx.start, pfx.end)
        _digest, _salt, rounds, *_ = elements(data, mac.start, mac.end)
        yield int.from_bytes(data[rounds.start : rounds.end], "big")
    except ValueError:
        return


def _places(data: bytes, pattern: bytes) -> Iterator[int]:
    at = data.find(pattern)
    while at >= 0 and at + len(pattern) < len(data):
        yield at
        at = data.find(pattern, at + 1)


def _text(name: bytes | None) -> str | None:
    return name.decode("utf-8", "replace") if name is not None else None
