"""Give the context to a library that knows nothing of this one: http.client.

python examples/any_library.py URL CERT CA
"""

from __future__ import annotations

import http.client
import sys
from urllib.parse import urlsplit

import mtls_client as mtls


def main(url: str, certificate: str, ca: str) -> None:
    parts = urlsplit(url)
    context = mtls.MTLSContext(
        mtls.FileSource(certificate),
        trust=mtls.Trust.from_file(ca),
        hosts=[parts.hostname or ""],
    )
    connection = http.client.HTTPSConnection(parts.netloc, context=context, timeout=10)
    connection.request("GET", parts.path or "/")
    print(connection.getresponse().read().decode())
    connection.close()


if __name__ == "__main__":
    main(*sys.argv[1:])
