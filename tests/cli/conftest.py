"""The command as users run it: another process, files in a folder, a server on loopback."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TypeAlias

import pytest

from mtls_client import Identity
from mtls_client.testing import CA

Run: TypeAlias = Callable[..., subprocess.CompletedProcess[bytes]]


@pytest.fixture
def folder(
    tmp_path: Path,
    ca: CA,
    identity: Identity,
    expired_identity: Identity,
    untrusted_identity: Identity,
) -> Path:
    """A folder with the files that a user has."""
    (tmp_path / "ca.pem").write_bytes(ca.pem)
    identity.save_pem(tmp_path / "client.pem", password=None)
    identity.save_pem(tmp_path / "locked.pem", password="tops3cret")
    identity.save_pkcs12(tmp_path / "client.p12", password="tops3cret", label="mine")
    expired_identity.save_pem(tmp_path / "expired.pem", password=None)
    untrusted_identity.save_pem(tmp_path / "stranger.pem", password=None)
    return tmp_path


@pytest.fixture
def mtls(folder: Path) -> Run:
    """Run the command in that folder."""

    def run(
        *arguments: str, stdin: bytes = b"", **environment: str
    ) -> subprocess.CompletedProcess[bytes]:
        return subprocess.run(
            [sys.executable, "-m", "mtls_client", *arguments],
            cwd=folder,
            input=stdin,
            capture_output=True,
            timeout=60,
            env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2]), **environment},
        )

    return run
