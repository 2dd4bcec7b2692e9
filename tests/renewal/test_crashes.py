"""Whenever a process is killed while it renews, one identity can be loaded, and no lock is held."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.renewal.layouts import LAYOUTS


@pytest.mark.parametrize("layout", LAYOUTS)
def test_kill_9_at_any_step_leaves_the_old_identity_or_the_new_one(
    layout: str, tmp_path: Path
) -> None:
    """Every other line for the layout with most files; a sample of lines for the others."""
    stride = {"with_chain": 2, "pkcs12": 40, "open_pkcs12": 40}.get(layout, 12)
    done = subprocess.run(
        [sys.executable, "-m", "tests.renewal.crashing", layout, str(stride), str(tmp_path)],
        capture_output=True,
        text=True,
        timeout=110,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert told["old"] + told["new"] == -(-told["steps"] // stride)
    assert min(told["old"], told["new"]) > 0, "killed before and after the decisive step"
    assert told["once"], "from the decisive step on it is the new one"
