"""Keys made by plain openssl commands, as tutorials make them: explained, and accepted if asked."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

import mtls_client as mtls
from mtls_client import FileSource, Trust
from tests.clients import KINDS, fetch
from tests.components import require
from tests.servers.processes import free_port, running

# a CA whose keyUsage nobody asked for, and certificates without extensions (X.509 v1)
COMMANDS = """
openssl genrsa -out ca.key 2048
openssl req -x509 -new -nodes -key ca.key -sha256 -days 3650 -out ca.pem -subj /CN=My-CA
openssl genrsa -out server.key 2048
openssl req -new -key server.key -out server.csr -subj /CN=localhost
openssl x509 -req -in server.csr -CA ca.pem -CAkey ca.key -CAcreateserial -out nosan.pem -days 365
openssl x509 -req -in server.csr -CA ca.pem -CAkey ca.key -out server.pem -days 365 -extfile san.ext
openssl genrsa -out client.key 2048
openssl req -new -key client.key -out client.csr -subj /CN=my-client
openssl x509 -req -in client.csr -CA ca.pem -CAkey ca.key -out client.pem -days 365
"""


@pytest.fixture(scope="module")
def tutorial(tmp_path_factory: pytest.TempPathFactory) -> Path:
    openssl = require("openssl", "apt-get install openssl")
    folder = tmp_path_factory.mktemp("tutorial")
    (folder / "san.ext").write_text("subjectAltName=DNS:localhost\n")
    for line in COMMANDS.strip().splitlines():
        subprocess.run(
            [openssl, *line.split()[1:]], cwd=folder, check=True, capture_output=True, timeout=60
        )
    (folder / "client.key").chmod(0o600)
    return folder


@pytest.fixture(scope="module")
def server(tutorial: Path, fastify_app: list[str]) -> Iterator[str]:
    port = free_port()
    with running([*fastify_app, str(port), str(tutorial)], tutorial, [port]):
        yield f"https://localhost:{port}"


@pytest.mark.parametrize("kind", KINDS)
def test_a_tutorial_ca_is_refused_with_the_command_to_reissue_it(
    kind: str, tutorial: Path, server: str
) -> None:
    """The same on 3.11, 3.12 and 3.13, which differ by themselves."""
    source = FileSource(tutorial / "client.pem", tutorial / "client.key")
    with pytest.raises(mtls.UntrustedServerError) as caught:
        fetch(kind, source, server, trust=Trust.from_file(tutorial / "ca.pem"))
    error = caught.value
    assert error.code == "server_legacy_ca"
    assert error.verify_code in (92, 85)
    assert error.hint is not None
    assert "reissue" in error.hint
    assert "openssl" in error.hint or "extension file" in error.hint
    assert "allow_legacy_ca=True" in error.hint


@pytest.mark.parametrize("kind", KINDS)
def test_a_tutorial_ca_is_accepted_if_asked(kind: str, tutorial: Path, server: str) -> None:
    source = FileSource(tutorial / "client.pem", tutorial / "client.key")
    trust = Trust.from_file(tutorial / "ca.pem", allow_legacy_ca=True)
    assert fetch(kind, source, server, trust=trust).json()["subject"] == "my-client"


@pytest.mark.parametrize("kind", KINDS)
def test_a_certificate_without_names_stays_refused(
    kind: str, tutorial: Path, fastify_app: list[str], tmp_path: Path
) -> None:
    """`allow_legacy_ca` forgives the form of the CA and nothing else."""
    for name in ("ca.pem", "server.key"):
        (tmp_path / name).write_bytes((tutorial / name).read_bytes())
    (tmp_path / "server.pem").write_bytes((tutorial / "nosan.pem").read_bytes())
    source = FileSource(tutorial / "client.pem", tutorial / "client.key")
    trust = Trust.from_file(tutorial / "ca.pem", allow_legacy_ca=True)
    port = free_port()
    with running([*fastify_app, str(port), str(tmp_path)], tmp_path, [port]):
        with pytest.raises(mtls.HostnameMismatchError, match="common name does not count"):
            fetch(kind, source, f"https://localhost:{port}", trust=trust)
