"""Identities from files."""

from __future__ import annotations

import warnings
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from mtls_client._formats import reading
from mtls_client._formats.contents import Contents, Password, Secret
from mtls_client._os import files
from mtls_client.errors import IdentityError
from mtls_client.identity import Identity, IdentityWarning

if TYPE_CHECKING:
    from typing import TypeAlias

    StrPath: TypeAlias = str | Path

__all__ = ["FileSource"]


class FileSource:
    """Loads an identity from one file or several.

    The format is told by the bytes and never by the name: PEM in any block order, DER, PKCS#12,
    PKCS#7 chains, or base64 of one of these.

    Args:
        certificate: the file with the certificate, or with everything.
        key: the file with the private key, if it is another one.
        password: opens what is encrypted: a str, bytes, a `Path` to a file that holds it, or a
            function that returns it, called at each load that needs it. Nothing ever prompts.
        chain: further files with intermediates.
        select: which identity, if there are several: a label, a SHA-256 fingerprint, a subject
            or common name, or `for_mtls` (valid now and meant for client authentication).
        strict_permissions: refuse an unencrypted key that the group or others may read,
            instead of warning.

    Example:
        >>> FileSource("client.p12", password=Path("/run/secrets/p12")).load()  # doctest: +SKIP
    """

    def __init__(
        self,
        certificate: StrPath,
        key: StrPath | None = None,
        *,
        password: Password = None,
        chain: StrPath | Iterable[StrPath] | None = None,
        select: str | None = None,
        strict_permissions: bool = False,
    ) -> None:
        further = [chain] if isinstance(chain, (str, Path)) else chain or ()
        named = [certificate, key, *further] if key is not None else [certificate, *further]
        self._paths = tuple(dict.fromkeys(Path(one) for one in named))
        self._password = password
        self._select = select
        self._strict_permissions = strict_permissions

    def load(self) -> Identity:
        """Read the files.

        Raises:
            IdentityError: see its subclasses and their `code`; the message names the file.
        """
        secret, contents = Secret(self._password), Contents()
        for path in self._paths:
            contents += self._read(path, secret)
        try:
            return Identity._of(contents, self._select)
        except IdentityError as error:
            raise _at(error, ", ".join(str(path) for path in self._paths)) from error.__cause__

    def _read(self, path: Path, secret: Secret) -> Contents:
        data = files.read(path)
        try:
            contents = reading.read(data, secret)
        except IdentityError as error:
            raise _at(error, str(path)) from error.__cause__
        if contents.exposed and files.open_to_others(path):
            self._complain(path)
        return contents

    def _complain(self, path: Path) -> None:
        message, hint = f"{path}: others may read this private key", f"chmod 600 {path}"
        if self._strict_permissions:
            raise IdentityError(message, hint=hint, code="key_permissions")
        warnings.warn(f"{message}; {hint}", IdentityWarning, stacklevel=4)

    def __repr__(self) -> str:
        return f"FileSource({', '.join(repr(str(path)) for path in self._paths)})"


def _at(error: IdentityError, where: str) -> IdentityError:
    """Return the same error with the file in its message and its hint."""
    hint = error.hint.replace("FILE", where.split(", ")[0]) if error.hint else None
    return type(error)(f"{where}: {error.args[0]}", hint=hint, code=error.code)
