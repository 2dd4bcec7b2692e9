"""Files that hold keys: read with clear errors, written so that no crash can lose one.

A file is replaced as a whole: the new content is on the disk, under its final permissions, before
the old name points to it (rename(2), fsync(2)).
"""

from __future__ import annotations

import contextlib
import os
import shlex
import stat
import tempfile
from pathlib import Path

from mtls_client.errors import IdentityError, IdentityFormatError, IdentityNotFoundError

__all__ = ["LARGEST", "create", "open_to_others", "read", "replace"]

LARGEST = 16 * 2**20
"""The most bytes that a certificate or key file may have."""

_USUAL = 64 * 2**10


def read(path: Path) -> bytes:
    """Read a file.

    Raises:
        IdentityNotFoundError: it does not exist.
        IdentityFormatError: it is a folder, or larger than `LARGEST`.
        IdentityError: it may not be read.
    """
    try:
        with path.open("rb", buffering=0) as file:
            # by pieces: a buffer for the largest file costs more than reading a usual one
            data = file.read(_USUAL)
            while (piece := file.read(_USUAL)) and len(data) <= LARGEST:
                data += piece
    except FileNotFoundError as error:
        raise IdentityNotFoundError(
            f"{path}: no such file", hint="check the path; it is relative to the current folder"
        ) from error
    except IsADirectoryError as error:
        raise IdentityFormatError(
            f"{path}: a folder, not a file", hint="name the file in it", code="identity_folder"
        ) from error
    except OSError as error:
        raise IdentityError(
            f"{path}: cannot be read ({error.strerror})",
            hint=f"look who may read it: ls -l {shlex.quote(str(path))}",
            code="identity_unreadable",
        ) from error
    if len(data) > LARGEST:
        raise IdentityFormatError(
            f"{path}: larger than {LARGEST // 2**20} MiB, so not a certificate or key",
            hint="check the path",
            code="identity_too_large",
        )
    return data


def replace(path: Path, data: bytes) -> None:
    """Put new content in a file that only its owner may read, all of it or nothing.

    Raises:
        OSError: the folder or the disk does not allow it; the old content is still there.
    """
    path = path.resolve()  # a symbolic link stays one
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")  # 0600
    try:
        with open(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(name, path)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(name)
        raise
    _sync_folder(path)


def create(path: Path, data: bytes, *, mode: int = 0o600) -> None:
    """Write a new file, all of it or nothing; one that is there is never touched.

    Args:
        path: the file.
        data: its content.
        mode: its permissions, less the umask.

    Raises:
        FileExistsError: there is something of that name, a broken link included.
        OSError: the folder or the disk does not allow it.
    """
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    try:
        with open(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(path)
        raise
    _sync_folder(path)


def open_to_others(path: Path) -> bool:
    """Tell whether the group or others may read or write a file; always False on Windows."""
    return os.name == "posix" and bool(path.stat().st_mode & (stat.S_IRWXG | stat.S_IRWXO))


def _sync_folder(path: Path) -> None:
    if os.name != "posix":
        return
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
