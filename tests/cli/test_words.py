"""`mtls show`, `mtls pins` and `mtls demo` tell the truth and no secret."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from mtls_client import Identity, Pin
from mtls_client.testing import CA, Server
from tests.cli.conftest import Run


def test_show_prints_what_is_in_a_file(mtls: Run, identity: Identity, ca: CA) -> None:
    done = mtls("show", "client.pem")
    text = done.stdout.decode()
    assert (done.returncode, done.stderr) == (0, b"")
    assert "identity  CN=client" in text
    assert identity.fingerprint in text
    assert identity.pin in text
    assert "22 hours left" in text or "23 hours left" in text
    assert "CA  CN=Test CA" in text


@pytest.mark.parametrize("file", ["client.pem", "locked.pem", "client.p12"])
def test_show_never_prints_a_key(file: str, mtls: Run, identity: Identity) -> None:
    for options in ([], ["--json"]):
        done = mtls("show", "--pass", "env:P", *options, file, P="tops3cret")
        assert done.returncode == 0
        for line in identity.private_key_pem().splitlines()[1:-1]:
            assert line[:30] not in done.stdout + done.stderr
        assert b"PRIVATE" not in done.stdout + done.stderr
        assert b"tops3cret" not in done.stdout + done.stderr


def test_show_prints_the_certificates_of_a_locked_pem(mtls: Run) -> None:
    done = mtls("show", "locked.pem")
    assert done.returncode == 0
    assert b"certificate  CN=client" in done.stdout


def test_show_prints_json(mtls: Run, identity: Identity) -> None:
    [shown] = json.loads(mtls("show", "--json", "client.pem").stdout)
    assert shown["file"] == "client.pem"
    assert shown["keys"] == 1
    [leaf, root] = shown["certificates"]
    assert (leaf["role"], leaf["pin"], leaf["client_authentication"]) == (
        "identity",
        identity.pin,
        True,
    )
    assert root["role"] == "CA"


def test_show_goes_on_after_a_file_it_cannot_read(mtls: Run) -> None:
    done = mtls("show", "absent.pem", "client.p12", "client.pem")
    assert done.returncode == 58
    assert b"absent.pem: no such file" in done.stderr
    assert b"client.p12" in done.stderr
    assert b"identity  CN=client" in done.stdout
    codes = [one.get("code") for one in json.loads(mtls("show", "--json", "absent.pem").stdout)]
    assert codes == ["identity_not_found"]


def test_pins_of_a_server_are_those_of_its_verified_chain(
    mtls: Run, server: Server, server_identity: Identity, ca: CA
) -> None:
    done = mtls("pins", "--cacert", "ca.pem", f"localhost:{server.port}")
    assert done.returncode == 0
    lines = done.stdout.decode().splitlines()
    assert [line.split("  # ")[0] for line in lines] == [
        server_identity.pin,
        str(Pin.from_certificate(ca.pem)),
    ]
    unverified = mtls("pins", f"localhost:{server.port}")
    assert (unverified.returncode, unverified.stdout) == (60, b"")


def test_pins_of_a_file(mtls: Run, ca: CA, folder: Path) -> None:
    expected = str(Pin.from_certificate(ca.pem)).encode()
    assert mtls("pins", "ca.pem").stdout.startswith(expected + b"  # CN=Test CA, until ")
    done = mtls("pins", "absent.example.invalid")
    assert (done.returncode, done.stdout) == (6, b"")


def test_the_demo_goes_as_told(mtls: Run) -> None:
    done = mtls("demo")
    text = done.stdout.decode()
    assert done.returncode == 0
    assert "the server saw CN=demo-client" in text
    for name in ("IdentityRejectedError", "IdentityExpiredError", "PinMismatchError"):
        assert name in text
    assert re.search(r"\d+ requests, 0 failed; the server saw \d+ certificates", text)
    assert "all went as told" in text
