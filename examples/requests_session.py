"""Call an API with requests: python examples/requests_session.py URL CERT CA [PASSWORD-FILE]."""

from __future__ import annotations

import sys
from pathlib import Path

import mtls_client as mtls


def main(url: str, certificate: str, ca: str, password_file: str | None = None) -> None:
    password = Path(password_file) if password_file else None
    source = mtls.FileSource(certificate, password=password)
    with mtls.Session(source, trust=mtls.Trust.from_file(ca)) as session:
        print(session.get(url, timeout=10).text)


if __name__ == "__main__":
    main(*sys.argv[1:])
