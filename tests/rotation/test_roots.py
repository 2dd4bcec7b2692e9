"""Roots that come with the identity change with it, in one step."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path

import pytest

import mtls_client as mtls
from mtls_client.events import Event, ReloadFailed
from mtls_client.testing import CA, Server
from tests.rotation.writing import replace, write


@pytest.fixture
def folder(tmp_path: Path, ca: CA) -> Path:
    write(tmp_path, ca.issue("first"))
    replace(tmp_path / "ca.crt", ca.pem)
    return tmp_path


def test_servers_are_judged_by_the_roots_beside_the_identity(
    folder: Path, server: Server, other_ca: CA
) -> None:
    with mtls.Session(mtls.DirectorySource(folder), trust=mtls.Trust.of_identity()) as session:
        assert session.get(server.url).json()["subject"] == "first"
    replace(folder / "ca.crt", other_ca.pem)
    with mtls.Session(mtls.DirectorySource(folder), trust=mtls.Trust.of_identity()) as session:
        with pytest.raises(mtls.UntrustedServerError):
            session.get(server.url)


@pytest.mark.parametrize("make", [mtls.Session, mtls.Client])
def test_roots_that_change_alone_are_a_rotation(
    make: Callable[..., mtls.Session], folder: Path, server: Server, other_ca: CA
) -> None:
    credential = mtls.Credential(mtls.DirectorySource(folder))
    with make(credential, trust=mtls.Trust.of_identity()) as session:
        session.get(server.url)
        replace(folder / "ca.crt", other_ca.pem)
        credential.reload()
        assert credential.generation == 2
        with pytest.raises(mtls.UntrustedServerError):
            session.get(server.url)


def test_both_sides_change_their_ca_under_threads(
    tmp_path: Path, ca: CA, other_ca: CA, server: Server
) -> None:
    """Kubernetes' way: `..data` points to a new folder with identity and roots in one step."""
    kinds = {"one": ca, "two": other_ca}
    for name, issuer in kinds.items():
        version = tmp_path / f"..{name}"
        version.mkdir()
        write(version, issuer.issue(name))
        (version / "ca.crt").write_bytes(issuer.pem)
    data = tmp_path / "..data"
    data.symlink_to("..one")
    for name in ("tls.crt", "tls.key", "ca.crt"):
        (tmp_path / name).symlink_to(f"..data/{name}")
    credential = mtls.Credential(mtls.DirectorySource(tmp_path))
    context = mtls.MTLSContext(credential, trust=mtls.Trust.of_identity())
    done, wrong = threading.Event(), []

    def look() -> None:
        while not done.is_set():
            inner = context.inner_for("localhost")
            assert inner.identity is not None
            issuer = kinds[inner.identity.subject.removeprefix("CN=")]
            if inner.get_ca_certs(binary_form=True) != [mtls_der(issuer)]:
                wrong.append(inner)

    threads = [threading.Thread(target=look) for _ in range(2)]
    for thread in threads:
        thread.start()
    for number in range(20):
        new = tmp_path / "..new"
        new.symlink_to("..two" if number % 2 == 0 else "..one")
        new.replace(data)
        credential.reload()
    done.set()
    for thread in threads:
        thread.join(10)
    assert wrong == []
    assert credential.generation == 21


def mtls_der(ca: CA) -> bytes:
    from cryptography.hazmat.primitives.serialization import Encoding

    return ca.certificate.public_bytes(Encoding.DER)


def test_without_roots_there_is_an_error_at_once(folder: Path) -> None:
    (folder / "ca.crt").unlink()
    with pytest.raises(mtls.IdentityError) as caught:
        mtls.Session(mtls.DirectorySource(folder), trust=mtls.Trust.of_identity())
    assert caught.value.code == "identity_without_roots"
    assert "ca.crt" in str(caught.value.hint)


def test_roots_that_vanish_keep_the_last_good_ones(folder: Path, server: Server) -> None:
    events: list[Event] = []
    credential = mtls.Credential(mtls.DirectorySource(folder), observers=[events.append])
    with mtls.Session(credential, trust=mtls.Trust.of_identity()) as session:
        (folder / "ca.crt").unlink()
        with pytest.raises(mtls.IdentityError):
            credential.reload()
        assert [e.code for e in events if isinstance(e, ReloadFailed)] == ["identity_without_roots"]
        assert session.get(server.url).json()["subject"] == "first"


def test_who_is_not_presented_the_identity_is_not_trusted_by_its_roots(
    folder: Path, server: Server
) -> None:
    source = mtls.DirectorySource(folder)
    trust = mtls.Trust.of_identity()
    with mtls.Session(source, trust=trust, hosts=["other.example.com"]) as session:
        with pytest.raises(mtls.UntrustedServerError):
            session.get(server.url)
