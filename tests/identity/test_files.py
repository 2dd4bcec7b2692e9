"""Identities in files: several of them, their permissions, and files that cannot be read."""

from __future__ import annotations

import os
import re
import tempfile
import warnings
from pathlib import Path

import pytest

import mtls_client as mtls
from mtls_client import FileSource, Source
from mtls_client._os import files as disk
from mtls_client.identity import IdentityWarning
from tests.identity.conftest import PASSWORD, Files
from tests.identity.secrecy import assert_silent


def test_one_file_with_everything(rsa: Files, tmp_path: Path) -> None:
    path = tmp_path / "all.pem"
    rsa.identity.save_pem(path, password=None)
    source = FileSource(path)
    assert isinstance(source, Source)
    assert source.load().chain == rsa.identity.chain


def test_several_files(rsa: Files) -> None:
    for chain in (rsa.chain, str(rsa.chain), [rsa.chain, rsa.path("root.pem")]):
        loaded = FileSource(rsa.certificate, rsa.key, chain=chain).load()
        assert loaded.fingerprint == rsa.identity.fingerprint
        assert loaded.chain == rsa.identity.chain
    assert FileSource(str(rsa.certificate), str(rsa.key)).load().chain == ()


def test_certificate_and_key_given_in_reverse(rsa: Files) -> None:
    assert FileSource(rsa.key, rsa.certificate).load().subject == rsa.identity.subject


def test_the_key_that_was_named_is_the_one_that_counts(
    rsa: Files, ec: Files, tmp_path: Path
) -> None:
    """Even if the certificate's file holds the right one."""
    both = tmp_path / "both.pem"
    rsa.identity.save_pem(both, password=None)
    with pytest.raises(mtls.KeyMismatchError) as caught:
        FileSource(both, ec.key).load()
    assert f"{both}, {ec.key}: the private key does not belong" in str(caught.value)


def test_a_certificate_of_the_chain_file_is_never_ours(
    rsa: Files, ec: Files, tmp_path: Path
) -> None:
    other = tmp_path / "other.pem"
    ec.identity.save_pem(other, password=None)
    loaded = FileSource(rsa.certificate, rsa.key, chain=[other, rsa.chain]).load()
    assert loaded.fingerprint == rsa.identity.fingerprint
    assert loaded.notes == ("not part of the chain: CN=client-ec",)


def test_each_load_reads_the_files_again(rsa: Files, ec: Files, tmp_path: Path) -> None:
    path = tmp_path / "current.pem"
    source = FileSource(path)
    for files in (rsa, ec):
        files.identity.save_pem(path, password=None)
        assert source.load().fingerprint == files.identity.fingerprint


def test_its_repr_names_the_files_and_no_password(rsa: Files) -> None:
    source = FileSource("client.pem", "client.key", password=PASSWORD, chain="ca.pem")
    assert repr(source) == "FileSource('client.pem', 'client.key', 'ca.pem')"


@pytest.mark.parametrize(
    ("make", "kind", "code", "said"),
    [
        (lambda path: None, mtls.IdentityNotFoundError, "identity_not_found", "no such file"),
        (Path.mkdir, mtls.IdentityFormatError, "identity_folder", "a folder"),
        (Path.touch, mtls.IdentityFormatError, "empty", "the file is empty"),
        (
            lambda path: path.write_bytes(b"\0" * (disk.LARGEST + 1)),
            mtls.IdentityFormatError,
            "identity_too_large",
            "larger than 16 MiB",
        ),
        (
            lambda path: path.symlink_to(path),
            mtls.IdentityError,
            "identity_unreadable",
            "cannot be read",
        ),
    ],
    ids=["missing", "folder", "empty", "huge", "circular link"],
)
def test_a_file_that_cannot_be_read(
    make: object, kind: type[mtls.IdentityError], code: str, said: str, tmp_path: Path
) -> None:
    assert callable(make)
    path = tmp_path / "client.pem"
    make(path)
    with pytest.raises(kind, match=f"^{re.escape(str(path))}: {said}") as caught:
        FileSource(path).load()
    assert caught.value.code == code
    assert caught.value.hint
    assert_silent(caught.value)


