"""`mtls doctor` and `mtls inventory`: what they print, and their exit codes."""

from __future__ import annotations

import json

import pytest

from mtls_client import Identity
from mtls_client.testing import Server
from tests.cli.conftest import Run


def test_a_good_call(mtls: Run, server: Server, identity: Identity) -> None:
    done = mtls("doctor", "--cert", "client.pem", "--cacert", "ca.pem", server.url)
    text = done.stdout.decode()
    assert (done.returncode, done.stderr) == (0, b"")
    assert text.endswith("nothing is wrong\n")
    assert identity.fingerprint in text
    assert "\x1b" not in text  # no terminal, no colour


def test_nothing_to_examine_is_not_nothing_wrong(mtls: Run) -> None:
    done = mtls("doctor")
    assert (done.returncode, done.stdout) == (2, b"")
    assert b"nothing to examine" in done.stderr


@pytest.mark.parametrize(
    ("options", "code"),
    [
        (["--cert", "expired.pem"], "identity_expired"),
        (["--cert", "locked.pem"], "password_needed"),
        (["--cert", "ca.pem"], "no_key"),
        (["--cert", "stranger.pem"], "rejected_untrusted"),
        ([], "identity_needed"),
        (["--cert", "client.pem", "--pin", "sha256/" + 43 * "A" + "="], "pin_mismatch"),
    ],
)
def test_the_first_line_names_the_cause(
    options: list[str], code: str, mtls: Run, server: Server
) -> None:
    done = mtls("doctor", *options, "--cacert", "ca.pem", server.url)
    assert done.returncode == 1
    assert f"[{code}]" in done.stdout.decode().splitlines()[0]


def test_offline_and_json(mtls: Run) -> None:
    done = mtls("doctor", "--json", "--cert", "client.p12", "--pass", "env:P", P="tops3cret")
    shown = json.loads(done.stdout)
    assert (done.returncode, shown["ok"]) == (0, True)
    assert [one["code"] for one in shown["findings"]] == ["identity_read"]
    assert b"tops3cret" not in done.stdout + done.stderr


def test_no_request(mtls: Run, server: Server) -> None:
    options = ["--cert", "client.pem", "--cacert", "ca.pem", "--no-request"]
    assert mtls("doctor", *options, server.url).returncode == 0
    assert server.calls == []


def test_a_mistake_in_the_options_is_no_finding(mtls: Run) -> None:
    done = mtls("doctor", "--key", "client.pem")
    assert (done.returncode, done.stdout) == (2, b"")


def test_an_inventory(mtls: Run, identity: Identity) -> None:
    done = mtls("inventory", ".")
    text = done.stdout.decode()
    assert (done.returncode, done.stderr) == (0, b"")
    assert "mtls --cert client.pem URL" in text
    assert "mtls --cert locked.pem --pass env:PASSWORD URL" in text
    assert "CN=expired, until 2020-01-31" in text
    for line in identity.private_key_pem().decode().splitlines():
        assert line not in text


def test_an_inventory_as_json(mtls: Run) -> None:
    done = mtls("inventory", "--json", "--pass", "env:P", ".", P="tops3cret")
    shown = json.loads(done.stdout)
    [ours] = [one for one in shown["identities"] if one["subject"] == "CN=client"]
    assert (ours["files"], ours["also"]) == (["client.p12"], ["client.pem", "locked.pem"])
    assert b"tops3cret" not in done.stdout


def test_a_folder_that_is_not_there(mtls: Run) -> None:
    done = mtls("inventory", "absent")
    assert (done.returncode, b"no such folder" in done.stderr) == (2, True)
