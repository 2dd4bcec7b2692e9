"""Deriving keys from passwords in a process of its own.

600,000 rounds take some 200 ms, and `cryptography` holds the interpreter's lock meanwhile: in a
thread they stop the event loop as surely as on it. Password, file and answer go through pipes
between the two processes, never through arguments, the environment or the disk.
"""

from __future__ import annotations

import pickle
import subprocess
import sys
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
)

from mtls_client._formats.contents import Certificate, Contents, Key
from mtls_client._formats.keys import plain
from mtls_client.errors import IdentityError, MTLSError

__all__ = ["packed", "read"]

_TIMEOUT = 120.0

_CHILD = (
    "import pickle, sys; path, *given = pickle.load(sys.stdin.buffer); sys.path[:] = path; "
    "from mtls_client._formats.reading import answer; answer(*given)"
)


def read(data: bytes, password: bytes | None) -> Contents:
    """Read a file in another process, see `mtls_client._formats.reading.read`.

    Raises:
        IdentityError: as there, or the process failed.
    """
    try:
        done = subprocess.run(  # noqa: S603 (ourselves, with no argument from outside)
            [sys.executable, "-I", "-c", _CHILD],
            input=pickle.dumps((sys.path, data, password)),
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            timeout=_TIMEOUT,
            check=True,
        )
    except (OSError, subprocess.SubprocessError) as error:
        failure = type(error).__name__  # no more of it: it holds what went through the pipes
        done = None
    if done is None:
        raise IdentityError(
            f"the process that opens the file failed: {failure}",
            hint="see whether this works: python -c 'import mtls_client'; "
            "or export the file with fewer key-derivation rounds",
            code="key_derivation",
        )
    answer: Any = pickle.loads(done.stdout)  # noqa: S301 (written by `packed` in our own child)
    if isinstance(answer, MTLSError):
        raise answer
    return _unpacked(answer)


def packed(contents: Contents) -> Any:
    """Return contents in a form that a pipe takes."""
    return (
        [(one.value.public_bytes(Encoding.DER), one.label) for one in contents.certificates],
        [
            (
                one.value.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption()),
                one.label,
            )
            for one in contents.keys
        ],
        contents.others,
        contents.exposed,
    )


def _unpacked(answer: Any) -> Contents:
    certificates, keys, others, exposed = answer
    return Contents(
        tuple(
            Certificate(x509.load_der_x509_certificate(der), label) for der, label in certificates
        ),
        tuple(Key(plain(der), label) for der, label in keys),
        others,
        exposed,
    )
