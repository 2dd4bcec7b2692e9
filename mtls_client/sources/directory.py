"""Identities from a folder that a tool fills and replaces under our eyes.

Rule of this file: certificate, key and roots are of one version. Nothing is parsed before the
folder has been seen to hold still while it was read.
"""

from __future__ import annotations

import contextlib
import os
import time
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509

from mtls_client._formats.contents import Contents
from mtls_client._formats.passwords import Password, Secret
from mtls_client._os import files
from mtls_client.errors import IdentityError, IdentityFormatError, IdentityNotFoundError
from mtls_client.identity import Identity, assembled
from mtls_client.sources._digests import digest_of, seen
from mtls_client.sources._families import Family, chosen, present
from mtls_client.sources._places import at, check_permissions, joined, parsed, roots
from mtls_client.sources._saving import Files, not_savable

__all__ = ["DirectorySource"]

_ATTEMPTS = 40
_PAUSE = 0.005
"""Seconds between two attempts; who writes file by file needs less."""


@dataclass(frozen=True, slots=True, repr=False)
class _Snapshot:
    """What the files of a family held at one moment.

    Attributes:
        folder: where they really are.
        atomic: the folder is replaced as a whole, by what sets the permissions too (Kubernetes).
        family: their names.
        data: their bytes, by name.
    """

    folder: Path
    atomic: bool
    family: Family
    data: dict[str, bytes]


