"""A renewed identity takes the place of the old one, and of nothing else."""

from __future__ import annotations

import contextlib
import os
import resource
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, pkcs7

import mtls_client as mtls
from mtls_client._formats.writing import encoded_key
from mtls_client._os import files
from mtls_client.sources import Savable
from mtls_client.testing import CA
from tests.renewal.layouts import LAYOUTS, PASSWORD, Layout, one_pem, pair

every_layout = pytest.mark.parametrize("layout", LAYOUTS.values(), ids=LAYOUTS)


@pytest.fixture(scope="module")
def issuers() -> list[CA]:
    """Two intermediates of one CA: a renewed certificate may come from another issuer."""
    root = CA("Root")
    return [root.intermediate("First"), root.intermediate("Second")]


@contextlib.contextmanager
def somebody() -> Iterator[None]:
    """Be nobody for a while, as far as the kernel's checks go."""
    os.setegid(65533)
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)
        os.setegid(0)


def loaded(source: Savable) -> mtls.Identity:
    assert isinstance(source, mtls.Source)
    return source.load()


@every_layout
def test_what_is_saved_is_loaded_again_and_again(
    layout: Layout, issuers: list[CA], tmp_path: Path
) -> None:
    """Through changes of the key's kind and of the issuer; format and names stay."""
    source = layout(tmp_path, issuers[0].issue("client"))
    names = {path.name for path in tmp_path.iterdir()}
    starts = {path.name: path.read_bytes()[:1] for path in tmp_path.iterdir()}
    for issuer, kind in ((issuers[1], "rsa"), (issuers[0], "ed25519"), (issuers[0], "ec")):
        new = issuer.issue("client", key=kind)
        source.check_savable()
        source.save(new)
        found = loaded(source)
        assert found.fingerprint == new.fingerprint
        assert found.private_key_pem() == new.private_key_pem()
        if layout is not LAYOUTS["der_pair"]:  # a DER file holds one certificate
            assert found.certificate_pem() == new.certificate_pem()
    assert {path.name for path in tmp_path.iterdir()} == names
    assert {path.name: path.read_bytes()[:1] for path in tmp_path.iterdir()} == starts


@every_layout
def test_the_old_key_is_gone_and_the_new_one_alone_is_there(
    layout: Layout, issuers: list[CA], tmp_path: Path
) -> None:
    old, new = issuers[0].issue("client"), issuers[0].issue("client")
    source = layout(tmp_path, old)
    source.save(new)
    content = b"".join(path.read_bytes() for path in tmp_path.iterdir())
    assert content.count(b"PRIVATE KEY-----\n") <= 2, "one key: its BEGIN and its END"
    assert old.private_key_pem() not in content


@pytest.mark.parametrize("name", ["one_encrypted_pem", "pkcs12", "encrypted_pair"])
def test_what_was_encrypted_stays_so_under_the_same_password(
    name: str, issuers: list[CA], tmp_path: Path
) -> None:
    source = LAYOUTS[name](tmp_path, issuers[0].issue("client"))
    new = issuers[0].issue("client")
    source.save(new)
    raw = encoded_key(new.private_key, None, Encoding.DER)
    for path in tmp_path.iterdir():
        data = path.read_bytes()
        assert b"BEGIN PRIVATE KEY" not in data
        assert raw not in data
    keys = [path for path in tmp_path.iterdir() if path.suffix in (".pem", ".key", ".p12")]
    with pytest.raises(mtls.PasswordError):
        mtls.FileSource(keys[0], password="another").load()


def test_owner_group_and_permissions_stay(issuers: list[CA], tmp_path: Path) -> None:
    source = pair(tmp_path, issuers[0].issue("client"))
    os.chmod(tmp_path / "client.key", 0o640)
    if os.geteuid() == 0:
        os.chown(tmp_path / "client.key", 65534, 65533)
    before = {path.name: path.stat() for path in tmp_path.iterdir()}
    source.save(issuers[0].issue("client"))
    for path in tmp_path.iterdir():
        was, now = before[path.name], path.stat()
        assert (was.st_mode, was.st_uid, was.st_gid) == (now.st_mode, now.st_uid, now.st_gid)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
