"""A program run to its end: in a group of processes of its own, within a time, with little output.

Rules of this file: no shell, nothing on stdin that was not put there, and when it does not end
well, nothing of it goes on running. Its output goes to files in a private folder and not through
pipes, which a process that it leaves behind could hold open.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import BinaryIO

from mtls_client.errors import RenewalError, RenewalRefusedError
from mtls_client.renewers._redaction import redacted

__all__ = ["output_of"]

_LARGEST = 2**20
_TAIL = 2**16
_LOOK = 0.05
_FOR_GOOD = {
    64: "it was called in a wrong way",
    77: "it lacks a permission",
    78: "its configuration is wrong",
    126: "a program in it cannot be executed",
    127: "a program in it was not found",
}
"""Exit codes of sysexits(3) and of shells that will be the same next time."""


def output_of(
    argv: Sequence[str],
    folder: Path,
    *,
    stdin: Path | None,
    environment: Mapping[str, str],
    timeout: float,
) -> bytes:
    """Run a program and return what it wrote to stdout.

    Args:
        argv: the program and its arguments.
        folder: a private folder for its output.
        stdin: a file to read from; nothing if None.
        environment: variables beside those of this process; their values are kept out of errors.
        timeout: how many seconds it may run.

    Raises:
        RenewalError: it failed, wrote too much or did not end in time.
        RenewalRefusedError: it cannot be started, or says that it will fail again.
    """
    name = Path(argv[0]).name
    out, err = folder / "stdout", folder / "stderr"
    with (
        open(stdin or os.devnull, "rb") as given,
        out.open("w+b") as output,
        err.open("w+b") as errors,
    ):
        try:
            process = subprocess.Popen(  # noqa: S603 (the user's own program, without a shell)
                argv,
                stdin=given,
                stdout=output,
                stderr=errors,
                env={**os.environ, **environment},
                start_new_session=True,
            )
        except OSError as error:
            raise RenewalRefusedError(
                f"{name} cannot be started: {error.strerror}",
                hint="look at its path, its permissions and, in a script, its first line",
                code="command_not_started",
            ) from error
        try:
            status = _ended(process, name, timeout, (output, errors))
        except BaseException:
            _kill(process)
            raise
        if status != 0:
            errors.seek(max(os.fstat(errors.fileno()).st_size - _TAIL, 0))
            said = redacted(errors.read(_TAIL), environment.values())
            raise _failure(name, status, said)
        output.seek(0)
        return output.read(_LARGEST)


def _ended(
    process: subprocess.Popen[bytes], name: str, timeout: float, written: tuple[BinaryIO, ...]
) -> int:
    deadline = time.monotonic() + timeout
    while True:
        with contextlib.suppress(subprocess.TimeoutExpired):
            status = process.wait(_LOOK)
            _check_size(name, written)
            return status
        _check_size(name, written)
        if time.monotonic() > deadline:
            raise RenewalError(
                f"{name} did not end within {timeout:g} seconds and was killed",
                hint="does it wait for an answer? its stdin is empty; or pass a longer timeout=",
                code="command_timeout",
            )


def _check_size(name: str, written: tuple[BinaryIO, ...]) -> None:
    if any(os.fstat(file.fileno()).st_size > _LARGEST for file in written):
        raise RenewalError(
            f"{name} writes more than 1 MiB and was killed",
            hint="have it write the certificate and nothing else",
            code="command_output",
        )


def _kill(process: subprocess.Popen[bytes]) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        if os.name == "posix":
            os.killpg(process.pid, signal.SIGKILL)
        else:
            process.kill()
    process.wait()


def _failure(name: str, status: int, said: str) -> RenewalError:
    if status < 0:
        what = f"{name} was killed by signal {-status}"
    else:
        what = f"{name} ended with exit code {status}"
    what += f": {said}" if said else ", without a word on stderr"
    if status in _FOR_GOOD:
        return RenewalRefusedError(what, hint=_FOR_GOOD[status], code="command_failed")
    return RenewalError(what, hint="run it by hand as the same user", code="command_failed")
