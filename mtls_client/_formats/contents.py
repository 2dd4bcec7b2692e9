"""What a file can hold, before anybody asks which of it belongs together."""

from __future__ import annotations

from dataclasses import dataclass

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes

from mtls_client.errors import IdentityFormatError

__all__ = ["Certificate", "Contents", "Key"]

_MOST_OBJECTS = 1000
"""Several times the public roots; what sorts and compares them need not be clever."""


@dataclass(frozen=True, slots=True)
class Certificate:
    """A certificate and the name that the file gives it.

    Attributes:
        value: the certificate.
        label: the friendly name (PKCS#12, Bag Attributes), or None.
    """

    value: x509.Certificate
    label: str | None = None


@dataclass(frozen=True, slots=True, repr=False)
class Key:
    """A private key, its name, and its PEM if the file held it so and unencrypted.

    Attributes:
        value: the key.
        label: the friendly name, or None.
        pem: the unencrypted PEM block, or None.
    """

    value: PrivateKeyTypes
    label: str | None = None
    pem: bytes | None = None


@dataclass(frozen=True, slots=True, repr=False)
class Contents:
    """Everything that was found.

    Attributes:
        certificates: in the order of the file.
        keys: in the order of the file.
        others: what else was there, in words (`certificate request`, `public key`).
        exposed: a private key was among it that no password protects.
    """

    certificates: tuple[Certificate, ...] = ()
    keys: tuple[Key, ...] = ()
    others: tuple[str, ...] = ()
    exposed: bool = False

    def __post_init__(self) -> None:
        if len(self.certificates) + len(self.keys) + len(self.others) > _MOST_OBJECTS:
            raise IdentityFormatError(
                f"more than {_MOST_OBJECTS:,} certificates and keys",
                hint="give a file with one identity and its chain",
                code="too_many",
            )

    def __add__(self, more: Contents) -> Contents:
        return Contents(
            self.certificates + more.certificates,
            self.keys + more.keys,
            self.others + more.others,
            self.exposed or more.exposed,
        )
