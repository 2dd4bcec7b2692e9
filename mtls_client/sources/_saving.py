"""A renewed identity into the files of the old one, so that no crash leaves neither.

Two files cannot be replaced in one step. So the files beside the certificate's are first made to
hold what belongs to the old certificate *and* what belongs to the new one; then the certificate's
file is replaced, which decides; then they are made to hold the new alone. Who loads an identity
takes the key and the issuers that match the certificate, at every point.

Rule of this file: what is not part of the old identity stays, or nothing is written.
"""

from __future__ import annotations

import contextlib
import os
import re
import shlex
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509 import Certificate

from mtls_client._formats import reading, writing
from mtls_client._formats.contents import Contents
from mtls_client._formats.der import integer, sequence
from mtls_client._formats.pairing import pairs
from mtls_client._formats.passwords import Password, Secret
from mtls_client._os import files
from mtls_client.errors import IdentityError
from mtls_client.identity import Identity, assembled
from mtls_client.sources._places import parsed

__all__ = ["Files", "not_savable"]

_BLOCK = re.compile(rb"-----BEGIN ([A-Z0-9# ]*)")
_KNOWN = re.compile(rb"(X509 |TRUSTED )?CERTIFICATE|([A-Z0-9]+ )?PRIVATE KEY|EC PARAMETERS")
_FINGERPRINT = re.compile(r"([0-9A-Fa-f]{2}:?){32}")
_ROOM = 2**18
"""Bytes that must be free on the disk: several times both pairs."""

_PEM, _PKCS12, _DER = "PEM", "PKCS#12", "DER"


@dataclass(frozen=True, slots=True)
class _File:
    """A file as it is now."""

    path: Path
    data: bytes
    status: os.stat_result
    shape: str
    contents: Contents

    @property
    def certificates(self) -> list[Certificate]:
        return [one.value for one in self.contents.certificates]

    @property
    def keys(self) -> list[PrivateKeyTypes]:
        return [one.value for one in self.contents.keys]


@dataclass(frozen=True, slots=True)
class Files:
    """Where one identity is.

    Attributes:
        certificate: the file with the certificate, or with everything.
        key: the file with the private key, if it is another one.
        chain: files with intermediates; the first is the one that is written.
        password: opens what is encrypted, and encrypts it again.
        select: how the source selects.
    """

    certificate: Path
    key: Path | None = None
    chain: tuple[Path, ...] = ()
    password: Password = None
    select: str | None = None

    @property
    def lock(self) -> Path:
        """The lock file: beside the certificate, for all who can write there."""
        path = Path(os.path.realpath(self.certificate))
        return path.with_name(f".{path.name}.lock")

    def check(self) -> None:
        """Raise what `save` would raise, as far as that can be known.

        Raises:
            IdentityError: `not_savable`, or the present identity cannot be loaded.
        """
        change = _Change.of(self)
        change.verify(change.old)
        for file in change.files:
            _check_room(file.path)
        if self.select is not None and _FINGERPRINT.fullmatch(self.select):
            raise not_savable(
                self.certificate,
                "it is selected by a fingerprint, and a renewed one has another",
                "select it by its subject or common name",
            )

    def save(self, new: Identity) -> None:
        """Put an identity in place of the present one; files keep their format and permissions.

        Raises:
            IdentityError: it is not saved; what was there still is.
        """
        change = _Change.of(self)
        change.verify(new)
        beside = [file for file in change.files if file is not change.decisive]
        with _writing():
            for file in beside:
                _replace(file, change.both(file, new))
            _replace(change.decisive, change.final(change.decisive, new))
        for file in beside:
            # it is saved by now, and what is left over does no harm
            with contextlib.suppress(OSError):
                _replace(file, change.final(file, new))


