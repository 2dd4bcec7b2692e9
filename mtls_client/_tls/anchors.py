"""The roots of a trust, parsed once and shared.

Parsing the public roots takes about 20 ms and 690 KiB, so a thousand clients must not do it a
thousand times. All contexts with equal roots use one X509_STORE, which OpenSSL counts
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
import threading
import weakref
from collections.abc import Callable
from typing import TypeAlias

from mtls_client._tls.keys import readable_path
from mtls_client.trust import Anchors, Trust

__all__ = ["anchor"]

_Key: TypeAlias = tuple[Anchors, tuple[bytes, ...]]

_lock = threading.Lock()
_private: weakref.WeakValueDictionary[_Key, ssl.SSLContext] = weakref.WeakValueDictionary()
_public: dict[_Key, ssl.SSLContext] = {}


def anchor(context: ssl.SSLContext, trust: Trust) -> None:
    """Give a new context the roots and CRLs of a trust.

    The store of private roots lives as long as a context that has it; that of public ones, once
    loaded, as long as the process.
    """
    key = (trust.anchors, trust.crls)
    with _lock:
        source = _public.get(key) or _private.get(key)
        if source is None and trust.anchors.public:
            source = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
            _load(source, trust)
            if trust.anchors.certificates or trust.crls:
                _private[key] = source
            else:
                _public[key] = source
        if source is None or not _share(source, context):
            _load(context, trust)
        if key not in _public:
            _private[key] = context


def _load(context: ssl.SSLContext, trust: Trust) -> None:
    if trust.anchors.public == "system":
        context.load_default_certs(ssl.Purpose.SERVER_AUTH)
    elif trust.anchors.public == "certifi":
        import certifi

        context.load_verify_locations(cafile=certifi.where())
    if trust.anchors.certificates:
        context.load_verify_locations(cadata="".join(trust.anchors.certificates))
    if trust.crls:
        # cadata takes certificates only; a CRL must come from a file
        with readable_path(b"".join(trust.crls)) as path:
            context.load_verify_locations(cafile=path)


def _share(source: ssl.SSLContext, target: ssl.SSLContext) -> bool:
    call = _set_store()
    if call is None:
        return False
    call(source, target)
    return target.cert_store_stats() == source.cert_store_stats()


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
