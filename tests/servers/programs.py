"""Server programs as processes: ready when they accept connections, stopped by their id."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

READY_WITHIN = 20.0
STOPPED_WITHIN = 5.0


def free_ports(count: int) -> list[int]:
    """Return ports of 127.0.0.1 that nothing listens on."""
    with contextlib.ExitStack() as stack:
        listeners = [
            stack.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(count)
        ]
        return [listener.getsockname()[1] for listener in listeners]


@contextlib.contextmanager
def running(arguments: Sequence[str | Path], folder: Path, ports: Iterable[int]) -> Iterator[None]:
    """Run a program for the length of a `with` block.

    Args:
        arguments: the program and its arguments.
        folder: its home and working folder; its output goes to `log` there.
        ports: where it must accept connections before the block begins.
    """
    log = folder / "log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            arguments,
            cwd=folder,
            env={**os.environ, "HOME": str(folder)},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    try:
        deadline = time.monotonic() + READY_WITHIN
        for port in ports:
            while not _accepts(port):
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.wait(0.02)
                if process.returncode is not None or time.monotonic() > deadline:
                    raise AssertionError(
                        f"{arguments[0]} does not listen on port {port}, "
                        f"exit status {process.returncode}:\n{log.read_text(errors='replace')}"
                    )
        yield
    finally:
        process.terminate()
        try:
            process.wait(STOPPED_WITHIN)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(STOPPED_WITHIN)


def _accepts(port: int) -> bool:
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
        return True
    return False
