"""The roots of a trust, parsed once and shared.

Parsing the public roots takes about 20 ms and 690 KiB, so a thousand clients must not do it a
thousand times. Contexts with equal roots use one X509_STORE, which OpenSSL counts
references of and locks (SSL_CTX_set1_cert_store(3)); the store is never changed after the
first context has it.

`ssl` has no call for that. It is made through ctypes where the layout of the context object is
known by test, and left out everywhere else, which costs time and nothing more.
"""

from __future__ import annotations

import ctypes
import functools
import ssl
import sys
import sysconfig
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING

from cryptography.hazmat.primitives.serialization import Encoding

from mtls_client._tls.keys import readable_path
from mtls_client.errors import IdentityError
from mtls_client.trust import Anchors, Trust

if TYPE_CHECKING:
    from mtls_client.identity import Identity

__all__ = ["anchor", "rooted"]


def rooted(trust: Trust, identity: Identity | None) -> Trust:
    """Return what holds for connections that present an identity: its own roots may count.

    Raises:
        IdentityError: its roots are to be trusted, and it has none.
    """
    if not trust.anchors.of_identity or identity is None:
        return trust
    if not identity.roots:
        raise IdentityError(
            f"no roots beside the identity {identity.subject}",
            hint="put the CA's certificate beside it as ca.crt, "
            "or write trust=Trust.from_file('ca.pem')",
            code="identity_without_roots",
        )
    found = tuple(one.public_bytes(Encoding.PEM).decode() for one in identity.roots)
    certificates = (*trust.anchors.certificates, *found)
    return replace(trust, anchors=replace(trust.anchors, certificates=certificates))


def anchor(context: ssl.SSLContext, trust: Trust) -> None:
    """Give a new context the roots and CRLs of a trust."""
    share = _set_store()
    bare = trust.anchors.public and not (trust.anchors.certificates or trust.crls)
    store = (_public if bare else _recent)(trust.anchors, trust.crls) if share else None
    if share is not None and store is not None:
        share(store, context)
    else:
        _load(context, trust.anchors, trust.crls)


@functools.cache
def _public(anchors: Anchors, crls: tuple[bytes, ...]) -> ssl.SSLContext | None:
    return _store(anchors, crls)


@functools.lru_cache(maxsize=8)
def _recent(anchors: Anchors, crls: tuple[bytes, ...]) -> ssl.SSLContext | None:
    return _store(anchors, crls)


def _store(anchors: Anchors, crls: tuple[bytes, ...]) -> ssl.SSLContext | None:
    """Return a context that has nothing but roots, or None if sharing them does not work."""
    context, trial = (ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT) for _ in range(2))
    _load(context, anchors, crls)
    if (share := _set_store()) is not None:
        share(context, trial)
    return context if trial.cert_store_stats() == context.cert_store_stats() else None


def _load(context: ssl.SSLContext, anchors: Anchors, crls: tuple[bytes, ...]) -> None:
    if anchors.public == "system":
        context.load_default_certs(ssl.Purpose.SERVER_AUTH)
    elif anchors.public == "certifi":
        import certifi

        context.load_verify_locations(cafile=certifi.where())
    if anchors.certificates:
        context.load_verify_locations(cadata="".join(anchors.certificates))
    if crls:
        # cadata takes certificates only; a CRL must come from a file
        with readable_path(b"".join(crls)) as path:
            context.load_verify_locations(cafile=path)


@functools.cache
def _set_store() -> Callable[[ssl.SSLContext, ssl.SSLContext], None] | None:
    """Return a function that gives the second context the first one's store, or None."""
    import _ssl

    if (
        sys.implementation.name != "cpython"
        or sys.version_info[:2] not in {(3, 11), (3, 12), (3, 13)}
        or sysconfig.get_config_var("Py_GIL_DISABLED")
        or sysconfig.get_config_var("Py_DEBUG")
    ):
        return None
    try:
        # names are looked up in the libssl that this very module is linked with
        library = ctypes.CDLL(_ssl.__file__)
        read, write = library.SSL_CTX_get_cert_store, library.SSL_CTX_set1_cert_store
    except (AttributeError, OSError):
        return None
    read.argtypes, read.restype = [ctypes.c_void_p], ctypes.c_void_p
    write.argtypes, write.restype = [ctypes.c_void_p, ctypes.c_void_p], None

    def pointer(context: ssl.SSLContext) -> int | None:
        # Modules/_ssl.c: struct PySSLContext { PyObject_HEAD; SSL_CTX *ctx; … }
        return ctypes.c_void_p.from_address(id(context) + object.__basicsize__).value

    def set_store(source: ssl.SSLContext, target: ssl.SSLContext) -> None:
        write(pointer(target), read(pointer(source)))

    return set_store
