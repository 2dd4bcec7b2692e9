"""Passwords and tokens for issuers, fetched when they are needed."""

from __future__ import annotations

from mtls_client._formats.passwords import Password, Secret
from mtls_client.errors import MTLSError, RenewalError

__all__ = ["revealed"]


def revealed(what: str, given: Password) -> bytes:
    """Return a secret that an issuer is to be sent, without line breaks around it.

    Args:
        what: its name, for the error.
        given: a str, bytes, a `Path` to a file, or a function that returns it.

    Raises:
        RenewalError: its file cannot be read, its function fails, or it is empty.
    """
    try:
        secret = (Secret(given).revealed() or b"").strip(b"\r\n")
    except MTLSError as error:
        raise _missing(f"{what} cannot be had: {error.args[0]}") from error
    except Exception as error:  # whatever the caller's function raises
        raise _missing(f"the function for {what} raised {type(error).__name__}") from error
    if not secret:
        raise _missing(f"{what} is empty")
    return secret


def _missing(message: str) -> RenewalError:
    return RenewalError(
        message,
        hint="check the file or function that it comes from; it is read again at each attempt",
        code="renewal_secret",
    )
