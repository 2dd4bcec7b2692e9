"""A lock between the processes of one user, which the kernel releases when its holder dies."""

from __future__ import annotations

import contextlib
import hashlib
import os
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

__all__ = ["locked"]

_PAUSE = 0.02


@contextlib.contextmanager
def locked(name: str, timeout: float) -> Iterator[None]:
    """Hold the lock of that name; it also excludes the other threads of this process.

    Args:
        name: what is locked.
        timeout: how many seconds to wait for another holder.

    Raises:
        TimeoutError: the other holder has not finished.
        OSError: there is no folder for the lock file.
    """
    digest = hashlib.sha256(name.encode()).hexdigest()[:32]
    flags = os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0)
    descriptor = os.open(_folder() / f"{digest}.lock", flags, 0o600)
    try:
        deadline = time.monotonic() + timeout
        while not _acquired(descriptor):
            if time.monotonic() >= deadline:
                raise TimeoutError(f"another process holds the lock for {timeout:g} seconds")
            time.sleep(_PAUSE)
        # the file stays: whoever removed it would let two holders in, by two files
        yield
    finally:
        os.close(descriptor)  # which releases it


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

    def _acquired(descriptor: int) -> bool:
        try:
            msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
        except OSError:
            return False
        return True

else:
    import fcntl

    def _acquired(descriptor: int) -> bool:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True
