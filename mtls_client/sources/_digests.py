"""Digests of what sources read: they change if and only if it does, and they never raise."""

from __future__ import annotations

import hashlib
import stat
from pathlib import Path

from mtls_client._os import files
from mtls_client.errors import IdentityError

__all__ = ["digest_of", "seen"]


def digest_of(*parts: bytes) -> bytes:
    """Return the SHA-256 of parts, each set apart from the next."""
    total = hashlib.sha256()
    for part in parts:
        total.update(len(part).to_bytes(8, "big") + part)
    return total.digest()


def seen(path: Path) -> bytes:
    """Return what a file holds now, or why that cannot be told."""
    try:
        # to look into a pipe would take from the one that reads it, or wait for ever
        if not stat.S_ISREG(kind := path.stat().st_mode):
            return b"!kind %d" % stat.S_IFMT(kind)
        return b"=" + files.read(path)
    except IdentityError as error:
        return b"!" + f"{error.code} {getattr(error.__cause__, 'errno', None)}".encode()
    except (OSError, ValueError) as error:
        return b"!" + f"{type(error).__name__} {getattr(error, 'errno', None)}".encode()
