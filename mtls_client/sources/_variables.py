"""One environment variable with a certificate, key or password, or the file that stands for it.

Rule of this file: an error names the variable and never what is in it, not even a path.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from mtls_client._os import files
from mtls_client.errors import (
    ConfigurationError,
    IdentityError,
    IdentityNotFoundError,
    PasswordError,
)
from mtls_client.sources._digests import seen
from mtls_client.sources._paths import path_of

__all__ = ["Variable"]

_NOWHERE = Path("\0")
"""No file can have this name."""


@dataclass(frozen=True, slots=True, repr=False)
class Variable:
    """A variable that is set.

    Attributes:
        name: its name.
        text: what it says, None if that is in a file.
        path: the file.
        named: the variable names the file, rather than the file being named like the variable.
    """

    name: str
    text: str | None = None
    path: Path | None = None
    named: bool = False

    @classmethod
    def saying(cls, name: str, value: str) -> Variable:
        """Return a variable by its value, which may be `file:PATH`."""
        scheme, colon, rest = value.strip().partition(":")
        if not colon or scheme.lower() != "file":
            return cls(name, text=value)
        try:
            return cls(name, path=path_of(rest), named=True)
        except ConfigurationError:
            return cls(name, path=_NOWHERE, named=True)

    def read(self) -> bytes:
        """Return the certificate or key, in any format.

        Raises:
            IdentityNotFoundError: it is in a file that cannot be read.
        """
        if self.path is not None:
            return self._content(self.path)
        text = self.text or ""
        if "-----BEGIN " in text:  # .env files and some secret stores keep it on one line
            text = text.replace("\\r", "").replace("\\n", "\n")
        return text.encode("utf-8", "surrogateescape")

    def password(self) -> bytes:
        """Return the password; one line break at the end of a file is no part of it.

        Raises:
            PasswordError: it is in a file that cannot be read.
        """
        if self.path is None:
            return (self.text or "").encode("utf-8", "surrogateescape")
        try:
            return self._content(self.path).removesuffix(b"\n").removesuffix(b"\r")
        except IdentityError as error:
            raise PasswordError(str(error.args[0]), hint=error.hint, code="password_file") from None

    def seen(self) -> bytes:
        """Return what there is to read now, or why it cannot be read."""
        said = (self.text or "").encode("utf-8", "surrogateescape")
        return b"'" + said if self.path is None else seen(self.path)

    def _content(self, path: Path) -> bytes:
        try:
            return files.read(path)
        except IdentityError as error:
            reason = str(error.args[0]).removeprefix(f"{path}: ")
        except ValueError:
            reason = "not a path; write file:PATH, or file:///PATH with three slashes"
        where = "the file that it names" if self.named else "its file in $CREDENTIALS_DIRECTORY"
        raise IdentityNotFoundError(  # after the except: its context would have the path
            f"{self.name}: {where}: {reason}",
            hint=f"check the path in {self.name}" if self.named else "check LoadCredential=",
            code="variable_file",
        )
