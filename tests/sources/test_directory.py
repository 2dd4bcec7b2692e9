"""Identities in folders: the names of many tools, and folders that change while they are read."""

from __future__ import annotations

import itertools
import os
import shutil
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import Encoding
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import mtls_client as mtls
from mtls_client import DirectorySource, FileSource, Identity, Source
from mtls_client._os import files as disk
from mtls_client.identity import IdentityWarning
from mtls_client.sources import Watchable
from mtls_client.testing import CA
from tests.identity.secrecy import assert_silent


def put(folder: Path, **content: bytes) -> Path:
    """Write files that only their owner may read."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, data in content.items():
        path = folder / name
        path.write_bytes(data)
        path.chmod(0o600)
    return folder


@pytest.fixture(scope="module")
def issuing() -> CA:
    return CA("Root of folders").intermediate("Issuing of folders")


@pytest.fixture(scope="module")
def one(issuing: CA) -> Identity:
    return issuing.issue("one")


@pytest.fixture(scope="module")
def two(issuing: CA) -> Identity:
    return issuing.issue("two")


def leaf(identity: Identity) -> bytes:
    return identity.certificate.public_bytes(Encoding.PEM)


def pair(certificate: str, key: str, identity: Identity) -> dict[str, bytes]:
    return {certificate: leaf(identity), key: identity.private_key_pem()}


PAIRS = [
    ("tls.crt", "tls.key", "ca.crt"),
    ("fullchain.pem", "privkey.pem", None),
    ("cert.pem", "privkey.pem", None),
    ("svid.pem", "svid_key.pem", "svid_bundle.pem"),
    ("svid.pem", "svid.key", "bundle.pem"),
    ("svid.0.pem", "svid.0.key", "bundle.0.pem"),
    ("cert-chain.pem", "key.pem", "root-cert.pem"),
    ("cert.pem", "key.pem", "ca.pem"),
    ("client.crt", "client.key", "ca.crt"),
    ("client.pem", "client.key", "ca.crt"),
    ("payments.crt", "payments.key", "root_ca.crt"),
]


@pytest.mark.parametrize(("certificate", "key", "authority"), PAIRS)
def test_every_family_of_names(
    certificate: str,
    key: str,
    authority: str | None,
    one: Identity,
    ca: CA,
    other_ca: CA,
    tmp_path: Path,
) -> None:
    """The roots beside it are offered, all of them, and are no part of the chain."""
    put(tmp_path, **pair(certificate, key, one), README=b"not ours", **{"other.txt": b"nor this"})
    source = DirectorySource(tmp_path)
    assert isinstance(source, Source)
    assert isinstance(source, Watchable)
    assert (source.load().fingerprint, source.load().roots) == (one.fingerprint, ())
    if authority:
        put(tmp_path, **{authority: ca.pem + other_ca.pem})
        loaded = source.load()
        assert loaded.roots == (ca.certificate, other_ca.certificate)
        assert loaded.chain == ()
        put(tmp_path, **{authority: b"\n"})  # cert-manager leaves it empty without a CA
        assert source.load().roots == ()


def test_one_file_of_roots_counts(one: Identity, ca: CA, other_ca: CA, tmp_path: Path) -> None:
    put(tmp_path, **pair("svid.pem", "svid_key.pem", one))
    put(tmp_path, **{"svid_bundle.pem": ca.pem, "bundle.pem": other_ca.pem})
    assert DirectorySource(tmp_path).load().roots == (ca.certificate,)


def test_the_chain_comes_from_the_full_chain_or_beside_it(one: Identity, tmp_path: Path) -> None:
    """As certbot writes them: all four files, of which either way gives the same identity."""
    chain = b"".join(issuer.public_bytes(Encoding.PEM) for issuer in one.chain)
    put(tmp_path, **pair("cert.pem", "privkey.pem", one), **{"chain.pem": chain})
    assert DirectorySource(tmp_path).load().chain == one.chain
    put(tmp_path, **{"fullchain.pem": leaf(one) + chain})
    assert DirectorySource(tmp_path).load().chain == one.chain
    (tmp_path / "chain.pem").unlink()
    assert DirectorySource(tmp_path).load().chain == one.chain


def test_a_keystore(one: Identity, two: Identity, ca: CA, tmp_path: Path) -> None:
    """It yields to the tls.crt that cert-manager writes beside it, and to no other."""
    one.save_pkcs12(tmp_path / "keystore.p12", password="s3cret")
    put(tmp_path, **{"ca.crt": ca.pem})
    source = DirectorySource(tmp_path, password="s3cret")
    assert (source.load().fingerprint, source.load().roots) == (
        one.fingerprint,
        (ca.certificate,),
    )
    with pytest.raises(mtls.PasswordError, match=r"keystore\.p12"):
        DirectorySource(tmp_path).load()
    put(tmp_path, **pair("tls.crt", "tls.key", two))
    assert DirectorySource(tmp_path).load().fingerprint == two.fingerprint
    (tmp_path / "tls.crt").rename(tmp_path / "client.crt")
    (tmp_path / "tls.key").rename(tmp_path / "client.key")
    with pytest.raises(mtls.AmbiguousIdentityError):
        source.load()


def test_several_families_are_ambiguous(one: Identity, two: Identity, tmp_path: Path) -> None:
    put(tmp_path, **pair("tls.crt", "tls.key", one), **pair("client.crt", "client.key", two))
    with pytest.raises(mtls.AmbiguousIdentityError) as caught:
        DirectorySource(tmp_path).load()
    assert caught.value.code == "folder_ambiguous"
    assert "2 identities: tls.crt with tls.key, client.crt with client.key" in str(caught.value)
    assert_silent(caught.value)
    (tmp_path / "client.key").unlink()
    assert DirectorySource(tmp_path).load().fingerprint == one.fingerprint


def test_pairs_of_any_name_count_if_there_is_exactly_one(
    one: Identity, two: Identity, tmp_path: Path
) -> None:
    """A CA's own pair is nobody's identity."""
    put(tmp_path, **pair("a.crt", "a.key", one), **pair("ca.crt", "ca.key", two))
    assert DirectorySource(tmp_path).load().fingerprint == one.fingerprint
    put(tmp_path, **pair("b.crt", "b.key", two))
    with pytest.raises(mtls.AmbiguousIdentityError, match=r"a\.crt with a\.key, b\.crt with"):
        DirectorySource(tmp_path).load()


def test_nothing_there_is_an_error_with_the_names(one: Identity, tmp_path: Path) -> None:
    with pytest.raises(mtls.IdentityNotFoundError) as caught:
        DirectorySource(tmp_path).load()
    assert str(caught.value).startswith(f"{tmp_path}: no identity by a name that is known; looked")
    for certificate, key, _ in PAIRS[:-1]:
        assert f"{certificate} with {key}" in str(caught.value)
    put(tmp_path, **{"tls.crt": leaf(one)})
    with pytest.raises(mtls.IdentityNotFoundError, match=r"tls\.crt is there, tls\.key is not"):
        DirectorySource(tmp_path).load()


@pytest.mark.parametrize(
    ("make", "kind", "code"),
    [
        (lambda path: None, mtls.IdentityNotFoundError, "identity_not_found"),
        (Path.touch, mtls.IdentityFormatError, "identity_no_folder"),
        (lambda path: path.symlink_to(path), mtls.IdentityError, "identity_unreadable"),
    ],
    ids=["missing", "file", "circular link"],
)
def test_what_is_no_folder(
    make: Callable[[Path], object], kind: type[mtls.IdentityError], code: str, tmp_path: Path
) -> None:
    path = tmp_path / "folder"
    make(path)
    source = DirectorySource(path)
    with pytest.raises(kind) as caught:
        source.load()
    assert caught.value.code == code
    assert str(path) in str(caught.value)
    assert_silent(caught.value)
    assert len(source.digest()) == 32


@pytest.mark.parametrize("name", ["tls.crt", "tls.key", "ca.crt"])
def test_an_error_names_the_file(name: str, one: Identity, ca: CA, tmp_path: Path) -> None:
    put(tmp_path, **pair("tls.crt", "tls.key", one), **{"ca.crt": ca.pem})
    DirectorySource(tmp_path).load()
    put(tmp_path, **{name: (tmp_path / name).read_bytes()[:-40]})
    with pytest.raises(mtls.IdentityFormatError) as caught:
        DirectorySource(tmp_path).load()
    assert (caught.value.code, str(tmp_path / name) in str(caught.value)) == ("truncated", True)
    assert_silent(caught.value, one.private_key_pem().splitlines()[1])


def test_roots_that_are_none(one: Identity, tmp_path: Path) -> None:
    """A key among the roots is left unread; a key alone there is a mistake."""
    key = one.private_key_pem()
    put(tmp_path, **pair("tls.crt", "tls.key", one))
    one.save_pem(tmp_path / "ca.crt", password="s3cret")
    assert one.certificate in DirectorySource(tmp_path).load().roots
    put(tmp_path, **{"ca.crt": key})
    with pytest.raises(mtls.IdentityFormatError, match=r"ca\.crt: no certificate in it") as caught:
        DirectorySource(tmp_path).load()
    assert caught.value.code == "no_roots"
    assert_silent(caught.value, key.splitlines()[1])


def test_files_that_do_not_belong_together(one: Identity, two: Identity, tmp_path: Path) -> None:
    put(tmp_path, **{"tls.crt": leaf(one), "tls.key": two.private_key_pem()})
    with pytest.raises(mtls.KeyMismatchError, match=r"tls\.crt, .*tls\.key: the private key"):
        DirectorySource(tmp_path).load()


def test_password_and_select(one: Identity, two: Identity, tmp_path: Path) -> None:
    password = tmp_path / "password"
    password.write_bytes(b"s3cret\n")
    folder = tmp_path / "tls"
    folder.mkdir()
    both = b"".join(
        who.certificate.public_bytes(Encoding.PEM) + who.private_key_pem() for who in (one, two)
    )
    put(folder, **{"tls.crt": both, "tls.key": both})
    with pytest.raises(mtls.AmbiguousIdentityError):
        DirectorySource(folder).load()
    assert DirectorySource(folder, select="two").load().fingerprint == two.fingerprint
    one.save_pem(folder / "tls.key", password="s3cret")
    put(folder, **{"tls.crt": leaf(one)})
    assert DirectorySource(folder, password=password).load().fingerprint == one.fingerprint


needs_permissions = pytest.mark.skipif(os.name != "posix", reason="no permissions on Windows")


@needs_permissions
def test_a_key_open_to_others(one: Identity, tmp_path: Path) -> None:
    put(tmp_path, **pair("tls.crt", "tls.key", one))
    DirectorySource(tmp_path, strict_permissions=True).load()
    (tmp_path / "tls.key").chmod(0o640)
    with pytest.warns(IdentityWarning, match=r"tls\.key: the group or others") as caught:
        DirectorySource(tmp_path).load()
    assert [warning.filename for warning in caught] == [__file__]
    with pytest.raises(mtls.IdentityError) as refused:
        DirectorySource(tmp_path, strict_permissions=True).load()
    assert refused.value.code == "key_permissions"


# -- a Kubernetes volume ------------------------------------------------------------------------


class Volume:
    """A folder as kubelet's AtomicWriter keeps it: `..data` is a link to the newest version."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._numbers = itertools.count()
        path.mkdir()

    def write(self, content: dict[str, bytes], *, mode: int = 0o644) -> None:
        version = self.path / f"..2026_01_01_00_00_{next(self._numbers):06}"
        version.mkdir()
        for name, data in content.items():
            (version / name).write_bytes(data)
            (version / name).chmod(mode)
        data_link = self.path / "..data"
        old = os.path.realpath(data_link) if data_link.is_symlink() else None
        (self.path / "..data_tmp").symlink_to(version.name)
        (self.path / "..data_tmp").replace(data_link)
        for name in content:
            if not (self.path / name).is_symlink():
                (self.path / name).symlink_to(f"..data/{name}")
        if old:
            shutil.rmtree(old)


