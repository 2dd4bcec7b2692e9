"""Where commands put an identity: a file or the OS keyring."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from mtls_client.cli.failures import USAGE, WRITE, Exit
from mtls_client.errors import IdentityError, IdentityNotFoundError

if TYPE_CHECKING:
    from mtls_client.identity import Identity
    from mtls_client.sources.keyring import KeyringSource

__all__ = ["exists", "require_writable", "summary", "unwritable", "uri", "write"]

_PKCS12 = (".p12", ".pfx")
_PEM = (".pem",)


def require_writable(path: Path, *, force: bool) -> None:
    """Refuse a file that identities are not written to.

    Raises:
        Exit: its name does not say the format, or it exists and is not to be replaced.
    """
    if path.suffix.lower() not in _PKCS12 + _PEM:
        raise Exit(USAGE, f"{path}: not the name of a .p12, .pfx or .pem file")
    if not force and os.path.lexists(path):
        raise Exit(WRITE, f"{path} exists already", "replace it with --force")


def write(identity: Identity, path: Path, password: str | bytes | None, *, label: str) -> None:
    """Write PKCS#12 or PEM, by the file's name, that only its owner may read.

    Raises:
        ConfigurationError: the password is empty or too long.
        Exit: it cannot be written; an old file is still there.
    """
    try:
        if path.suffix.lower() in _PKCS12:
            identity.save_pkcs12(path, password=password, label=label)
        else:
            identity.save_pem(path, password=password)
    except OSError as error:
        raise unwritable(path, error) from error


def unwritable(path: Path, error: OSError) -> Exit:
    """Return how to end when a file cannot be written."""
    return Exit(WRITE, f"{path} cannot be written: {error.strerror}".lower())


def exists(source: KeyringSource) -> bool:
    """Tell whether the keyring has an identity of that name, even a damaged one."""
    try:
        source.load()
    except IdentityNotFoundError:
        return False
    except IdentityError as error:
        if error.code.startswith("keyring") and error.code != "keyring_damaged":
            raise
    return True


def uri(name: str) -> str:
    """Return what --identity takes; a slash would set a service apart."""
    return "keyring:" + name.replace("%", "%25").replace("/", "%2F")


def summary(identity: Identity) -> str:
    """Return an identity in a few words."""
    return f"{identity.subject}, until {identity.not_after:%Y-%m-%d}"
