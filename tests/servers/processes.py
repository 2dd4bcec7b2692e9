"""Real servers as child processes: started on free ports of loopback, stopped by their id."""

from __future__ import annotations

import contextlib
import os
import random
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

# below the ports that systems give to outgoing connections: one of those could take the port
# before the server does, and a client that waits for the server could connect to itself
_PORTS = range(10_000, 32_000)
_READY_WITHIN = 60.0


def free_port() -> int:
    """Return a port of loopback that nobody listens on and no outgoing connection will get."""
    for port in random.sample(_PORTS, 100):
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port
    raise RuntimeError("no port of loopback is free")


@contextlib.contextmanager
def running(
    command: list[str], folder: Path, ports: list[int], **environment: str
) -> Iterator[None]:
    """Run a server until the block ends; raise with its log if it does not come up."""
    log = folder / "log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            command,
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            env={**os.environ, "HOME": str(folder), **environment},
        )
    try:
        for port in ports:
            _wait_for(port, process, log)
        yield
    finally:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(10)


def _wait_for(port: int, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + _READY_WITHIN
    while True:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            return
        if process.poll() is not None or time.monotonic() > deadline:
            raise RuntimeError(f"no server on port {port}:\n{log.read_text(errors='replace')}")
        time.sleep(0.02)
