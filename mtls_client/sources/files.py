"""Identities from files."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable
from pathlib import Path
from typing import TypeAlias

from mtls_client._formats.contents import Contents
from mtls_client._formats.passwords import Password, Secret
from mtls_client._os import files
from mtls_client.errors import IdentityError, KeyMismatchError
from mtls_client.identity import Identity, assembled
from mtls_client.sources._digests import digest_of, seen
from mtls_client.sources._places import at, check_permissions, joined, parsed
from mtls_client.sources._saving import Files

__all__ = ["FileSource"]

_StrPath: TypeAlias = "str | os.PathLike[str]"

_PAUSE = 0.005
"""Seconds that who writes two files one after the other needs."""


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
        certificate: _StrPath,
        key: _StrPath | None = None,
        *,
        password: Password = None,
        chain: _StrPath | Iterable[_StrPath] | None = None,
        select: str | None = None,
        strict_permissions: bool = False,
    ) -> None:
        further = [chain] if isinstance(chain, (str, os.PathLike)) else chain or ()
        self._certificate = Path(certificate)
        self._key = Path(key) if key is not None else None
        self._chain = tuple(Path(one) for one in further)
        self._password = password
        self._select = select
        self._strict_permissions = strict_permissions

    @property
    def paths(self) -> tuple[Path, ...]:
        """The files that are read: the certificate's, the key's, those of the chain."""
        return tuple(path for path in (self._certificate, self._key, *self._chain) if path)

    def load(self) -> Identity:
        """Read the files.

        Raises:
            IdentityError: see its subclasses and their `code`; the message names the file.
        """
        secret = Secret(self._password)
        for again in (True, False):
            contents = self._read(self._certificate, secret)
            if self._key is not None:
                contents = joined(contents, self._read(self._key, secret))
            further = [one for path in self._chain for one in self._read(path, secret).certificates]
            try:
                return assembled(contents, self._select, further)
            except IdentityError as error:
                if not (again and isinstance(error, KeyMismatchError)):
                    raise at(error, self._certificate, self._key) from error.__cause__
            time.sleep(_PAUSE)  # perhaps read between the writing of the one file and the other
        raise AssertionError("the second time returns or raises")

    def digest(self) -> bytes:
        """Return a SHA-256 over the files, and over the password's if it is in one."""
        password = self._password if isinstance(self._password, Path) else None
        paths = (self._certificate, self._key, *self._chain, password)
        return digest_of(*(seen(path) for path in paths if path is not None))

    @property
    def lock(self) -> Path:
        """The lock file beside the certificate, see `Savable`."""
        return self._files.lock

    def check_savable(self) -> None:
        """Raise what `save` would raise, as far as that can be known.

        Raises:
            IdentityError: `not_savable`, or the present identity cannot be loaded.
        """
        self._files.check()

    def save(self, identity: Identity) -> None:
        """Put an identity in place of the present one, in the formats and with the password,
        owners and permissions that the files have.

        An interruption at any point leaves the old identity or the new one loadable.

        Raises:
            IdentityError: `save_failed` or `not_savable`; what was there still is.
        """
        self._files.save(identity)

    @property
    def _files(self) -> Files:
        return Files(self._certificate, self._key, self._chain, self._password, self._select)

    def _read(self, path: Path, secret: Secret) -> Contents:
        contents = parsed(files.read(path), secret, path)
        if contents.exposed:
            check_permissions(path, strict=self._strict_permissions)
        return contents

    def __repr__(self) -> str:
        named = [self._certificate, self._key, *self._chain]
        return f"FileSource({', '.join(repr(str(path)) for path in named if path)})"
