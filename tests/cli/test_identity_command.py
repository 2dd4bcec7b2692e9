"""`mtls identity` keeps identities in a keyring, and `--identity` uses them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from mtls_client import FileSource, Identity
from mtls_client.testing import Server
from tests.cli.conftest import Run, typed


def test_list_and_show(bank: Path, mtls: Run, identity: Identity) -> None:
    done = mtls("identity", "list")
    assert (done.returncode, done.stderr) == (0, b"")
    assert done.stdout.startswith(b"bank  CN=client, until ")
    [row] = json.loads(mtls("identity", "list", "--json").stdout)
    assert (row["name"], row["sha256"]) == ("bank", identity.fingerprint)
    done = mtls("identity", "show", "bank")
    assert done.stdout.startswith(b"keyring:bank\n  identity  CN=client")
    assert b"PRIVATE" not in done.stdout
    [shown] = json.loads(mtls("identity", "show", "bank", "--json").stdout)
    assert (shown["file"], shown["keys"]) == ("keyring:bank", 1)


def test_no_identity_is_a_list_of_none(keyring: Path, mtls: Run) -> None:
    done = mtls("identity", "list")
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")
    done = mtls("identity", "show", "bank")
    assert done.returncode == 58
    assert done.stderr.splitlines() == [
        b"mtls: keyring:bank: no such identity in the keyring",
        b"hint: those that are there: mtls identity list",
    ]


def test_a_damaged_identity_is_listed_as_such(bank: Path, mtls: Run) -> None:
    mtls("identity", "import", "client.pem", "good")
    longest = max(bank.iterdir(), key=lambda path: len(path.read_text()))
    longest.write_text("x")
    done = mtls("identity", "list")
    assert done.returncode == 58
    assert b"damaged" in done.stderr
    assert done.stdout.count(b"CN=client") == 1
    rows = json.loads(mtls("identity", "list", "--json").stdout)
    assert sorted(row.get("code", "") for row in rows) == ["", "keyring_damaged"]


def test_import_replaces_only_by_force(bank: Path, mtls: Run) -> None:
    done = mtls("identity", "import", "stranger.pem", "bank")
    assert done.returncode == 58
    assert b"exists already" in done.stderr
    assert mtls("identity", "import", "stranger.pem", "bank", "--force").returncode == 0
    assert b"CN=stranger" in mtls("identity", "list").stdout


def test_import_says_that_an_identity_has_expired(keyring: Path, mtls: Run) -> None:
    done = mtls("identity", "import", "expired.pem", "old")
    assert done.returncode == 0
    assert b"expired" in done.stderr


def test_import_of_what_is_no_identity(keyring: Path, mtls: Run) -> None:
    for arguments in (["absent.pem", "bank"], ["ca.pem", "bank"], ["client.p12", "bank"]):
        assert mtls("identity", "import", *arguments).returncode == 58
    assert mtls("identity", "import", "client.pem", "a#b").returncode == 2
    assert list(keyring.iterdir()) == []


@pytest.mark.parametrize("file", ["out.p12", "out.PFX", "out.pem"])
def test_export_encrypts_and_is_readable_by_its_owner_only(
    file: str, bank: Path, mtls: Run, folder: Path, identity: Identity
) -> None:
    (folder / "word.txt").write_text("n3w\n")
    done = mtls("identity", "export", "bank", file, "--pass", "file:word.txt")
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")
    assert (folder / file).stat().st_mode & 0o777 == 0o600
    loaded = FileSource(folder / file, password="n3w").load()
    assert loaded.fingerprint == identity.fingerprint
    assert (b"ENCRYPTED" in (folder / file).read_bytes()) == (file == "out.pem")


def test_export_unencrypted_must_be_said(
    bank: Path, mtls: Run, folder: Path, identity: Identity
) -> None:
    done = mtls("identity", "export", "bank", "out.pem")
    assert done.returncode == 2
    assert b"--no-encryption" in done.stderr
    assert not (folder / "out.pem").exists()
    assert mtls("identity", "export", "bank", "out.pem", "--no-encryption").returncode == 0
    assert FileSource(folder / "out.pem").load().fingerprint == identity.fingerprint


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["export", "bank", "client.pem", "--no-encryption"], 23, b"exists already"),
        (["export", "bank", "out.jks", "--no-encryption"], 2, b"not the name of"),
        (["export", "bank", "out.pem", "--no-encryption", "--pass", "env:P"], 2, b"contradict"),
        (["export", "bank", "out.pem", "--pass", "env:EMPTY"], 2, b"1 to 1023 bytes"),
        (["export", "bank", "out.pem", "--pass", "file:absent"], 2, b"no such file"),
        (["export", "bank", "out.pem", "--pass", "tops3cret"], 2, b"seen by every user"),
        (["export", "bank", "absent/out.pem", "--no-encryption"], 23, b"cannot be written"),
        (["export", "other", "out.pem", "--no-encryption"], 58, b"no such identity"),
        (["delete", "bank"], 2, b"--yes"),
        (["delete", "other", "--yes"], 58, b"no such identity"),
        (["nonsense"], 2, b"no such command"),
        ([], 2, b"missing command"),
    ],
)
def test_what_is_refused(
    arguments: list[str], code: int, words: bytes, bank: Path, mtls: Run
) -> None:
    done = mtls("identity", *arguments, EMPTY="")
    assert done.returncode == code
    assert words in done.stderr
    assert b"Traceback" not in done.stderr
    assert b"bank" in mtls("identity", "list").stdout


def test_export_replaces_by_force(bank: Path, mtls: Run, folder: Path) -> None:
    done = mtls("identity", "export", "bank", "stranger.pem", "--no-encryption", "--force")
    assert done.returncode == 0
    assert FileSource(folder / "stranger.pem").load().subject == "CN=client"


def test_delete_leaves_nothing(bank: Path, mtls: Run) -> None:
    assert mtls("identity", "delete", "bank", "--yes").returncode == 0
    assert mtls("identity", "list").stdout == b""
    assert len(list(bank.iterdir())) == 1  # the index


def test_a_person_is_asked(bank: Path, mtls: Run, folder: Path) -> None:
    arguments = ["identity", "export", "bank", "asked.p12"]
    code, shown = typed(folder, arguments, [b"word\n", b"word\n"])
    assert (code, b"word\n" in shown) == (0, False)
    assert FileSource(folder / "asked.p12", password="word").load().subject == "CN=client"
    code, shown = typed(folder, ["identity", "delete", "bank"], [b"n\n"])
    assert (code, b"delete keyring:bank and its private key?" in shown) == (130, True)
    assert b"bank" in mtls("identity", "list").stdout
    assert typed(folder, ["identity", "delete", "bank"], [b"y\n"])[0] == 0
    assert mtls("identity", "list").stdout == b""


def test_what_import_prints_is_what_identity_takes(
    keyring: Path, mtls: Run, server: Server
) -> None:
    done = mtls("identity", "import", "client.pem", "100% a/b")
    uri = done.stdout.decode().partition("  ")[0]
    assert uri == "keyring:100%25 a%2Fb"
    assert mtls("--identity", uri, "--cacert", "ca.pem", server.url).returncode == 0


def test_no_keyring_is_told_with_what_to_do(keyring: Path, mtls: Run) -> None:
    done = mtls("identity", "list", PYTHON_KEYRING_BACKEND="keyring.backends.fail.Keyring")
    assert done.returncode == 58
    assert done.stderr.startswith(b"mtls: this session has no keyring service\nhint: install")


def test_a_call_with_an_identity_of_the_keyring(bank: Path, mtls: Run, server: Server) -> None:
    arguments = ("--identity", "keyring:bank", "--cacert", "ca.pem", server.url)
    done = mtls(*arguments)
    assert (done.returncode, done.stderr) == (0, b"")
    assert json.loads(done.stdout)["subject"] == "client"
    for option in ("--cert", "--key"):
        done = mtls(*arguments, option, "client.pem")
        assert done.returncode == 2
        assert b"in the place of --cert" in done.stderr
    done = mtls("--identity", "keyring:other", "--cacert", "ca.pem", server.url)
    assert (done.returncode, b"no such identity" in done.stderr) == (58, True)
