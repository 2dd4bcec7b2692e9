"""Our key into OpenSSL, without a plaintext copy on disk.

`SSLContext.load_cert_chain` takes file names only. Three ways, in this order:

1. two pipes, read through `/dev/fd/N`: nothing but memory of this process and the kernel;
2. an anonymous file in memory (memfd_create(2)), for keys and chains larger than a pipe;
3. a file only we may read, encrypted under a random passphrase that is never stored, for
   systems that have neither.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import ssl
import tempfile
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from mtls_client.errors import IdentityError, WeakIdentityError

if TYPE_CHECKING:
    from mtls_client.identity import Identity

__all__ = ["present", "readable_path"]


class _Unavailable(Exception):
    """This way is not open on this system, or the data is too large for it."""


def present(context: ssl.SSLContext, identity: Identity) -> None:
    """Make a new context present an identity. Never call this on a context in use.

    Raises:
        WeakIdentityError: OpenSSL's security level refuses the key or a signature.
        IdentityError: OpenSSL refuses the identity for another reason.
    """
    try:
        for way in _WAYS:
            with contextlib.suppress(_Unavailable):
                way(context, identity)
                return
    except ssl.SSLError as error:
        reason = error.reason or "unknown"
        if reason.endswith(("_TOO_SMALL", "_TOO_WEAK")):
            raise WeakIdentityError(
                f"OpenSSL refuses the identity {identity.subject}: "
                f"{reason.lower().replace('_', ' ')} for security level {context.security_level}",
                hint="have it reissued with an RSA key of 2048 bits or more, or P-256, "
                "and SHA-256 signatures",
            ) from error
        raise IdentityError(
            f"OpenSSL refuses the identity {identity.subject}: {reason}",
            hint="look at it with: mtls show FILE",
            code="identity_refused_by_openssl",
        ) from error
    raise IdentityError(
        "no way to hand a key to OpenSSL: no pipe, no memory file, no temporary folder",
        hint="set TMPDIR to a folder that can be written",
        code="key_transfer",
    )


@contextlib.contextmanager
def readable_path(data: bytes) -> Iterator[str]:
    """Offer public data under a path for the length of a `with` block."""
    for way in (_pipe, _memory):
        with contextlib.suppress(_Unavailable):
            with way(data) as path:
                yield path
            return
    with _file(data) as path:
        yield path


@contextlib.contextmanager
def _pipe(data: bytes) -> Iterator[str]:
    if not os.path.exists("/dev/fd"):
        raise _Unavailable
    reading, writing = os.pipe()
    try:
        # a full pipe must fail here, not wait for a reader that comes later
        os.set_blocking(writing, False)
        try:
            written = os.write(writing, data)
        except BlockingIOError:
            written = 0
        finally:
            os.close(writing)
        if written != len(data):
            raise _Unavailable
        yield f"/dev/fd/{reading}"
    finally:
        os.close(reading)


@contextlib.contextmanager
def _memory(data: bytes) -> Iterator[str]:
    if not hasattr(os, "memfd_create") or not os.path.exists("/dev/fd"):
        raise _Unavailable
    try:
        descriptor = os.memfd_create("mtls-client", os.MFD_CLOEXEC)
    except OSError as error:
        raise _Unavailable from error
    with open(descriptor, "wb", buffering=0) as file:
        file.write(data)
        yield f"/dev/fd/{descriptor}"


@contextlib.contextmanager
def _file(data: bytes) -> Iterator[str]:
    try:
        descriptor, path = tempfile.mkstemp(prefix="mtls-client-")  # created 0600
    except OSError as error:
        raise _Unavailable from error
    try:
        with open(descriptor, "wb") as file:
            file.write(data)
        yield path
    finally:
        os.unlink(path)


def _through_pipes(context: ssl.SSLContext, identity: Identity) -> None:
    with _pipe(identity.certificate_pem()) as chain, _pipe(identity.private_key_pem()) as key:
        _load(context, chain, key)


def _through_memory(context: ssl.SSLContext, identity: Identity) -> None:
    with _memory(identity.certificate_pem()) as chain, _memory(identity.private_key_pem()) as key:
        _load(context, chain, key)


def _through_encrypted_file(context: ssl.SSLContext, identity: Identity) -> None:
    from mtls_client._formats import writing

    passphrase = secrets.token_hex(32)
    encrypted = writing.encoded_key(identity.private_key, passphrase)
    with _file(identity.certificate_pem()) as chain, _file(encrypted) as key:
        _load(context, chain, key, passphrase)


def _load(context: ssl.SSLContext, chain: str, key: str, password: str | None = None) -> None:
    try:
        context.load_cert_chain(chain, key, password)
    except ssl.SSLError:
        raise
    except OSError as error:  # a sandbox that hides /dev/fd
        raise _Unavailable from error


_WAYS: tuple[Callable[[ssl.SSLContext, Identity], None], ...] = (
    _through_pipes,
    _through_memory,
    _through_encrypted_file,
)
