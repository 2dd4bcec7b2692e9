"""PKCS#12 (RFC 7292): what cryptography reads, and what it leaves out.

cryptography opens one key and calls everything else a chain; here every key is found.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes

from mtls_client._formats import parsing, protection
from mtls_client._formats.contents import Certificate, Contents, Key
from mtls_client._formats.der import Element, element, elements, integer, octets, sequence
from mtls_client._formats.passwords import Secret
from mtls_client.errors import IdentityFormatError

__all__ = ["read"]

_WHAT = "the PKCS#12 file"
_CONVERT = "openssl pkcs12 -legacy -in FILE -aes256 -out NEW.pem"
_DATA = bytes.fromhex("2a864886f70d010701")
_KEY = bytes.fromhex("2a864886f70d010c0a0101")
_SHROUDED_KEY = bytes.fromhex("2a864886f70d010c0a0102")
_ROUNDS_PER_BAG = 10_000  # what it costs beside its rounds; so a thousand at most
_FRIENDLY_NAME = bytes.fromhex("2a864886f70d010914")


class _Layout(NamedTuple):
    """What lies open in a PKCS#12 file.

    Attributes:
        safes: the contents of the plain safes.
        sealed: the encrypted safes, algorithm and all.
        mac_rounds: rounds of key derivation for the MAC.
    """

    safes: list[bytes]
    sealed: list[bytes]
    mac_rounds: int


class _Bag(NamedTuple):
    shrouded: bool
    key: bytes
    label: str | None


def read(data: bytes, secret: Secret) -> Contents:
    """Read a PKCS#12 file.

    Raises:
        PasswordError: the password is wrong, or one is needed.
        IdentityFormatError: the file is damaged, or encrypted in a way that this OpenSSL
            cannot read.
    """
    try:
        layout = _layout(data)
        bags = [bag for safe in layout.safes for bag in _key_bags(safe)]
    except ValueError as error:
        raise IdentityFormatError(
            "damaged: a PKCS#12 file that cannot be parsed",
            hint="get the file again; copy it in binary mode",
            code="damaged",
        ) from error
    secret.spend(layout.mac_rounds + _ROUNDS_PER_BAG * len(bags))
    for part in layout.safes + layout.sealed:
        secret.spend(protection.rounds(part))
        protection.refuse_disabled(part, _WHAT, _CONVERT)
    try:
        bundle, password = secret.unlock(
            _WHAT, lambda candidate: (parsing.pkcs12(data, candidate), candidate), blank=True
        )
    except UnsupportedAlgorithm as error:
        raise protection.unsupported(_WHAT, _CONVERT) from error
    own = [bundle.cert] if bundle.cert else []
    certificates = [
        Certificate(one.certificate, _text(one.friendly_name))
        for one in (*own, *bundle.additional_certs)
    ]
    label = certificates[0].label if own else bags[0].label if bags else None
    keys = [Key(bundle.key, label)] if bundle.key else []
    if len(bags) > 1:
        keys += _further(bags, password, keys)
    unprotected = not password or any(not bag.shrouded for bag in bags)
    return Contents(tuple(certificates), tuple(keys), exposed=bool(keys) and unprotected)


def _further(bags: list[_Bag], password: bytes | None, known: list[Key]) -> list[Key]:
    """Return the keys that cryptography passes over."""
    found: list[Key] = []
    for bag in bags:
        try:
            key = parsing.key_from_der(bag.key, password if bag.shrouded else None)
        except parsing.UNREADABLE:
            continue  # of a kind that TLS has no use for
        if not any(_same(key, one.value) for one in known + found):
            found.append(Key(key, bag.label))
    return found


def _same(one: PrivateKeyTypes, other: PrivateKeyTypes) -> bool:
    return bool(one.public_key() == other.public_key())


def _layout(data: bytes) -> _Layout:
    """Take a PFX apart (RFC 7292 §4)."""
    _version, authenticated, *mac = sequence(data)
    layout = _Layout([], [], _mac_rounds(data, mac[0]) if mac else 0)
    content = _content(data, authenticated)
    for info in sequence(content):
        kind = element(content, info.start)
        if content[kind.start : kind.end] == _DATA:
            layout.safes.append(_content(content, info))
        else:
            layout.sealed.append(content[info.start : info.end])
    return layout


def _content(data: bytes, info: Element) -> bytes:
    """Return the octets inside a ContentInfo of type Data."""
    _kind, explicit = elements(data, info.start, info.end)
    return octets(data, element(data, explicit.start))


def _mac_rounds(data: bytes, mac: Element) -> int:
    _digest, _salt, *rounds = elements(data, mac.start, mac.end)
    return integer(data, rounds[0]) if rounds else 1


def _key_bags(safe: bytes) -> Iterator[_Bag]:
    """Return each key of a SafeContents, with its friendly name."""
    for bag in sequence(safe):
        kind, value, *attributes = elements(safe, bag.start, bag.end)
        identifier = safe[kind.start : kind.end]
        if identifier in (_KEY, _SHROUDED_KEY):
            label = _label(safe, attributes[0]) if attributes else None
            yield _Bag(identifier == _SHROUDED_KEY, safe[value.start : value.end], label)


def _label(data: bytes, attributes: Element) -> str | None:
    for attribute in elements(data, attributes.start, attributes.end):
        kind, values = elements(data, attribute.start, attribute.end)
        if data[kind.start : kind.end] == _FRIENDLY_NAME:
            name = element(data, values.start)
            return data[name.start : name.end].decode("utf-16-be", "replace")
    return None


def _text(name: bytes | None) -> str | None:
    return name.decode("utf-8", "replace") if name is not None else None