def test_permissions_of_a_group_that_cannot_be_kept_are_given_to_no_other(
    issuers: list[CA], tmp_path: Path
) -> None:
    source = one_pem(tmp_path, issuers[0].issue("client"))
    os.chmod(tmp_path / "client.pem", 0o640)
    os.chown(tmp_path / "client.pem", 65534, 0)
    for folder in (tmp_path, *tmp_path.parents[:3]):
        os.chmod(folder, 0o777)
    with somebody():
        source.save(issuers[0].issue("client"))
    assert (tmp_path / "client.pem").stat().st_mode & 0o777 == 0o600


def test_a_symbolic_link_stays_one(issuers: list[CA], tmp_path: Path) -> None:
    source = one_pem(tmp_path, issuers[0].issue("client"))
    (tmp_path / "link.pem").symlink_to("client.pem")
    new = issuers[0].issue("client")
    linked = mtls.FileSource(tmp_path / "link.pem")
    linked.save(new)
    assert (tmp_path / "link.pem").is_symlink()
    assert source.load().fingerprint == new.fingerprint
    assert linked.lock == source.lock, "whoever renews it, by either name, takes the same lock"


@pytest.mark.parametrize("other", ["link", "relative"])
def test_one_file_by_two_names_is_written_once(
    other: str, issuers: list[CA], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not first as the certificate's file, and then without it as the key's."""
    one_pem(tmp_path, issuers[0].issue("client"))
    (tmp_path / "client.key").symlink_to("client.pem")
    monkeypatch.chdir(tmp_path)
    key = {"link": tmp_path / "client.key", "relative": Path("client.pem")}[other]
    source, new = mtls.FileSource(tmp_path / "client.pem", key), issuers[0].issue("client")
    source.save(new)
    assert source.load().fingerprint == new.fingerprint
    assert source.load().certificate_pem() == new.certificate_pem()


def test_attempts_that_fail_half_way_do_not_pile_up_keys(
    issuers: list[CA], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, new = pair(tmp_path, issuers[0].issue("client")), issuers[0].issue("client")
    replace = files.replace

    def full(path: Path, data: bytes, **options: Any) -> None:
        if path.suffix == ".crt":
            raise OSError(28, "No space left on device", str(path))
        replace(path, data, **options)

    with monkeypatch.context() as patch:
        patch.setattr(files, "replace", full)
        for _ in range(3):
            with pytest.raises(mtls.IdentityError):
                source.save(new)
    key = tmp_path / "client.key"
    assert key.read_bytes().count(b"BEGIN PRIVATE KEY") == 2, "the old one and the new one"
    source.save(new)
    assert key.read_bytes() == new.private_key_pem()


def test_a_folder_and_the_files_in_it_have_the_same_lock(issuers: list[CA], tmp_path: Path) -> None:
    folder = LAYOUTS["kubernetes_names"](tmp_path, issuers[0].issue("client"))
    named = mtls.FileSource(tmp_path / "tls.crt", tmp_path / "tls.key")
    assert folder.lock == named.lock


def test_other_certificates_and_keys_in_the_file_stay(issuers: list[CA], tmp_path: Path) -> None:
    other_ca, other_key = CA("Other"), ec.generate_private_key(ec.SECP256R1())
    source = one_pem(tmp_path, issuers[0].issue("client"))
    stray = encoded_key(other_key, None)
    with (tmp_path / "client.pem").open("ab") as file:
        file.write(other_ca.pem + stray)
    for _ in range(2):
        new = issuers[1].issue("client")
        source.save(new)
        data = (tmp_path / "client.pem").read_bytes()
        assert (data.count(other_ca.pem), data.count(stray)) == (1, 1)
        assert data.count(b"BEGIN PRIVATE KEY") == 2
        assert source.load().fingerprint == new.fingerprint


def test_a_file_that_is_replaced_while_it_is_loaded_is_read_again(
    issuers: list[CA], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The key that is read is that of the new certificate, and the certificate was the old one."""
    source, new = pair(tmp_path, issuers[0].issue("client")), issuers[0].issue("client")
    read = mtls.FileSource._read

    def between(self: mtls.FileSource, path: Path, *rest: object) -> object:
        found = read(self, path, *rest)  # type: ignore[arg-type]
        if path.name == "client.crt":
            monkeypatch.setattr(mtls.FileSource, "_read", read)
            source.save(new)
        return found

    monkeypatch.setattr(mtls.FileSource, "_read", between)
    assert source.load().fingerprint == new.fingerprint


def refusal(source: Savable, new: mtls.Identity) -> str:
    """Return why both the check and the attempt are refused, with what was there untouched."""
    folder = source.lock.parent if isinstance(source.lock, Path) else Path()
    before = {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}
    with pytest.raises(mtls.IdentityError) as told:
        source.check_savable()
    with pytest.raises(mtls.IdentityError):
        source.save(new)
    after = {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}
    assert before == after
    assert told.value.code == "not_savable"
    assert told.value.hint
    return str(told.value.args[0])


def test_several_identities_in_a_file_are_not_lost(issuers: list[CA], tmp_path: Path) -> None:
    one_pem(tmp_path, issuers[0].issue("client"))
    other = issuers[0].issue("other")
    with (tmp_path / "client.pem").open("ab") as file:
        file.write(other.certificate_pem() + other.private_key_pem())
    source = mtls.FileSource(tmp_path / "client.pem", select="client")
    assert "several identities" in refusal(source, issuers[0].issue("client"))


def test_what_is_no_certificate_or_key_is_not_lost(issuers: list[CA], tmp_path: Path) -> None:
    source = one_pem(tmp_path, issuers[0].issue("client"))
    source.check_savable()
    with (tmp_path / "client.pem").open("ab") as file:
        file.write(issuers[0].crl())
    assert "more than certificates and keys" in refusal(source, issuers[0].issue("client"))


def test_a_format_that_is_only_read_is_left_alone(issuers: list[CA], tmp_path: Path) -> None:
    old = issuers[0].issue("client")
    (tmp_path / "client.p7b").write_bytes(
        pkcs7.serialize_certificates([old.certificate, *old.chain], Encoding.PEM)
    )
    (tmp_path / "client.key").touch(0o600)
    (tmp_path / "client.key").write_bytes(old.private_key_pem())
    source = mtls.FileSource(tmp_path / "client.p7b", tmp_path / "client.key")
    assert "only read" in refusal(source, issuers[0].issue("client"))


def test_a_selection_by_fingerprint_cannot_follow(issuers: list[CA], tmp_path: Path) -> None:
    old = issuers[0].issue("client")
    one_pem(tmp_path, old)
    source = mtls.FileSource(tmp_path / "client.pem", select=old.fingerprint)
    assert "fingerprint" in refusal_at_check(source)
    with pytest.raises(mtls.IdentityError):
        source.save(issuers[0].issue("client"))
    assert source.load().fingerprint == old.fingerprint


def test_another_subject_than_the_selected_one_is_not_written(
    issuers: list[CA], tmp_path: Path
) -> None:
    one_pem(tmp_path, issuers[0].issue("client"))
    source = mtls.FileSource(tmp_path / "client.pem", select="client")
    source.check_savable()
    source.save(renewed := issuers[0].issue("client"))
    with pytest.raises(mtls.IdentityError):
        source.save(issuers[0].issue("somebody else"))
    assert source.load().fingerprint == renewed.fingerprint


def refusal_at_check(source: Savable) -> str:
    with pytest.raises(mtls.IdentityError) as told:
        source.check_savable()
    assert told.value.code == "not_savable"
    return str(told.value.args[0])


def test_a_folder_that_kubelet_replaces_is_left_to_it(issuers: list[CA], tmp_path: Path) -> None:
    version = tmp_path / "..2026_01_01"
    version.mkdir()
    LAYOUTS["kubernetes_names"](version, issuers[0].issue("client"))
    (tmp_path / "..data").symlink_to(version.name)
    for name in ("tls.crt", "tls.key", "ca.crt"):
        (tmp_path / name).symlink_to(f"..data/{name}")
    assert "another tool" in refusal(mtls.DirectorySource(tmp_path), issuers[0].issue("client"))


def test_a_folder_of_links_is_left_to_certbot(issuers: list[CA], tmp_path: Path) -> None:
    archive, live = tmp_path / "archive", tmp_path / "live"
    archive.mkdir()
    live.mkdir()
    LAYOUTS["certbot_names"](archive, issuers[0].issue("client"))
    for path in archive.iterdir():
        (live / path.name).symlink_to(path)
    assert "another tool" in refusal(mtls.DirectorySource(live), issuers[0].issue("client"))


def test_a_folder_with_the_identity_twice_is_not_torn(issuers: list[CA], tmp_path: Path) -> None:
    old = issuers[0].issue("client")
    LAYOUTS["certbot_names"](tmp_path, old)
    (tmp_path / "fullchain.pem").write_bytes(old.certificate_pem())
    said = refusal(mtls.DirectorySource(tmp_path), issuers[0].issue("client"))
    assert "2 times" in said


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
def test_a_folder_that_may_not_be_written_is_known_before(
    issuers: list[CA], tmp_path: Path
) -> None:
    source = one_pem(tmp_path, issuers[0].issue("client"))
    os.chmod(tmp_path / "client.pem", 0o644)
    for folder in (tmp_path, *tmp_path.parents[:3]):
        os.chmod(folder, 0o755)
    with somebody():
        assert "may not be written to" in refusal_at_check(source)
    os.chmod(tmp_path, 0o777)
    with somebody():
        source.check_savable()


@every_layout
def test_a_disk_that_is_full_leaves_the_old_identity(
    layout: Layout, issuers: list[CA], tmp_path: Path
) -> None:
    old, new = issuers[0].issue("client"), issuers[0].issue("client")
    source = layout(tmp_path, old)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (64, limits[1]))
    try:
        with pytest.raises(mtls.IdentityError) as caught:
            source.save(new)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert caught.value.code == "save_failed"
    assert loaded(source).fingerprint == old.fingerprint
    source.save(new)
    assert loaded(source).fingerprint == new.fingerprint