class DirectorySource:
    """Loads the identity in a folder, by the names that Kubernetes, certbot and others use.

    Certificate, key and trust anchors are always of the same version, also while they are being
    replaced. Trust anchors beside the identity become `identity.roots`.

    Args:
        path: the folder.
        password: opens what is encrypted, see `FileSource`.
        select: which identity, if its file holds several, see `FileSource`.
        strict_permissions: refuse an unencrypted key that the group or others may read, instead
            of warning; in a Kubernetes volume, instead of saying nothing.

    Example:
        >>> DirectorySource("/etc/tls").load()  # doctest: +SKIP
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        password: Password = None,
        select: str | None = None,
        strict_permissions: bool = False,
    ) -> None:
        self._path = Path(path)
        self._password = password
        self._select = select
        self._strict_permissions = strict_permissions

    def load(self) -> Identity:
        """Read the folder.

        Raises:
            IdentityNotFoundError: there is no identity by a name that is known.
            AmbiguousIdentityError: there are several.
            IdentityError: see its subclasses and their `code`; the message names the file.
        """
        secret = Secret(self._password)
        failed: bytes | None = None
        for _ in range(_ATTEMPTS):
            try:
                if (snapshot := self._snapshot()) is not None:
                    return self._assembled(snapshot, secret)
            except IdentityError:
                # perhaps half-written: it counts only if it stays so
                now = self.digest()
                if now == failed:
                    raise
                failed = now
            time.sleep(_PAUSE)
        raise IdentityError(
            f"{self._path}: it changed whenever it was read, {_ATTEMPTS} times",
            hint="find what writes there so often; whoever replaces an identity should write a "
            "new folder and point a link to it",
            code="source_changing",
        )

    def digest(self) -> bytes:
        """Return a SHA-256 over the names and files, and over the password's if it is in one."""
        password = [seen(self._password)] if isinstance(self._password, Path) else []
        try:
            folder, _, names = self._listed()
            family = chosen(self._path, names)
        except IdentityError as error:
            return digest_of(f"{error.code} {error.args[0]}".encode("utf-8", "replace"), *password)
        pairs = [(name.encode(), seen(folder / name)) for name in family.names]
        return digest_of(*(part for pair in pairs for part in pair), *password)

    @property
    def lock(self) -> Path:
        """The lock file beside the certificate, that of a `FileSource` of it; see `Savable`."""
        with contextlib.suppress(IdentityError):
            return self._files().lock
        return Path(os.path.realpath(self._path), ".mtls-client.lock")

    def check_savable(self) -> None:
        """Raise what `save` would raise, as far as that can be known.

        Raises:
            IdentityError: `not_savable`, or the present identity cannot be loaded.
        """
        self._files().check()

    def save(self, identity: Identity) -> None:
        """Put an identity in place of the present one, see `FileSource.save`.

        Raises:
            IdentityError: another tool writes the folder, or it cannot be written.
        """
        self._files().save(identity)

    def _files(self) -> Files:
        folder, atomic, names = self._listed()
        family = chosen(self._path, names)
        if atomic or any((folder / name).is_symlink() for name in family.names):
            raise not_savable(
                self._path,
                "its files are links, which another tool points to new versions",
                "let that tool renew it (cert-manager, certbot, …), and leave renewer= out",
            )
        if len(twins := present(names)) > 1:
            raise not_savable(
                self._path,
                f"it holds the identity {len(twins)} times: {', '.join(map(str, twins))}",
                "name the files that count: FileSource('client.pem', 'client.key')",
            )
        certificate, key, chain = (
            folder / name if name else None
            for name in (family.certificate, family.key, family.chain)
        )
        assert certificate is not None, "every family has one"
        further = (chain,) if chain is not None else ()
        return Files(certificate, key, further, self._password, self._select)

    def _listed(self) -> tuple[Path, bool, frozenset[str]]:
        """Return where the files are now, links resolved; whether it is atomic; and the names."""
        data = self._path / "..data"  # kubelet points it from one version to the next
        linked = os.path.islink(data)
        try:
            folder, names = _followed(data if linked else self._path)
        except FileNotFoundError as error:
            raise IdentityNotFoundError(
                f"{self._path}: no such folder",
                hint="check the path; it is relative to the current folder",
            ) from error
        except NotADirectoryError as error:
            raise IdentityFormatError(
                f"{self._path}: a file, not a folder",
                hint="read it with FileSource",
                code="identity_no_folder",
            ) from error
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or "no such path can exist"
            raise IdentityError(
                f"{self._path}: cannot be read ({reason})",
                hint="look who may read the folder",
                code="identity_unreadable",
            ) from error
        return folder, linked or any(part.startswith("..") for part in folder.parts), names

    def _snapshot(self) -> _Snapshot | None:
        """Read the files, or return None if they were replaced meanwhile."""
        folder, atomic, names = self._listed()
        if atomic and self._listed()[0] != folder:
            return None  # the old version is being removed, and the names may not be all
        family = chosen(self._path, names)
        try:
            data = {name: files.read(folder / name) for name in family.names}
        except IdentityError:
            if self._listed()[0] != folder:
                return None
            raise
        if not atomic and self._changed(folder, family, data):
            return None
        return _Snapshot(folder, atomic, family, data)

    def _changed(self, folder: Path, family: Family, data: dict[str, bytes]) -> bool:
        again, _, names = self._listed()
        return (again, chosen(self._path, names)) != (folder, family) or any(
            seen(folder / name) != b"=" + content for name, content in data.items()
        )

    def _assembled(self, found: _Snapshot, secret: Secret) -> Identity:
        family = found.family
        ours = [name for name in (family.certificate, family.key) if name is not None]
        contents = Contents()
        for name in ours:
            part = parsed(found.data[name], secret, self._path / name)
            if part.exposed and (self._strict_permissions or not found.atomic):
                check_permissions(found.folder / name, strict=self._strict_permissions)
            contents = joined(contents, part)
        further = (
            parsed(found.data[family.chain], secret, self._path / family.chain).certificates
            if family.chain is not None
            else ()
        )
        anchors = [
            one for name in family.roots for one in self._roots(found.data[name], secret, name)
        ]
        try:
            return assembled(contents, self._select, further, roots=anchors)
        except IdentityError as error:
            raise at(error, *(self._path / name for name in ours)) from error.__cause__

    def _roots(self, data: bytes, secret: Secret, name: str) -> tuple[x509.Certificate, ...]:
        try:
            return roots(data, secret)
        except IdentityError as error:
            raise at(error, self._path / name) from error.__cause__

    def __repr__(self) -> str:
        return f"DirectorySource({str(self._path)!r})"


def _followed(link: Path) -> tuple[Path, frozenset[str]]:
    """Return where a link leads and the names there, also if it moves meanwhile."""
    folder = os.path.realpath(link)
    for _ in range(_ATTEMPTS):
        try:
            return Path(folder), frozenset(os.listdir(folder))
        except FileNotFoundError:
            before, folder = folder, os.path.realpath(link)
            if folder == before:
                raise
    return Path(folder), frozenset(os.listdir(folder))
