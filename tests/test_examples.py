"""Every example runs, from the outside, against a real server."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from mtls_client import Identity
from mtls_client.testing import CA, Server

ROOT = Path(__file__).parents[1]


def run(name: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(ROOT / "examples" / name), *arguments],
        capture_output=True,
        text=True,
        timeout=60,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )


@pytest.fixture
def files(tmp_path: Path, ca: CA, identity: Identity) -> tuple[str, str]:
    (tmp_path / "ca.pem").write_bytes(ca.pem)
    identity.save_pem(tmp_path / "client.pem", password=None)
    return str(tmp_path / "client.pem"), str(tmp_path / "ca.pem")


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("requests_session.py", '"subject": "client"'),
        ("httpx_async.py", "{'client'}"),
        ("any_library.py", '"subject": "client"'),
        ("told_why.py", "accepted"),
    ],
)
def test_an_example_runs(name: str, expected: str, server: Server, files: tuple[str, str]) -> None:
    done = run(name, server.url, *files)
    assert (done.returncode, done.stderr) == (0, "")
    assert expected in done.stdout


def test_every_example_is_tested() -> None:
    names = {path.name for path in (ROOT / "examples").glob("*.py")}
    source = Path(__file__).read_text()
    assert {name for name in names if f'"{name}"' not in source} == set()


def test_told_why_tells_why(
    server: Server, files: tuple[str, str], tmp_path: Path, untrusted_identity: Identity
) -> None:
    untrusted_identity.save_pem(tmp_path / "stranger.pem", password=None)
    done = run("told_why.py", server.url, str(tmp_path / "stranger.pem"), files[1])
    assert done.returncode == 1
    assert "certainly because it is untrusted" in done.stdout
