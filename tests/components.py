"""The programs that tests need beside Python."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

import pytest


def require(program: str, install: str) -> str:
    """Return a program's path; without it skip on a user's machine, and fail in CI.

    Args:
        program: its name.
        install: what to install to get it, for the message.
    """
    beside = Path(sys.executable).parent / program
    found = str(beside) if beside.exists() else shutil.which(program, path=_path())
    if found:
        return found
    message = f"{program} is not installed ({install})"
    if os.environ.get("CI"):
        pytest.fail(message)
    pytest.skip(message)


def _path() -> str:
    return os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", "/usr/local/sbin"])