@contextmanager
def writing(change: Callable[[int], object]) -> Iterator[None]:
    """Change something again and again in another thread; its errors are the test's."""
    stop, failed = threading.Event(), []

    def work() -> None:
        try:
            for number in itertools.count():
                if stop.is_set():
                    return
                change(number)
                stop.wait(0.0005)
        except BaseException as error:
            failed.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()
    assert failed == []


def versions(identities: list[Identity], authorities: list[CA]) -> list[dict[str, bytes]]:
    return [
        {**pair("tls.crt", "tls.key", identity), "ca.crt": authority.pem}
        for identity, authority in zip(identities, authorities, strict=True)
    ]


def test_a_volume_is_never_read_half_old_half_new(ca: CA, other_ca: CA, tmp_path: Path) -> None:
    """Certificate, key and roots of each load are of one version, and each of them succeeds."""
    authorities = [ca, other_ca, CA("Third")]
    identities = [authority.issue(f"version-{n}") for n, authority in enumerate(authorities)]
    contents = versions(identities, authorities)
    expected = {
        identity.fingerprint: (authority.certificate,)
        for identity, authority in zip(identities, authorities, strict=True)
    }
    volume = Volume(tmp_path / "tls")
    volume.write(contents[0])
    source, seen = DirectorySource(volume.path), set()
    with writing(lambda number: volume.write(contents[number % 3])):
        for number in range(20_000):
            loaded = source.load()
            assert loaded.roots == expected[loaded.fingerprint]
            seen.add(loaded.fingerprint)
            assert len(source.digest()) == 32
            if number >= 300 and len(seen) == 3:
                break
    assert seen == expected.keys()


