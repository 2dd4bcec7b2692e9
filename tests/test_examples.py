"""Every example runs, from the outside, against a real server."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from mtls_client import Identity
from mtls_client.testing import CA, Answer, Server

ROOT = Path(__file__).parents[1]


def start(name: str, *arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, str(ROOT / "examples" / name), *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )


def end(process: subprocess.Popen[str]) -> subprocess.CompletedProcess[str]:
    try:
        out, err = process.communicate(timeout=60)
    finally:
        process.kill()
    return subprocess.CompletedProcess(process.args, process.returncode, out, err)


def run(name: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    return end(start(name, *arguments))


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
    source += (ROOT / "tests" / "renewers" / "test_vault.py").read_text()
    assert {name for name in names if f'"{name}"' not in source} == set()


def test_told_why_tells_why(
    server: Server, files: tuple[str, str], tmp_path: Path, untrusted_identity: Identity
) -> None:
    untrusted_identity.save_pem(tmp_path / "stranger.pem", password=None)
    done = run("told_why.py", server.url, str(tmp_path / "stranger.pem"), files[1])
    assert done.returncode == 1
    assert "certainly because it is untrusted" in done.stdout


def test_told_why_explains_what_is_no_refusal(files: tuple[str, str]) -> None:
    done = run("told_why.py", "https://localhost:1", *files)
    assert (done.returncode, done.stderr) == (1, "")
    assert done.stdout.startswith("The network: nobody listens there")


def test_told_why_explains_a_page(serve: Callable[..., Server], files: tuple[str, str]) -> None:
    page = Answer(status=400, body=b"<center>The SSL certificate error</center>")
    done = run("told_why.py", serve(handler=lambda _call: page).url, *files)
    assert (done.returncode, done.stderr) == (1, "")
    assert done.stdout.startswith("Our certificate: the server refused our certificate (HTTP 400")


def test_a_service_goes_on_while_its_certificate_is_replaced(
    server: Server, files: tuple[str, str], ca: CA
) -> None:
    """The server sees the old certificate, then the new one, and no request fails."""
    new = ca.issue("renewed", key="rsa")
    process = start("rotating_service.py", server.url, *files)
    assert process.stdout is not None
    first = process.stdout.readline()
    while not server.calls and process.poll() is None:
        time.sleep(0.01)
    new.save_pem(files[0], password=None)
    done = end(process)
    assert (done.returncode, done.stderr) == (0, "")
    assert first.startswith("generation 1 presents ")
    assert f"generation 2 presents {new.serial}\n" in done.stdout
    assert "generation 1 is drained" in done.stdout
    assert ", 0 failures" in done.stdout
    subjects = [call.subject for call in server.calls]
    assert subjects[0] == "client"
    assert subjects[-1] == "renewed"
    assert server.calls[-1].serial == new.serial


def test_audited_calls_leave_a_log_that_is_intact(
    server: Server, files: tuple[str, str], tmp_path: Path, identity: Identity
) -> None:
    log = tmp_path / "audit.jsonl"
    done = run("audited_calls.py", server.url, *files, str(log))
    assert (done.returncode, done.stderr) == (0, "")
    assert "DEBUG connected to localhost" in done.stdout
    assert done.stdout.endswith(f"200\nnow check it: mtls audit verify {log}\n")
    [_, line] = map(json.loads, log.read_text().splitlines())
    assert (line["event"], line["serial"]) == ("HandshakeCompleted", identity.serial)
