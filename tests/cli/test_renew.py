"""`mtls renew` renews what is due, saves it, tells a person, and follows up."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import mtls_client as mtls
from mtls_client.testing import CA
from tests.cli.conftest import Run
from tests.renewal.issuing import due, fresh
from tests.renewers.openbao import OpenBao
from tests.rotation.test_credential import until

ROOT = Path(__file__).parents[2]

SIGN = """
import pathlib, sys
pathlib.Path(sys.argv[2]).write_bytes(pathlib.Path(sys.argv[1]).read_bytes())
"""


@pytest.fixture
def late(ca: CA, folder: Path) -> mtls.FileSource:
    """A pair that is due for renewal."""
    due(ca).save_pem(folder / "late.pem", password=None)
    return mtls.FileSource(folder / "late.pem")


@pytest.fixture
def program(ca: CA, folder: Path) -> list[str]:
    """A program that puts another identity where the present one is."""
    fresh(ca).save_pem(folder / "next.pem", password=None)
    (folder / "sign.py").write_text(SIGN)
    return ["--", sys.executable, "sign.py", "next.pem", "late.pem"]


def test_a_program_after_two_dashes_renews(
    mtls: Run, late: mtls.FileSource, program: list[str], folder: Path
) -> None:
    before = late.load()
    done = mtls("renew", "--cert", "late.pem", *program)
    assert (done.returncode, done.stdout) == (0, b"")
    after = late.load()
    assert after.fingerprint != before.fingerprint
    assert f"mtls: the certificate is {after.serial} now, until ".encode() in done.stderr
    done = mtls("renew", "--cert", "late.pem", *program)
    assert done.returncode == 0
    assert done.stderr.startswith(b"mtls: not due before ")
    assert late.load().fingerprint == after.fingerprint


def test_vault_renews(
    mtls: Run, openbao: OpenBao, folder: Path, ca: CA, late: mtls.FileSource
) -> None:
    arguments = ["renew", "--cert", "late.pem", "--vault", openbao.url, "--cacert", "ca.pem"]
    arguments += ["--role", "client", "--token", "env:TOKEN"]
    done = mtls(*arguments, TOKEN=openbao.root_token)
    assert done.returncode == 0, done.stderr
    assert late.load().issuer == "CN=OpenBao CA"
    done = mtls(*arguments, "--force", TOKEN="s.wrong")
    assert done.returncode == 1
    assert b"permission denied" in done.stderr
    assert b"hint: " in done.stderr
    assert b"s.wrong" not in done.stderr


def test_what_follows_a_renewal(
    mtls: Run, late: mtls.FileSource, program: list[str], folder: Path
) -> None:
    """A command without a shell, and a signal to a process named in a file."""
    got: list[int] = []
    previous = signal.signal(signal.SIGUSR1, lambda number, _: got.append(number))
    (folder / "pid").write_text(f"{os.getpid()}\n")
    try:
        touch = f"{sys.executable} -c \"open('done; here', 'w')\""
        done = mtls(
            "renew", "--cert", "late.pem", "--exec", touch, "--pid-file", "pid",
            "--signal", "usr1", *program,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        assert (folder / "done; here").exists()
        until(lambda: got == [signal.SIGUSR1])
    finally:
        signal.signal(signal.SIGUSR1, previous)


def test_a_command_that_fails_afterwards_is_told_and_the_new_certificate_stays(
    mtls: Run, late: mtls.FileSource, program: list[str]
) -> None:
    before = late.load()
    done = mtls("renew", "--cert", "late.pem", "--exec", "false", *program)
    assert done.returncode == 1
    assert b"--exec: false ended with 1" in done.stderr
    assert late.load().fingerprint != before.fingerprint


def test_a_failure_is_told_once_with_what_to_do(mtls: Run, late: mtls.FileSource) -> None:
    before = late.load()
    done = mtls("renew", "--cert", "late.pem", "--", "false")
    assert done.returncode == 1
    assert done.stderr.count(b"mtls: false ended with exit code 1") == 1
    assert b"hint: " in done.stderr
    assert late.load().fingerprint == before.fingerprint


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--cert", "late.pem"], b"no issuer was named"),
        (["--cert", "late.pem", "--est", "https://e", "--step-ca", "https://s"], b"several"),
        (["--cert", "late.pem", "--est", "https://e", "--role", "r"], b"--role goes with --vault"),
        (["--cert", "late.pem", "--vault", "https://v"], b"--vault without --role"),
        (["--est", "https://e"], b"no identity was named"),
        (["--identity", "env:X_", "--est", "https://e"], b"none of X_CERT"),
        (["--cert", "late.pem", "--vault", "https://v", "--role", "r", "--token", "hvs.x"], b"see"),
        (
            ["--cert", "late.pem", "--est", "https://e", "--pid-file", "p", "--signal", "what"],
            b"there is no signal",
        ),
        (["--cert", "late.pem", "--est", "https://e", "--signal", "HUP"], b"without a process"),
        (["--cert", "late.pem", "--est", "https://e", "--exec", ""], b"an empty command"),
        (
            ["--cert", "late.pem", "--est", "https://e", "--pid", "9", "--pid-file", "p"],
            b"give one of them",
        ),
        (["--cert", "late.pem", "--est", "https://e", "--new-key", "foo"], b"--new-key"),
        (
            ["--cert", "late.pem", "--est", "https://e", "--new-key", "ec", "--reuse-key"],
            b"--reuse-key contradict",
        ),
        (["--cert", "late.pem", "--cacert", "ca.pem", "--", "true"], b"go with an issuer"),
        (["--cert", "late.pem", "--est", "https://e", "--exec", "a 'b"], b"--exec"),
        (["--cert", "late.pem", "--est", "https://e", "--before", "soon"], b"duration"),
        (["--cert", "late.pem", "--acme", "https://a/d"], b"--account-key"),
    ],
)
def test_options_that_make_no_sense(
    arguments: list[str], says: bytes, mtls: Run, late: mtls.FileSource
) -> None:
    before = late.load()
    done = mtls("renew", *arguments)
    assert done.returncode in (2, 58)
    assert says in done.stderr
    assert b"hvs.x" not in done.stderr
    assert late.load().fingerprint == before.fingerprint


def test_a_place_that_cannot_be_written_is_told_before_the_issuer_is_asked(
    mtls: Run, late: mtls.FileSource, ca: CA, folder: Path
) -> None:
    with (folder / "late.pem").open("ab") as file:
        file.write(ca.crl())
    done = mtls("renew", "--cert", "late.pem", "--est", "https://localhost:9")
    assert done.returncode == 58
    assert b"cannot be saved here" in done.stderr


def test_a_file_without_a_process_is_named_and_the_new_certificate_stays(
    mtls: Run, late: mtls.FileSource, program: list[str]
) -> None:
    before = late.load()
    done = mtls("renew", "--cert", "late.pem", "--pid-file", "nopid", *program)
    assert done.returncode == 1
    assert b"--pid-file: nopid: no such file" in done.stderr
    assert late.load().fingerprint != before.fingerprint


@pytest.fixture
def daemon(folder: Path) -> Iterator[Callable[..., subprocess.Popen[str]]]:
    started: list[subprocess.Popen[str]] = []

    def start(*arguments: str, **environment: str) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, "-m", "mtls_client", "renew", "--daemon", *arguments],
            cwd=folder,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": str(ROOT), **environment},
        )
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate(timeout=30)


def test_the_daemon_renews_again_and_again_and_ends_at_a_signal(
    daemon: Callable[..., subprocess.Popen[str]],
    openbao: OpenBao,
    late: mtls.FileSource,
) -> None:
    openbao.role("brief", ttl="6s", not_before_duration="1s")
    process = daemon(
        "--cert", "late.pem", "--vault", openbao.url, "--cacert", "ca.pem", "--role", "brief",
        "--token", "env:TOKEN", TOKEN=openbao.root_token,
    )  # fmt: skip
    assert process.stderr is not None
    lines: list[str] = []

    def read() -> None:
        assert process.stderr is not None
        lines.extend(process.stderr)

    reader = threading.Thread(target=read)
    reader.start()
    until(lambda: sum("the certificate is" in line for line in lines) >= 3, 60)
    process.send_signal(signal.SIGTERM)
    assert process.wait(30) == 0
    reader.join(10)
    assert late.load().issuer == "CN=OpenBao CA"
    assert "Traceback" not in "".join(lines)