@pytest.mark.parametrize("moment", ["names", "half the names", "files"])
def test_a_volume_is_replaced_at_the_worst_moment(
    moment: str, ca: CA, other_ca: CA, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before its names are listed, while they are being removed, and between two files."""
    old, new = versions([ca.issue("old"), other_ca.issue("new")], [ca, other_ca])
    volume = Volume(tmp_path / "tls")
    volume.write(old)
    read, listdir = disk.read, os.listdir
    pending = [new] if moment == "half the names" else [new] * 6

    def replace() -> None:
        if pending:
            volume.write(pending.pop())

    def read_late(path: Path) -> bytes:
        if path.name == "tls.key":
            replace()
        return read(path)

    def list_late(folder: str) -> list[str]:
        if moment == "names":
            replace()
            return listdir(folder)
        names = [name for name in listdir(folder) if not pending or name != "ca.crt"]
        if pending:  # the pair of the old version stays readable for a while
            kept = {name: (Path(folder) / name).read_bytes() for name in names}
            replace()
            put(Path(folder), **kept)
        return names

    if moment == "files":
        monkeypatch.setattr(disk, "read", read_late)
    else:
        monkeypatch.setattr(os, "listdir", list_late)
    loaded = DirectorySource(volume.path).load()
    assert pending == []
    assert (loaded.subject, loaded.roots) == ("CN=new", (other_ca.certificate,))


def test_reading_file_by_file_would_have_been_torn(ca: CA, other_ca: CA, tmp_path: Path) -> None:
    """The control of the test above: its writer does break whoever reads the names one by one."""
    contents = versions([ca.issue("a"), other_ca.issue("b")], [ca, other_ca])
    volume = Volume(tmp_path / "tls")
    volume.write(contents[0], mode=0o600)
    source = FileSource(volume.path / "tls.crt", volume.path / "tls.key")
    torn = 0
    with writing(lambda number: volume.write(contents[number % 2], mode=0o600)):
        for _ in range(3000):
            try:
                source.load()
            except mtls.IdentityError:
                torn += 1
                break
    assert torn


def test_files_replaced_one_after_the_other(ca: CA, tmp_path: Path) -> None:
    """Without a version to hold on to, what is loaded is a pair, or a moment too early an error."""
    identities = [ca.issue(f"version-{n}") for n in range(2)]
    put(tmp_path, **pair("tls.crt", "tls.key", identities[0]))
    source, seen, codes = DirectorySource(tmp_path), set(), set()

    def change(number: int) -> None:
        identity = identities[number % 2]
        disk.replace(tmp_path / "tls.key", identity.private_key_pem())
        disk.replace(tmp_path / "tls.crt", leaf(identity))
        threading.Event().wait(0.01)

    with writing(change):
        for number in range(20_000):
            try:
                seen.add(source.load().fingerprint)
            except mtls.IdentityError as error:
                codes.add(error.code)
            if number >= 100 and len(seen) == 2:
                break
    assert codes <= {"key_mismatch", "source_changing"}
    assert seen == {identity.fingerprint for identity in identities}


def test_a_moment_is_granted_to_who_is_writing(
    one: Identity, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is garbage at first and whole an instant later is loaded."""
    put(tmp_path, **pair("tls.crt", "tls.key", one))
    whole = (tmp_path / "tls.crt").read_bytes()
    put(tmp_path, **{"tls.crt": whole[:300]})
    monkeypatch.setattr(
        "mtls_client.sources.directory.time.sleep", lambda _: put(tmp_path, **{"tls.crt": whole})
    )
    assert DirectorySource(tmp_path).load().fingerprint == one.fingerprint


def test_a_folder_that_never_holds_still(
    one: Identity, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The attempts are counted; the error is not that of any half-read content."""
    put(tmp_path, **pair("tls.crt", "tls.key", one), **{"ca.crt": b""})
    numbers, read, pauses = itertools.count(), disk.read, []

    def changing(path: Path) -> bytes:
        if path.name == "ca.crt":
            path.write_bytes(b" " * (next(numbers) % 2))
        return read(path)

    monkeypatch.setattr(disk, "read", changing)
    monkeypatch.setattr("mtls_client.sources.directory.time.sleep", pauses.append)
    with pytest.raises(mtls.IdentityError, match="changed whenever it was read") as caught:
        DirectorySource(tmp_path).load()
    assert caught.value.code == "source_changing"
    assert 2 <= len(pauses) <= 100
    assert sum(pauses) < 1


@needs_permissions
def test_a_volume_has_the_permissions_that_kubernetes_gives(one: Identity, tmp_path: Path) -> None:
    """No warning, since nobody but the pod sees it; refused on request."""
    volume = Volume(tmp_path / "tls")
    volume.write(pair("tls.crt", "tls.key", one))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert DirectorySource(volume.path).load().fingerprint == one.fingerprint
    with pytest.raises(mtls.IdentityError) as caught:
        DirectorySource(volume.path, strict_permissions=True).load()
    assert caught.value.code == "key_permissions"


# -- digest -------------------------------------------------------------------------------------


def test_the_digest_tells_every_change_and_no_other(
    one: Identity, two: Identity, ca: CA, other_ca: CA, tmp_path: Path
) -> None:
    password = tmp_path / "password"
    folder = put(tmp_path / "tls", **pair("tls.crt", "tls.key", one), **{"ca.crt": ca.pem})
    source = DirectorySource(folder, password=password)
    seen = [source.digest()]

    def changed() -> bool:
        seen.append(source.digest())
        assert len(seen[-1]) == 32
        return seen[-1] not in seen[:-1]

    assert not changed()
    put(folder, README=b"new")
    os.utime(folder / "tls.crt", (1, 1))
    assert not changed()
    put(folder, **{"ca.crt": other_ca.pem})
    assert changed()
    put(folder, **{"tls.crt": leaf(two)})
    assert changed()
    put(folder, **{"tls.key": two.private_key_pem()})
    assert changed()
    password.write_bytes(b"x")
    assert changed()
    (folder / "ca.crt").unlink()
    assert changed()
    (folder / "tls.key").unlink()
    assert changed()
    shutil.rmtree(folder)
    assert changed()


def test_the_digest_of_files(one: Identity, two: Identity, tmp_path: Path) -> None:
    put(tmp_path, **pair("c", "k", one), chain=leaf(two), password=b"x")
    source = FileSource(
        tmp_path / "c", tmp_path / "k", chain=tmp_path / "chain", password=tmp_path / "password"
    )
    assert isinstance(source, Watchable)
    seen = {source.digest()}
    for name in ("c", "k", "chain", "password"):
        put(tmp_path, **{name: b"changed"})
        seen.add(source.digest())
        assert source.digest() in seen
        (tmp_path / name).unlink()
        seen.add(source.digest())
        (tmp_path / name).mkdir()
        seen.add(source.digest())
    assert len(seen) == 13
    assert len(FileSource("\0").digest()) == 32


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes with names on Windows")
def test_the_digest_does_not_wait_for_a_pipe(tmp_path: Path) -> None:
    """Nor takes what somebody else is to read."""
    os.mkfifo(tmp_path / "client.pem")
    assert len(FileSource(tmp_path / "client.pem").digest()) == 32


def test_what_moves_from_one_file_to_the_next_is_a_change(tmp_path: Path) -> None:
    put(tmp_path, c=b"a=b", k=b"c")
    source = FileSource(tmp_path / "c", tmp_path / "k")
    before = source.digest()
    put(tmp_path, c=b"a", k=b"b=c")
    assert source.digest() != before


# -- anything at all ----------------------------------------------------------------------------

NAMES = sorted({name for family in PAIRS for name in family if name} | {"keystore.p12", "..data"})


@settings(
    max_examples=60,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(content=st.dictionaries(st.sampled_from(NAMES), st.binary(max_size=60), max_size=4))
def test_no_folder_raises_anything_but_an_identity_error(
    content: dict[str, bytes], tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = put(tmp_path_factory.mktemp("folder"), **content)
    source = DirectorySource(folder)
    before = source.digest()
    with pytest.raises(mtls.IdentityError) as caught:
        source.load()
    assert_silent(caught.value)
    assert source.digest() == before


def test_it_shows_its_folder_and_no_password() -> None:
    assert repr(DirectorySource("a/b", password="s3cret")) == "DirectorySource('a/b')"


def test_roots_of_an_identity_cannot_be_changed(one: Identity, ca: CA) -> None:
    """They are offered, and no part of what is shown to a server."""
    with_roots = Identity(one.certificate, one.private_key, roots=[ca.certificate])
    assert (one.roots, with_roots.roots) == ((), (ca.certificate,))
    assert with_roots.certificate_pem() == leaf(one)
    with pytest.raises(AttributeError):
        with_roots.roots = ()
