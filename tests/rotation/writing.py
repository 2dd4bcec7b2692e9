"""What a certificate manager does to files: well, slowly, and badly."""

from __future__ import annotations

import os
from pathlib import Path

import mtls_client as mtls


def write(folder: Path, identity: mtls.Identity) -> mtls.FileSource:
    """Put a pair in place, each file at once, and return its source."""
    replace(folder / "tls.crt", identity.certificate_pem())
    replace(folder / "tls.key", identity.private_key_pem())
    return mtls.FileSource(folder / "tls.crt", folder / "tls.key")


def replace(path: Path, data: bytes) -> None:
    new = path.with_name(path.name + ".new")
    new.touch(0o600)
    new.write_bytes(data)
    os.replace(new, path)
