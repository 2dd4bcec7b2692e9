"""Files that hold keys: read with clear errors, written so that no crash can lose one.

A file is replaced as a whole: the new content is on the disk, under its final permissions, before
the old name points to it (rename(2), fsync(2)).
"""

from __future__ import annotations

import contextlib
import glob
import os
import shlex
import stat
import tempfile
import time
from pathlib import Path

from mtls_client.errors import IdentityError, IdentityFormatError, IdentityNotFoundError

__all__ = [
    "LARGEST",
    "create",
    "open_to_others",
    "read",
    "read_if_regular",
    "read_with_status",
    "replace",
]

LARGEST = 16 * 2**20
"""The most bytes that a certificate or key file may have."""

_USUAL = 64 * 2**10
_ABANDONED = 3600.0
"""Seconds after which nobody is still writing a file."""

_UNFINISHED = ".mtls-client"
"""The end of the names of files that are being written: no one else's are swept away."""


def read(path: Path) -> bytes:
    """Read a file.

    Raises:
        IdentityNotFoundError: it does not exist.
        IdentityFormatError: it is a folder, or larger than `LARGEST`.
        IdentityError: it may not be read.
    """
    return read_with_status(path)[0]


def read_with_status(path: Path) -> tuple[bytes, os.stat_result]:
    """Read a file, and whose it is and who may do what with it; raises what `read` raises."""
    try:
        with path.open("rb", buffering=0) as file:
            status = os.fstat(file.fileno())
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
    return data, status


def read_if_regular(path: Path, largest: int = LARGEST) -> bytes | None:
    """Read a file that nobody has vouched for; None if it is no regular file, or too large.

    A named pipe is not waited for.

    Raises:
        OSError: it cannot be read.
    """
    descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0))
    with open(descriptor, "rb") as file:
        status = os.fstat(descriptor)  # of what was opened, whatever the name means by now
        if not stat.S_ISREG(status.st_mode) or status.st_size > largest:
            return None
        return file.read(largest)


def replace(path: Path, data: bytes, *, like: os.stat_result | None = None) -> None:
    """Put new content in a file, all of it or nothing.

    Args:
        path: the file; only its owner may read it.
        data: the new content.
        like: what has the owner, group and permissions to give it instead. Not what is there
            now: whoever may write to the folder may have put a file there that all may read.

    Raises:
        OSError: the folder or the disk does not allow it; the old content is still there.
    """
    path = path.resolve()  # a symbolic link stays one
    _sweep(path)
    descriptor, name = tempfile.mkstemp(_UNFINISHED, f".{path.name}.", path.parent)  # 0600
    try:
        with open(descriptor, "wb") as file:
            if like is not None and os.name == "posix":
                _dress(descriptor, like)
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


def _sweep(path: Path) -> None:
    """Remove what was left by processes that died while they replaced a file: it holds keys."""
    for name in path.parent.glob(f".{glob.escape(path.name)}.????????{_UNFINISHED}"):
        with contextlib.suppress(OSError):
            if time.time() - name.stat().st_mtime > _ABANDONED:
                name.unlink()


def _dress(descriptor: int, like: os.stat_result) -> None:
    """Give a new file the owner, group and mode of another one."""
    mode = stat.S_IMODE(like.st_mode)
    with contextlib.suppress(PermissionError):  # only root gives files away
        os.fchown(descriptor, like.st_uid, -1)
    try:
        os.fchown(descriptor, -1, like.st_gid)
    except PermissionError:
        mode &= ~stat.S_IRWXG  # what that group may do is nothing to another group
    os.fchmod(descriptor, mode)


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
