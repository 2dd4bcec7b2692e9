"""The chain that OpenSSL verified: what pins are matched against.

The chain that the server *sent* is never looked at here: an attacker can append the pinned
certificate to it.
"""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from typing import Any

__all__ = ["verified_chain"]


def verified_chain(connection: ssl.SSLSocket | ssl.SSLObject) -> Iterator[bytes]:
    """Return the verified chain as DER, leaf first, root last.

    Empty for a resumed session and where nothing was verified (SSL_get0_verified_chain(3)).
    """
    # public from Python 3.13 on; the same call has been in the C type since 3.10
    sslobj: Any = connection._sslobj  # type: ignore[union-attr]
    chain = sslobj.get_verified_chain() if sslobj is not None else None
    for certificate in chain or ():
        yield certificate.public_bytes(_DER)


_DER = 2  # _ssl.ENCODING_DER, X509_FILETYPE_ASN1
