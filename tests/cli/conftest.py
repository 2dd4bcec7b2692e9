"""The command as users run it: another process, files in a folder, a server on loopback."""

from __future__ import annotations

import os
import pty
import select
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeAlias

import pytest

from mtls_client import Identity
from mtls_client.testing import CA

ROOT = Path(__file__).parents[2]
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
            env={**os.environ, "PYTHONPATH": str(ROOT), **environment},
        )

    return run


@pytest.fixture
def keyring(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A keyring in a folder, which the command uses."""
    store = folder / "keyring"
    store.mkdir()
    monkeypatch.setenv("FAKE_KEYRING", str(store))
    monkeypatch.setenv("PYTHON_KEYRING_BACKEND", "tests.sources.backends.Folder")
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(folder))
    return store


@pytest.fixture
def bank(keyring: Path, mtls: Run) -> Path:
    """That keyring, with an identity `bank`."""
    done = mtls("identity", "import", "client.p12", "bank", "--pass", "env:P", P="tops3cret")
    assert (done.returncode, done.stderr) == (0, b"")
    assert done.stdout.startswith(b"keyring:bank  CN=client, until ")
    return keyring


def typed(folder: Path, arguments: list[str], answers: list[bytes]) -> tuple[int, bytes]:
    """Run the command on a terminal, and answer its questions."""
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "mtls_client", *arguments],
        cwd=folder,
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        start_new_session=True,
    )
    os.close(theirs)
    shown, asked = b"", 0
    deadline = time.monotonic() + 60
    try:
        while time.monotonic() < deadline:
            if not select.select([ours], [], [], 0.1)[0]:
                if process.poll() is not None:
                    break
                continue
            try:
                shown += os.read(ours, 4096)
            except OSError:  # the terminal is closed
                break
            if answers and shown[asked:].rstrip(b" ").endswith((b":", b"?", b"]")):
                asked = len(shown)
                os.write(ours, answers.pop(0))
        return process.wait(10), shown
    finally:
        process.kill()
        process.wait()
        os.close(ours)