def test_a_file_that_may_not_be_read() -> None:
    """As nobody, where the tests run as root, who may read everything."""
    us = os.geteuid()
    with tempfile.TemporaryDirectory() as folder:
        os.chmod(folder, 0o755)
        path = Path(folder) / "client.pem"
        path.touch(0o000)
        if us == 0:
            os.seteuid(65534)
        try:
            with pytest.raises(mtls.IdentityError) as caught:
                FileSource(path).load()
        finally:
            os.seteuid(us)
    assert caught.value.code == "identity_unreadable"


@pytest.mark.parametrize("content", [b"\x30\x03\x02", b"\xfe\xed\xfe\xed", b"hello"])
def test_an_error_names_the_file(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "it's here.pem"
    path.write_bytes(content)
    with pytest.raises(mtls.IdentityFormatError, match=re.escape(str(path))) as caught:
        FileSource(path).load()
    assert "FILE" not in (caught.value.hint or "")


needs_permissions = pytest.mark.skipif(os.name != "posix", reason="no permissions on Windows")


@pytest.fixture(params=[0o640, 0o604, 0o620])
def open_key(request: pytest.FixtureRequest, rsa: Files, tmp_path: Path) -> Path:
    path = tmp_path / "the client.key"
    path.write_bytes(rsa.key.read_bytes())
    path.chmod(request.param)
    return path


@needs_permissions
def test_a_key_open_to_others_is_warned_of(open_key: Path, rsa: Files) -> None:
    with pytest.warns(IdentityWarning, match=f"chmod 600 '{open_key}'") as caught:
        FileSource(rsa.certificate, open_key).load()
    assert [one.filename for one in caught] == [__file__]


@needs_permissions
def test_or_refused_on_request(open_key: Path, rsa: Files) -> None:
    with pytest.raises(mtls.IdentityError, match="the group or others") as caught:
        FileSource(rsa.certificate, open_key, strict_permissions=True).load()
    assert (caught.value.code, caught.value.hint) == ("key_permissions", f"chmod 600 '{open_key}'")


@needs_permissions
def test_the_target_of_a_link_is_what_counts(rsa: Files, tmp_path: Path) -> None:
    target, link = tmp_path / "target.key", tmp_path / "link.key"
    target.write_bytes(rsa.key.read_bytes())
    link.symlink_to(target)
    assert link.lstat().st_mode & 0o777 == 0o777
    target.chmod(0o600)
    FileSource(rsa.certificate, link, strict_permissions=True).load()
    target.chmod(0o644)
    with pytest.raises(mtls.IdentityError) as caught:
        FileSource(rsa.certificate, link, strict_permissions=True).load()
    assert caught.value.code == "key_permissions"


@needs_permissions
@pytest.mark.parametrize(("password", "warned"), [(PASSWORD, False), (None, True)])
@pytest.mark.parametrize("form", ["pem", "pkcs12"])
def test_only_a_key_that_nothing_protects_is_warned_of(
    form: str, password: str | None, warned: bool, rsa: Files, tmp_path: Path
) -> None:
    path = tmp_path / "all"
    {"pem": rsa.identity.save_pem, "pkcs12": rsa.identity.save_pkcs12}[form](
        path, password=password
    )
    path.chmod(0o644)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        FileSource(path, password=password).load()
    assert [one.category for one in caught] == [IdentityWarning] * warned


@needs_permissions
def test_certificates_may_be_open_to_everybody(rsa: Files, tmp_path: Path) -> None:
    path = tmp_path / "client.pem"
    path.write_bytes(rsa.certificate.read_bytes())
    path.chmod(0o666)
    FileSource(path, rsa.key, strict_permissions=True).load()


def test_a_file_is_replaced_as_a_whole(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"old")
    path.chmod(0o644)
    before = path.open("rb")
    disk.replace(path, b"new")
    with before:
        assert before.read() == b"old"  # who reads it meanwhile sees one or the other
    assert path.read_bytes() == b"new"
    assert path.stat().st_mode & 0o777 == 0o600
    assert list(tmp_path.iterdir()) == [path]


def test_a_link_to_a_file_stays_a_link(tmp_path: Path) -> None:
    target, link = tmp_path / "target", tmp_path / "link"
    target.write_bytes(b"old")
    link.symlink_to(target)
    disk.replace(link, b"new")
    assert link.is_symlink()
    assert target.read_bytes() == b"new"


def test_a_failed_write_leaves_the_old_file_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"old")

    def full(_descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        disk.replace(path, b"new")
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]
