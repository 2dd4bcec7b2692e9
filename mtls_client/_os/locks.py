"""Locks between processes, which the kernel releases when their holder dies.

Rules of this file: a lock file stays where it is, since whoever removed it would let two holders
in, by two files; a child that is forked while a lock is held does not keep it held.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from mtls_client._os.forking import renewed_after_fork

__all__ = ["held", "locked"]

_SHORTEST, _LONGEST = 0.0005, 0.005
"""How long to wait between two attempts, in seconds."""


class _Held:
    """The descriptors of the locks that this process holds."""

    def __init__(self) -> None:
        self.descriptors: dict[int, int] = {}  # with the process that has opened each

    def after_fork(self) -> None:
        """Close the copies in a child: the kernel keeps a lock until its last copy is closed."""
        for descriptor, process in list(self.descriptors.items()):
            if process != os.getpid():  # a thread of the child may hold one already
                del self.descriptors[descriptor]
                os.close(descriptor)


_held = _Held()
renewed_after_fork(_held)


@contextlib.contextmanager
def locked(what: str | Path, timeout: float) -> Iterator[None]:
    """Hold a lock; it also excludes the other threads of this process.

    Args:
        what: the path of the lock file, for all who may write to its folder; or any name, for
            the processes of this user.
        timeout: how many seconds to wait for another holder.

    Raises:
        TimeoutError: the other holder has not finished.
        OSError: there is no folder for the lock file.
    """
    descriptor = _opened(what)
    _held.descriptors[descriptor] = process = os.getpid()
    try:
        with held(descriptor, timeout):
            yield
    finally:
        if process == os.getpid():  # not in a child that was forked meanwhile
            del _held.descriptors[descriptor]
            os.close(descriptor)


@contextlib.contextmanager
def held(descriptor: int, timeout: float) -> Iterator[None]:
    """Hold the lock of an open file.

    It belongs to the opening of the file: another one, also in this process, is excluded; a copy
    of the descriptor, also in a forked child, is not.

    Args:
        descriptor: of the file.
        timeout: how many seconds to wait for another holder.

    Raises:
        TimeoutError: the other holder has not finished.
    """
    deadline, pause = time.monotonic() + timeout, _SHORTEST
    while not _acquired(descriptor):
        if time.monotonic() >= deadline:
            raise TimeoutError(f"another process holds the lock for {timeout:g} seconds")
        time.sleep(pause)
        pause = min(2 * pause, _LONGEST)
    try:
        yield
    finally:
        with contextlib.suppress(OSError):  # closed meanwhile, in a child that was forked
            _release(descriptor)


def _opened(what: str | Path) -> int:
    flags = os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0)
    if isinstance(what, Path):
        with contextlib.suppress(OSError):  # another user's, or a folder that is read only
            return os.open(what, flags, 0o600)
    digest = hashlib.sha256(os.fsencode(what)).hexdigest()[:32]
    return os.open(_folder() / f"{digest}.lock", flags, 0o600)


def _folder() -> Path:
    """Return a folder that belongs to the user and is the same in all of their processes."""
    if sys.platform == "win32":
        parent = Path(os.environ.get("LOCALAPPDATA") or tempfile.gettempdir())
    else:
        # what the variable says in a desktop session, also where a timer has no variable
        usual = Path(f"/run/user/{os.getuid()}")
        parent = Path(os.environ.get("XDG_RUNTIME_DIR") or usual)
        if not (parent.is_dir() and os.access(parent, os.W_OK)):
            parent = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    folder = parent / "mtls-client"
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    return folder


if sys.platform == "win32":
    import msvcrt

    _FAR = 2**31 - 2  # a byte that nobody reads, since a locked one cannot be read

    def _acquired(descriptor: int) -> bool:
        os.lseek(descriptor, _FAR, os.SEEK_SET)
        try:
            msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
        except OSError:
            return False
        return True

    def _release(descriptor: int) -> None:
        os.lseek(descriptor, _FAR, os.SEEK_SET)
        msvcrt.locking(descriptor, msvcrt.LK_UNLCK, 1)

else:
    import fcntl

    def _acquired(descriptor: int) -> bool:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    def _release(descriptor: int) -> None:
        fcntl.flock(descriptor, fcntl.LOCK_UN)
