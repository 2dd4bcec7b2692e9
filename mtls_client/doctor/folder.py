"""What is in a folder: certificates and keys by content, and which belong together.

Only regular files are opened, no key is kept, and nothing of a key is told.
"""

from __future__ import annotations

import os
import shlex
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from mtls_client._formats import chain, fitness, keys, names, pairing, parsing, reading
from mtls_client._formats.contents import Contents
from mtls_client._formats.passwords import Password, Secret
from mtls_client._os import files
from mtls_client.errors import ConfigurationError, IdentityError, PasswordError

__all__ = ["File", "FoundIdentity", "Inventory", "inventory"]

_MOST_FILES = 1000
_MOST_CERTIFICATES = 5000
_LARGEST = 2**20


@dataclass(frozen=True, slots=True)
class File:
    """One file.

    Attributes:
        path: where it is, from the folder on.
        holds: what is in it, in words; empty if it has nothing to do with TLS.
        locked: something in it is encrypted, and the password is not known.
        problem: why it could not be read, or None.
    """

    path: str
    holds: tuple[str, ...] = ()
    locked: bool = False
    problem: str | None = None


@dataclass(frozen=True, slots=True)
class FoundIdentity:
    """Files that make an identity, and the calls that use it.

    Attributes:
        subject: of the certificate; None if it is locked.
        not_after: the end of its validity, ISO 8601 in UTC; None if it is locked.
        files: the certificate's file, the key's, those of the chain.
        also: further files with the same certificate and its key.
        locked: a password is needed.
        certain: False if only the names of the files tell that they belong together.
        command: the call on the command line.
        python: the source in Python.
    """

    subject: str | None
    not_after: str | None
    files: tuple[str, ...]
    also: tuple[str, ...]
    locked: bool
    certain: bool
    command: str
    python: str


@dataclass(frozen=True, slots=True)
class Inventory:
    """What was found.

    Attributes:
        identities: what can be called with.
        files: every file that holds a certificate, a key or their like, or could not be read.
        unrelated: the paths of all others.
        complete: False if there were more files than are looked at.
    """

    identities: tuple[FoundIdentity, ...]
    files: tuple[File, ...]
    unrelated: tuple[str, ...]
    complete: bool = True

    def to_dict(self) -> dict[str, Any]:
        """Return the inventory as what JSON can hold."""
        return asdict(self)


def inventory(folder: str | os.PathLike[str], *, password: Password = None) -> Inventory:
    """Find out what is in a folder and in those below it.

    At most 1,000 files of at most 1 MiB are looked at; links to folders are not followed.

    Args:
        folder: where to look.
        password: tried on whatever is encrypted, see `FileSource`.

    Raises:
        ConfigurationError: there is no such folder.
    """
    root = Path(folder)
    if not root.is_dir():
        raise ConfigurationError(f"{root}: no such folder", hint="check the path", code="folder")
    secret = Secret(password)  # one for all: it counts the work that it causes
    paths = list(_paths(root))
    seen: list[_Seen] = []
    objects = 0
    for path in paths[:_MOST_FILES]:
        seen.append(_seen(root, path, secret))
        objects += len(seen[-1].contents.certificates)
        if objects > _MOST_CERTIFICATES:
            break
    found = [File(one.path, tuple(_held(one)), one.locked, one.problem) for one in seen]
    return Inventory(
        tuple(_identities(root, seen)),
        tuple(one for one in found if one.holds or one.problem),
        tuple(one.path for one in found if not (one.holds or one.problem)),
        complete=len(seen) == len(paths),
    )


@dataclass(slots=True, eq=False)
class _Seen:
    path: str
    contents: Contents = field(default_factory=Contents)
    locked: bool = False
    bundle: bool = False  # a PKCS#12 file, which has certificate and key
    problem: str | None = None

    @property
    def certificates(self) -> list[x509.Certificate]:
        return [one.value for one in self.contents.certificates]


def _paths(root: Path) -> Iterator[str]:
    count = 0
    for folder, folders, listed in os.walk(root):
        # kubelet keeps versions in folders with two dots, and links to the files in them
        folders[:] = sorted(one for one in folders if not one.startswith(".."))
        for name in sorted(listed):
            yield os.path.relpath(os.path.join(folder, name), root)
            count += 1
            if count > _MOST_FILES:
                return


def _seen(root: Path, raw: str, secret: Secret) -> _Seen:
    # a name may hold what a terminal obeys, or be no text at all
    path = "".join(one if one.isprintable() else "\ufffd" for one in raw)
    try:
        data = files.read_if_regular(root / raw, _LARGEST)
    except OSError as error:
        return _Seen(path, problem=f"cannot be read ({error.strerror})")
    if data is None:
        return _Seen(path)
    try:
        contents = reading.read(data, secret)
    except PasswordError as error:
        bundle = "PKCS#12" in str(error.args[0])
        return _Seen(path, _open_part(data), locked=True, bundle=bundle)
    except IdentityError as error:
        related = error.code not in ("unknown_format", "empty")
        return _Seen(path, _open_part(data), problem=str(error.args[0]) if related else None)
    return _Seen(path, _sound(contents))