@dataclass(frozen=True, slots=True)
class _Change:
    """What the files hold now, and what they will.

    Attributes:
        where: the files' names.
        secret: the password, asked for once.
        files: what they hold.
        old: the identity among it.
        decisive: the file with its certificate.
    """

    where: Files
    secret: Secret
    files: list[_File]
    old: Identity
    decisive: _File

    @classmethod
    def of(cls, where: Files) -> _Change:
        secret = Secret(where.password)
        given = (where.certificate, where.key, *where.chain[:1])
        # two names of one file are one: the second would be written over the first
        paths = {os.path.realpath(path): path for path in given if path is not None}
        found = [_read(path, secret) for path in paths.values()]
        everything = sum((file.contents for file in found), Contents())
        if len(pairs(everything)) > 1 or any(
            file.shape != _PEM and len(file.keys) > 1 for file in found
        ):
            raise not_savable(
                where.certificate,
                "there are several identities or keys, and the others would be lost",
                "put this one in files of its own",
            )
        old = assembled(everything, None)
        decisive = next(file for file in found if old.certificate in file.certificates)
        for file in found:
            if file is not decisive and file.shape != _PEM and file.certificates:
                raise not_savable(
                    file.path,
                    f"certificates are added to PEM files only, and it is {file.shape}",
                    f"convert it to PEM; see what it holds with: mtls show {_quoted(file.path)}",
                )
        return cls(where, secret, found, old, decisive)

    def verify(self, new: Identity) -> None:
        """Read what would be written, before anything is.

        Raises:
            IdentityError: it would not be this identity that is loaded then.
        """
        written = Contents()
        for file in self.files:
            written += reading.read(self.final(file, new), self.secret)
        if assembled(written, self.where.select).fingerprint != new.fingerprint:
            raise not_savable(
                self.where.certificate,
                "what would be written is not what would be loaded",
                "put it in files of its own",
            )

    def final(self, file: _File, new: Identity) -> bytes:
        """Return what a file holds in the end."""
        stale = {self.old.certificate, *(one for one in self.old.chain if not _is_root(one))}
        kept = [one for one in file.certificates if one not in stale]
        chain = list(new.chain)
        if file is self.decisive:
            elsewhere = self.where.chain and len(file.certificates) == 1
            chain = [new.certificate, *(() if elsewhere else chain)]
        if file.shape == _PKCS12:
            further = [one for one in kept if one not in new.chain]
            label = file.contents.keys[0].label or file.contents.certificates[0].label
            return writing.as_pkcs12(new, self.secret.revealed() or None, label, further)
        others = [key for key in file.keys if not _belongs(key, self.old, new)]
        keys = [new.private_key, *others] if file.keys else []
        return self._rendered(file, keys, [*chain, *kept])

    def both(self, file: _File, new: Identity) -> bytes:
        """Return what a file beside the decisive one holds while that one is replaced."""
        # an attempt that failed half-way may have put the new one there already
        others = [key for key in file.keys if not _belongs(key, new)]
        keys = [*others, new.private_key] if file.keys else []
        chain = [*new.chain, *file.certificates] if file.certificates else []
        return self._rendered(file, keys, chain, shape=_PEM)

    def _rendered(
        self,
        file: _File,
        keys: Iterable[PrivateKeyTypes],
        certificates: Iterable[Certificate],
        shape: str | None = None,
    ) -> bytes:
        password = None if file.contents.exposed else self.secret.revealed() or None
        if (shape or file.shape) == _DER:
            if file.keys:
                return writing.encoded_key(next(iter(keys)), password, Encoding.DER)
            return next(iter(certificates)).public_bytes(Encoding.DER)
        parts = [writing.encoded_key(key, password) for key in keys]
        if file.certificates:
            text = writing.certificates_as_pem(dict.fromkeys(certificates))
            key_first = file.data.find(b"PRIVATE KEY") < file.data.find(b"CERTIFICATE")
            parts = [*parts, text] if key_first else [text, *parts]
        return b"".join(parts)


def not_savable(path: Path, reason: str, hint: str) -> IdentityError:
    """Return the error for an identity that cannot be replaced where it is."""
    return IdentityError(
        f"{path}: a renewed identity cannot be saved here: {reason}", hint=hint, code="not_savable"
    )


def _read(path: Path, secret: Secret) -> _File:
    if path.exists() and not path.is_file():
        raise not_savable(path, "it is not a regular file", "put the identity into one")
    data, status = files.read_with_status(path)
    return _File(path, data, status, _shape(path, data), parsed(data, secret, path))


def _shape(path: Path, data: bytes) -> str:
    kinds = _BLOCK.findall(data)
    if kinds and all(_KNOWN.fullmatch(kind) for kind in kinds):
        return _PEM
    if data[:1] == b"\x30" and not kinds:
        with contextlib.suppress(ValueError):
            inner = sequence(data)
            if inner[0].tag == 0x02:  # a version; 3 is that of PKCS#12 alone
                return _PKCS12 if integer(data, inner[0]) == 3 else _DER
            if inner[0].tag == 0x30:
                return _DER
    raise not_savable(
        path,
        "it holds more than certificates and keys, or is in a format that is only read",
        "convert it to PEM or PKCS#12",
    )


def _check_room(path: Path) -> None:
    folder = Path(os.path.realpath(path)).parent
    effective = os.access in os.supports_effective_ids
    if not os.access(folder, os.W_OK | os.X_OK, effective_ids=effective):
        raise not_savable(
            path,
            "the folder may not be written to",
            f"look whose it is, and whether it is mounted read-only: ls -ld {_quoted(folder)}",
        )
    if hasattr(os, "statvfs"):
        disk = os.statvfs(folder)
        if disk.f_bavail * disk.f_frsize < _ROOM:
            raise not_savable(path, "the disk is full", f"make room: df -h {_quoted(folder)}")


@contextlib.contextmanager
def _writing() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise IdentityError(
            f"{error.filename or 'the identity'}: cannot be written ({error.strerror})",
            hint="look at the folder's permissions and at the disk: ls -ld, df -h; "
            "what was there still is",
            code="save_failed",
        ) from error


def _replace(file: _File, data: bytes) -> None:
    files.replace(file.path, data, like=file.status)


def _belongs(key: PrivateKeyTypes, *identities: Identity) -> bool:
    public = key.public_key()
    return any(public == identity.certificate.public_key() for identity in identities)


def _is_root(certificate: Certificate) -> bool:
    return certificate.subject == certificate.issuer


def _quoted(path: Path) -> str:
    return shlex.quote(str(path))
