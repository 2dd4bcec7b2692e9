"""The private key gets into OpenSSL without ever being on a disk in plaintext."""

from __future__ import annotations

import os
import ssl
import subprocess
import sys
from pathlib import Path

import pytest

import mtls_client as mtls
from mtls_client import Identity
from mtls_client._tls import keys
from mtls_client.testing import CA
from tests.components import require

# loads an identity in one way only; strace shows every byte that is written, and to what
PROGRAM = """
import ssl, sys
from mtls_client import FileSource
from mtls_client._tls import keys
keys._WAYS = (getattr(keys, sys.argv[2]),)
identity = FileSource(sys.argv[1]).load()
print("begin", flush=True)
keys.present(ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT), identity)
"""

LEAKING = """
import ssl, sys, tempfile
print("begin", flush=True)
with tempfile.NamedTemporaryFile() as file:
    file.write(open(sys.argv[1], "rb").read()); file.flush()
"""


def writes_to_files(tmp_path: Path, program: str, *arguments: str) -> tuple[str, str]:
    """Run a program under strace; return what it wrote to named files, and all it wrote."""
    strace = require("strace", "apt-get install strace")
    log = tmp_path / "strace.log"
    command = [
        strace,
        "-f",
        "-qq",
        "-y",
        "-s",
        "100000",
        "-e",
        "trace=write,pwrite64,writev,sendto,rename",
    ]
    subprocess.run(
        [*command, "-o", str(log), sys.executable, "-c", program, *arguments],
        check=True,
        timeout=60,
        env={**os.environ, "TMPDIR": str(tmp_path), "PYTHONDONTWRITEBYTECODE": "1"},
        stdout=subprocess.DEVNULL,
    )
    lines = log.read_text(errors="replace").partition("begin")[2].splitlines()
    in_memory = ("<pipe:", "</memfd:", "<anon_inode:")
    return "\n".join(one for one in lines if not any(m in one for m in in_memory)), "\n".join(lines)


@pytest.fixture
def key_file(tmp_path: Path, identity: Identity) -> tuple[Path, str]:
    path = tmp_path / "client.pem"
    identity.save_pem(path, password=None)
    secret = identity.private_key_pem().splitlines()[1][:40].decode()
    return path, secret


@pytest.mark.parametrize("way", ["_through_pipes", "_through_memory", "_through_encrypted_file"])
def test_no_plaintext_key_is_written_to_a_file(
    way: str, tmp_path: Path, key_file: tuple[Path, str]
) -> None:
    path, secret = key_file
    on_disk, everything = writes_to_files(tmp_path, PROGRAM, str(path), way)
    assert secret not in on_disk
    # controls: the key did travel, the way that was meant
    assert (secret in everything) is (way != "_through_encrypted_file")
    assert ("ENCRYPTED PRIVATE KEY" in on_disk) is (way == "_through_encrypted_file")
    assert [one.name for one in tmp_path.iterdir() if one.name.startswith("mtls-client")] == []


def test_the_trace_would_show_a_leak(tmp_path: Path, key_file: tuple[Path, str]) -> None:
    """A control: a program that writes the key to a temporary file is caught."""
    path, secret = key_file
    on_disk, _ = writes_to_files(tmp_path, LEAKING, str(path))
    assert secret in on_disk


@pytest.mark.parametrize("way", keys._WAYS)
@pytest.mark.parametrize("kind", ["ec", "rsa", "ed25519"])
def test_every_way_loads_every_kind_of_key(
    way: object, kind: object, ca: CA, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keys, "_WAYS", (way,))
    keys.present(ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT), ca.issue(key=kind))  # type: ignore[arg-type]


def test_a_chain_too_large_for_a_pipe_goes_another_way(ca: CA) -> None:
    identity = ca.intermediate().issue("large")
    identity.__dict__["_presented"] = identity.certificate_pem() * 200
    assert len(identity.certificate_pem()) > 65536
    keys.present(ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT), identity)


def test_without_any_way_the_error_says_so(
    identity: Identity, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keys, "_WAYS", ())
    with pytest.raises(mtls.IdentityError) as caught:
        keys.present(ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT), identity)
    assert caught.value.code == "key_transfer"


def test_nothing_stays_open(identity: Identity) -> None:
    before = sorted(os.listdir("/dev/fd"))
    for way in keys._WAYS:
        way(ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT), identity)
    assert sorted(os.listdir("/dev/fd")) == before


@pytest.mark.parametrize("size", [0, 10, 70_000, 1_000_000])
def test_public_data_of_any_size_can_be_read_by_path(size: int) -> None:
    with keys.readable_path(b"x" * size) as path:
        assert Path(path).read_bytes() == b"x" * size
