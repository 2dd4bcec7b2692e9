"""An mTLS server in a process of its own, so that its time does not count as the client's."""

from __future__ import annotations

import contextlib
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

PROGRAM = """
import sys
from mtls_client import FileSource, Trust
from mtls_client.testing import Server

class Known:
    pem = open(sys.argv[2], "rb").read()

with Server(FileSource(sys.argv[1]).load(), client_ca=Known()) as server:
    server.calls = type("Forgetful", (), {"append": lambda self, call: None})()
    print(server.url, flush=True)
    sys.stdin.read()
"""


@contextlib.contextmanager
def running(identity: Path, ca: Path) -> Iterator[str]:
    """Run the server until the block ends; yield its URL."""
    process = subprocess.Popen(
        [sys.executable, "-c", PROGRAM, str(identity), str(ca)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdin is not None
    try:
        yield process.stdout.readline().strip()
    finally:
        process.stdin.close()
        process.wait(10)
        process.stdout.close()
