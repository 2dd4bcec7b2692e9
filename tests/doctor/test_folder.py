"""An inventory tells files by content, joins what belongs together, and opens files only."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.serialization import Encoding

from mtls_client import ConfigurationError, FileSource, Identity, source_from
from mtls_client.doctor import Inventory, folder, inventory
from mtls_client.testing import CA


@pytest.fixture(scope="module")
def issuing_ca() -> CA:
    return CA("Root").intermediate("Issuing")


@pytest.fixture
def client(issuing_ca: CA, tmp_path: Path) -> Identity:
    """In three files whose names say nothing."""
    made = issuing_ca.issue("client")
    save(tmp_path / "1", made.certificate.public_bytes(Encoding.PEM))
    save(tmp_path / "2", made.private_key_pem())
    save(tmp_path / "3", issuing_ca.pem)
    return made


def save(path: Path, data: bytes) -> None:
    path.write_bytes(data)
    path.chmod(0o600)


def held(found: Inventory) -> dict[str, tuple[str, ...]]:
    return {one.path: one.holds for one in found.files}


def loaded(python: str, **names: Any) -> Identity:
    """Run the line that the inventory gives."""
    made: Identity = eval(python, {"FileSource": FileSource, **names}).load()
    return made


def test_files_that_belong_together_are_one_identity(client: Identity, tmp_path: Path) -> None:
    found = inventory(tmp_path)
    [one] = found.identities
    assert (one.subject, one.files, one.locked, one.certain) == (
        "CN=client",
        ("1", "2", "3"),
        False,
        True,
    )
    identity = loaded(one.python)
    assert identity.fingerprint == client.fingerprint
    assert len(identity.chain) == 1
    uri = one.command.split("'")[1]
    assert source_from(uri).load().fingerprint == client.fingerprint
    assert [lines[0].split(",")[0] for lines in held(found).values()] == [
        "certificate CN=client",
        "private key",
        "CA certificate CN=Issuing",
    ]


def test_the_same_identity_in_another_file_is_told_so(client: Identity, tmp_path: Path) -> None:
    client.save_pkcs12(tmp_path / "0.p12", password=None)
    client.save_pem(tmp_path / "4.pem", password=None)
    [one] = inventory(tmp_path).identities
    assert (one.files, one.also) == (("0.p12",), ("4.pem",))
    assert loaded(one.python).fingerprint == client.fingerprint


def test_what_is_locked_is_told_and_opens_with_the_password(
    client: Identity, tmp_path: Path
) -> None:
    for name in ("1", "2", "3"):
        (tmp_path / name).unlink()
    client.save_pkcs12(tmp_path / "a.p12", password="word")
    client.save_pem(tmp_path / "b.pem", password="word")
    locked = inventory(tmp_path).identities
    assert [(one.subject, one.files, one.locked) for one in locked] == [
        (None, ("a.p12",), True),
        ("CN=client", ("b.pem",), True),
    ]
    assert all("--pass env:PASSWORD" in one.command for one in locked)
    [opened] = inventory(tmp_path, password="word").identities
    assert (opened.files, opened.also, opened.locked) == (("a.p12",), ("b.pem",), False)


def test_a_locked_key_is_joined_by_its_name_and_said_to_be(
    client: Identity, tmp_path: Path
) -> None:
    for name in ("1", "2", "3"):
        (tmp_path / name).unlink()
    client.save_pem(tmp_path / "c.key", password="word")
    pem = (tmp_path / "c.key").read_bytes()
    save(tmp_path / "c.key", pem[: pem.index(b"-----BEGIN CERT")])
    save(tmp_path / "c.pem", client.certificate.public_bytes(Encoding.PEM))
    save(tmp_path / "d.pem", client.certificate.public_bytes(Encoding.PEM))
    [one] = inventory(tmp_path).identities
    assert (one.files, one.locked, one.certain) == (("c.pem", "c.key"), True, False)
    line = one.python.replace("…", "'word'")
    assert loaded(line).fingerprint == client.fingerprint


def test_one_of_several_in_a_file_is_selected(issuing_ca: CA, tmp_path: Path) -> None:
    both = [issuing_ca.issue("one"), issuing_ca.issue("two")]
    save(tmp_path / "both.pem", b"".join(x.private_key_pem() + x.certificate_pem() for x in both))
    found = inventory(tmp_path).identities
    assert [loaded(one.python).fingerprint for one in found] == [x.fingerprint for x in both]
    assert all("--select" in one.command for one in found)


def test_what_is_none_of_it_is_unrelated_or_has_its_reason(
    client: Identity, tmp_path: Path
) -> None:
    save(tmp_path / "README.md", b"hello")
    save(tmp_path / "empty", b"")
    save(tmp_path / "x.jks", b"\xfe\xed\xfe\xed123")
    save(tmp_path / "cut.pem", client.certificate_pem()[:99])
    save(tmp_path / "large", b"-" * (2**20 + 1))
    found = inventory(tmp_path)
    assert found.unrelated == ("README.md", "empty", "large")
    problems = {one.path: one.problem for one in found.files if one.problem}
    assert problems.keys() == {"x.jks", "cut.pem"}
    assert "Java keystore" in (problems["x.jks"] or "")


def test_a_ca_with_its_key_is_nobodys_identity(tmp_path: Path) -> None:
    from tests.doctor.conftest import made_by_hand

    made_by_hand("My CA", ca=True).save_pem(tmp_path / "ca.pem", password=None)
    found = inventory(tmp_path)
    assert found.identities == ()
    assert held(found)["ca.pem"][0].startswith("CA certificate CN=My CA")


def test_only_regular_files_are_opened(client: Identity, tmp_path: Path) -> None:
    """A pipe would be waited for; a link to a folder could lead anywhere."""
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "device").symlink_to("/dev/zero")
    (tmp_path / "loop").symlink_to(tmp_path)
    (tmp_path / "gone").symlink_to(tmp_path / "nowhere")
    found = inventory(tmp_path)
    assert len(found.identities) == 1
    assert {"pipe", "device"} <= {*found.unrelated}
    assert not any("loop" in one.path for one in found.files)


def test_names_cannot_move_the_cursor(client: Identity, tmp_path: Path) -> None:
    save(tmp_path / "a\x1b[2Jb\u202e.pem", client.certificate_pem())
    os.rename(os.fsencode(tmp_path / "2"), os.fsencode(tmp_path) + b"/2\xff")
    found = inventory(tmp_path)
    text = json.dumps(found.to_dict(), ensure_ascii=False)
    assert "\x1b" not in text
    assert "\u202e" not in text
    text.encode()  # it can be printed


def test_a_large_folder_has_an_end(
    client: Identity, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert inventory(tmp_path).complete
    monkeypatch.setattr(folder, "_MOST_FILES", 2)
    found = inventory(tmp_path)
    assert (found.complete, [*held(found)]) == (False, ["1", "2"])


def test_no_key_is_told(client: Identity, tmp_path: Path) -> None:
    text = json.dumps(inventory(tmp_path).to_dict()) + repr(inventory(tmp_path))
    for line in client.private_key_pem().decode().splitlines():
        assert line not in text


def test_a_folder_must_be_there(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="no such folder"):
        inventory(tmp_path / "absent")
