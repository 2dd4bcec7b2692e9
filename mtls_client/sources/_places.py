"""What was read, with errors and warnings that say where."""

from __future__ import annotations

import contextlib
import shlex
import warnings
from pathlib import Path

from cryptography import x509

from mtls_client._formats import reading
from mtls_client._formats.contents import Contents
from mtls_client._formats.passwords import Secret
from mtls_client._os import files
from mtls_client.errors import IdentityError, IdentityFormatError
from mtls_client.identity import IdentityWarning

__all__ = ["at", "check_permissions", "joined", "parsed", "roots"]


def parsed(data: bytes, secret: Secret, path: Path) -> Contents:
    """Read the certificates and keys of a file's bytes.

    Raises:
        IdentityError: they cannot be read; the message begins with the path.
    """
    try:
        return reading.read(data, secret)
    except IdentityError as error:
        raise at(error, path) from error.__cause__


def joined(first: Contents, second: Contents) -> Contents:
    """Return what a certificate's file and a key's file hold together."""
    # what was said decides; what was found helps where the two were given in reverse
    return Contents(
        first.certificates or second.certificates,
        second.keys or first.keys,
        first.others + second.others,
    )


def roots(data: bytes, secret: Secret) -> tuple[x509.Certificate, ...]:
    """Read trust anchors, keys beside them left unread; none if there is nothing at all.

    Raises:
        IdentityError: there is something, and it is no certificate.
    """
    if not data.strip():
        return ()
    found = reading.without_keys(data).certificates or reading.read(data, secret).certificates
    if not found:
        raise IdentityFormatError(
            "no certificate in it, and it is where the CA's certificates belong",
            hint="put the CA's certificates there, or leave it out",
            code="no_roots",
        )
    return tuple(one.value for one in found)


def check_permissions(path: Path, *, strict: bool, named: str | None = None) -> None:
    """Complain of a file with an unprotected key that the group or others may read.

    Args:
        path: the file.
        strict: raise instead of warning.
        named: what to call the file if its path is nobody's business.

    Raises:
        IdentityError: they may, and `strict`.
    """
    with contextlib.suppress(OSError):  # it has gone since it was read
        if files.open_to_others(path):
            message = f"{named or path}: the group or others may read this unencrypted private key"
            hint = f"chmod 600 {shlex.quote(str(path)) if named is None else 'the file'}"
            if strict:
                raise IdentityError(message, hint=hint, code="key_permissions")
            warnings.warn(f"{message}; {hint}", IdentityWarning, stacklevel=4)


def at(error: IdentityError, *paths: Path | None) -> IdentityError:
    """Return the same error with the files in its message and the first one in its hint."""
    named = [str(path) for path in paths if path is not None]
    hint = error.hint.replace("FILE", shlex.quote(named[0])) if error.hint else None
    return type(error)(f"{', '.join(named)}: {error.args[0]}", hint=hint, code=error.code)
