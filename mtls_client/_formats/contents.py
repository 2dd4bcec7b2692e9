"""What a file can hold, before anybody asks which of it belongs together."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes

from mtls_client.errors import PasswordError

__all__ = ["Certificate", "Contents", "Key", "Password", "Secret"]

Password: TypeAlias = "str | bytes | Path | Callable[[], str | bytes] | None"  # noqa: S105 (a type)


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
        others: what else was there, in words (`certificate request`, `CRL`).
        exposed: an unencrypted private key was among it.
    """

    certificates: tuple[Certificate, ...] = ()
    keys: tuple[Key, ...] = ()
    others: tuple[str, ...] = ()
    exposed: bool = False

    def __add__(self, more: Contents) -> Contents:
        return Contents(
            self.certificates + more.certificates,
            self.keys + more.keys,
            self.others + more.others,
            self.exposed or more.exposed,
        )


class Secret:
    """A password, fetched when the first encrypted thing is met, and only once.

    Args:
        given: the password, a file that holds it (one line break at its end is not part of
            it), a function that returns it, or None.
    """

    __slots__ = ("_given", "_known")

    def __init__(self, given: Password) -> None:
        self._given = given
        self._known: bytes | None = None

    @property
    def absent(self) -> bool:
        """Whether there is no password at all."""
        return self._given is None

    def reveal(self) -> bytes | None:
        """Return the password as bytes (UTF-8), or None.

        Raises:
            PasswordError: its file cannot be read, or the function returned something else.
        """
        if self._known is None and self._given is not None:
            self._known = self._fetched()
        return self._known

    def wrong(self, what: str) -> PasswordError:
        """Return the error for a password that does not open something."""
        hint = "check the password"
        if (self._known or b"").endswith((b"\n", b" ", b"\r")):
            hint = (
                "the password ends with a space or line break: strip it, or give password=Path(…)"
            )
        return PasswordError(f"wrong password for {what}", hint=hint, code="password_wrong")

    def _fetched(self) -> bytes:
        given = self._given
        if isinstance(given, Path):
            try:
                content = given.read_bytes()
            except OSError as error:
                raise PasswordError(
                    f"the password file {given} cannot be read ({error.strerror})",
                    hint="check the path and who may read it",
                    code="password_file",
                ) from error
            return content.removesuffix(b"\n").removesuffix(b"\r")
        value = given() if callable(given) else given
        if isinstance(value, str):
            return value.encode()
        if isinstance(value, bytes):
            return value
        raise PasswordError(
            f"a password is a str, bytes, Path or a function that returns one, "
            f"not {type(value).__name__}",
            code="password_type",
        )

    def __repr__(self) -> str:
        return "<Secret>"


def password_needed(what: str) -> PasswordError:
    """Return the error for something encrypted when no password was given."""
    return PasswordError(
        f"{what} is encrypted and no password was given",
        hint="pass password='…', password=Path('file') or a function that returns it",
        code="password_needed",
    )