def _open_part(data: bytes) -> Contents:
    try:
        return _sound(reading.without_keys(data))
    except IdentityError:
        return Contents()


def _sound(contents: Contents) -> Contents:
    certificates = [one for one in contents.certificates if parsing.readable(one.value)]
    return Contents(tuple(certificates), contents.keys, contents.others, contents.exposed)


def _held(seen: _Seen) -> Iterator[str]:
    for one in seen.certificates:
        kind = "CA certificate" if fitness.is_ca(one) else "certificate"
        yield f"{kind} {names.text(one.subject)}, until {one.not_valid_after_utc:%Y-%m-%d}"
    for key in seen.contents.keys:
        try:
            yield f"private key, {keys.kind(key.value)} {keys.bits(key.value)}"
        except IdentityError as error:
            yield f"private key: {error.args[0]}"
    if seen.locked:
        yield "PKCS#12, locked" if seen.bundle else "private key, locked"
    yield from seen.contents.others


def _identities(root: Path, seen: list[_Seen]) -> Iterator[FoundIdentity]:
    certificates: dict[x509.Certificate, list[_Seen]] = {}
    private: dict[bytes, list[_Seen]] = {}
    for one in seen:
        for certificate in dict.fromkeys(one.certificates):
            certificates.setdefault(certificate, []).append(one)
        for key in one.contents.keys:
            if public := _public(key.value):
                private.setdefault(public, []).append(one)
    lone = []
    for leaf, holders in certificates.items():
        with_key = private.get(_public(leaf), [])
        if fitness.is_ca(leaf):
            continue
        if not with_key:
            lone += [one for one in holders if not one.locked]
            continue
        whole = [one for one in holders if one in with_key]
        ours = whole[:1] or [holders[0], with_key[0]]
        further = [
            certificates[issuer][0]
            for issuer in chain.ordered(leaf, certificates)[0]
            if issuer.subject != issuer.issuer
            and not any(issuer in one.certificates for one in ours)
        ]
        yield _entry(root, [*ours, *further], leaf, also=whole[1:], pair=len(ours) == 2)
    for one in seen:
        if one.locked:
            yield from _locked(root, one, lone)


def _locked(root: Path, locked: _Seen, lone: list[_Seen]) -> Iterator[FoundIdentity]:
    """Return what a locked key probably belongs to: what is with it, or is called like it."""
    leaves = [one for one in locked.certificates if not fitness.is_ca(one)]
    if locked.bundle or leaves:
        yield _entry(root, [locked], leaves[0] if leaves else None, locked=True)
        return
    stem = Path(locked.path).with_suffix("")
    for one in dict.fromkeys(lone):
        if Path(one.path).with_suffix("") == stem:
            leaf = one.certificates[0]
            yield _entry(root, [one, locked], leaf, locked=True, pair=True, certain=False)


def _entry(
    root: Path,
    given: list[_Seen],
    leaf: x509.Certificate | None,
    *,
    also: Iterable[_Seen] = (),
    pair: bool = False,
    locked: bool = False,
    certain: bool = True,
) -> FoundIdentity:
    paths = [str(root / one.path) for one in dict.fromkeys(given)]
    certificate, key = paths[0], paths[1] if pair else None
    further = paths[2 if pair else 1 :]
    several = leaf is not None and _several(given[0])
    select = leaf.fingerprint(SHA256()).hex() if leaf is not None and several else None
    return FoundIdentity(
        names.text(leaf.subject) if leaf is not None else None,
        leaf.not_valid_after_utc.isoformat() if leaf is not None else None,
        tuple(one.path for one in dict.fromkeys(given)),
        tuple(one.path for one in also),
        locked,
        certain,
        _command(certificate, key, further, select, locked),
        _python(certificate, key, further, select, locked),
    )


def _several(one: _Seen) -> bool:
    return len(pairing.matching(one.contents)) > 1


def _command(
    certificate: str, key: str | None, further: list[str], select: str | None, locked: bool
) -> str:
    words = ["mtls", "--cert", certificate] + (["--key", key] if key else [])
    if further:  # there is no option for them, but a place in a URI
        query = [f"key={quote(key)}"] if key else []
        query += [f"chain={quote(one)}" for one in further]
        words = ["mtls", "--identity", f"file:{quote(certificate)}?{'&'.join(query)}"]
    words += ["--pass", "env:PASSWORD"] if locked else []
    words += ["--select", select] if select else []
    return shlex.join([*words, "URL"])


def _python(
    certificate: str, key: str | None, further: list[str], select: str | None, locked: bool
) -> str:
    arguments = [repr(certificate)] + ([repr(key)] if key else [])
    arguments += [f"chain={further!r}"] if further else []
    arguments += ["password=…"] if locked else []
    arguments += [f"select={select!r}"] if select else []
    return f"FileSource({', '.join(arguments)})"


def _public(one: x509.Certificate | PrivateKeyTypes) -> bytes:
    """Return a public key as DER; nothing for one that cannot be read."""
    try:
        return _spki(one)
    except parsing.UNREADABLE:
        return b""


@parsing.total
def _spki(one: x509.Certificate | PrivateKeyTypes) -> bytes:
    return one.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