def test_what_a_dead_process_has_left_is_removed_after_an_hour(
    issuers: list[CA], tmp_path: Path
) -> None:
    source = one_pem(tmp_path, issuers[0].issue("client"))
    old = tmp_path / ".client.pem.abcd1234.mtls-client"
    recent = tmp_path / ".client.pem.wxyz6789.mtls-client"
    backup = tmp_path / ".client.pem.20250131"
    for path in (old, recent, backup):
        path.write_bytes(b"half a key")
    for path in (old, backup):
        os.utime(path, (1, 1))
    source.save(issuers[0].issue("client"))
    assert not old.exists()
    assert recent.exists(), "somebody may be writing it"
    assert backup.exists(), "it is somebody's own"


def test_a_file_that_is_exchanged_meanwhile_opens_the_new_key_to_nobody(
    issuers: list[CA], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever may write to the folder cannot so come to read what may be read by its owner."""
    source, replace = pair(tmp_path, issuers[0].issue("client")), files.replace

    def exchanged(path: Path, data: bytes, **options: Any) -> None:
        path.unlink()
        path.touch()
        path.chmod(0o666)
        replace(path, data, **options)

    monkeypatch.setattr(files, "replace", exchanged)
    source.save(issuers[0].issue("client"))
    assert (tmp_path / "client.key").stat().st_mode & 0o777 == 0o600


def test_the_password_is_in_no_error(issuers: list[CA], tmp_path: Path) -> None:
    source = LAYOUTS["encrypted_pair"](tmp_path, issuers[0].issue("client"))
    (tmp_path / "client.crt").write_bytes(b"-----BEGIN X509 CRL-----\n-----END X509 CRL-----\n")
    with pytest.raises(mtls.IdentityError) as caught:
        source.save(issuers[0].issue("client"))
    assert PASSWORD not in str(caught.value)
