"""What takes long to open is opened in another process, and nothing of it gets out."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import PrivateFormat, pkcs12

import mtls_client as mtls
from mtls_client._formats.passwords import away_from_the_loop
from mtls_client.testing import CA, Server


@pytest.fixture
def children(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """The commands of the processes that are started."""
    commands: list[list[str]] = []
    run = subprocess.run

    def counted(command: list[str], **options: Any) -> Any:
        commands.append(command)
        return run(command, **options)

    monkeypatch.setattr(subprocess, "run", counted)
    return commands


@pytest.fixture
def slow(tmp_path: Path, ca: CA) -> Path:
    """A file as GnuTLS and NSS write it."""
    return written(tmp_path, ca.intermediate().issue("slow"), 600_000)


def written(folder: Path, identity: mtls.Identity, rounds: int) -> Path:
    encryption = (
        PrivateFormat.PKCS12.encryption_builder()
        .kdf_rounds(rounds)
        .hmac_hash(hashes.SHA256())
        .build(b"a secret")
    )
    path = folder / "slow.p12"
    path.touch(0o600)
    path.write_bytes(
        pkcs12.serialize_key_and_certificates(
            b"label",
            identity.private_key,  # type: ignore[arg-type]
            identity.certificate,
            identity.chain,
            encryption,
        )
    )
    return path


def entered(source: mtls.Source, trust: mtls.Trust, url: str) -> dict[str, Any]:
    async def run() -> Any:
        async with mtls.AsyncClient(source, trust=trust) as client:
            return (await client.get(url)).json()

    answer: dict[str, Any] = asyncio.run(run())
    return answer


def test_an_async_client_opens_a_slow_file_in_another_process(
    slow: Path, trust: mtls.Trust, server: Server, children: list[list[str]]
) -> None:
    assert entered(mtls.FileSource(slow, password="a secret"), trust, server.url)["subject"] == (
        "slow"
    )
    assert len(children) == 1
    assert "a secret" not in str(children)


def test_a_usual_file_needs_none(
    tmp_path: Path, ca: CA, trust: mtls.Trust, server: Server, children: list[list[str]]
) -> None:
    path = written(tmp_path, ca.issue("usual"), 2048)
    source = mtls.FileSource(path, password="a secret")
    assert entered(source, trust, server.url)["subject"] == "usual"
    assert children == []


def test_what_is_read_is_the_same(slow: Path, children: list[list[str]]) -> None:
    here = mtls.FileSource(slow, password="a secret").load()
    assert children == []
    with away_from_the_loop():
        there = mtls.FileSource(slow, password="a secret", select="label").load()
    assert len(children) == 1
    assert there.certificate_pem() == here.certificate_pem()
    assert there.private_key_pem() == here.private_key_pem()
    assert [len(there.chain), len(here.chain)] == [2, 2]


def test_errors_are_the_same_and_a_password_is_asked_for_once(slow: Path) -> None:
    asked: list[int] = []

    def password() -> str:
        asked.append(1)
        return "wrong"

    with away_from_the_loop(), pytest.raises(mtls.PasswordError) as caught:
        mtls.FileSource(slow, password=password).load()
    assert caught.value.code == "password_wrong"
    assert str(slow) in str(caught.value)
    assert asked == [1]


def test_a_process_that_fails_says_so_and_holds_no_secret(
    slow: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "executable", "/bin/false")
    with away_from_the_loop(), pytest.raises(mtls.IdentityError) as caught:
        mtls.FileSource(slow, password="a secret").load()
    assert caught.value.code == "key_derivation"
    error: BaseException | None = caught.value
    while error is not None:
        assert "a secret" not in repr(vars(error))
        assert not isinstance(error, subprocess.SubprocessError)
        error = error.__cause__ or error.__context__


def test_a_frozen_program_does_not_start_itself(
    slow: Path, monkeypatch: pytest.MonkeyPatch, children: list[list[str]]
) -> None:
    monkeypatch.setattr(sys, "frozen", True, raising=False)
    with away_from_the_loop():
        assert mtls.FileSource(slow, password="a secret").load().subject == "CN=slow"
    assert children == []
