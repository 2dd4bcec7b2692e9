"""`mtls csr` and `mtls identity complete`: an identity from a CA that answers by mail."""

from __future__ import annotations

import datetime
import errno
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    load_pem_private_key,
    pkcs7,
)
from cryptography.x509.oid import ExtendedKeyUsageOID

from mtls_client import FileSource, Identity
from mtls_client._os import files
from mtls_client.testing import CA, Server
from tests.cli.conftest import Run, typed

DAY = datetime.timedelta(days=1)
Issue = Callable[..., Identity]


@pytest.fixture
def issue(ca: CA, folder: Path) -> Issue:
    """What the CA does with `NAME.csr`: it writes `answer.pem`, leaf and intermediate."""
    issuer = ca.intermediate()

    def made(name: str = "orders", *, password: bytes | None = None, **options: Any) -> Identity:
        key: Any = load_pem_private_key((folder / f"{name}.key").read_bytes(), password)
        request = x509.load_pem_x509_csr((folder / f"{name}.csr").read_bytes())
        assert request.public_key() == key.public_key()
        identity = issuer.issue(name, key=key, **options)
        (folder / "answer.pem").write_bytes(identity.certificate_pem())
        return identity

    return made


@pytest.fixture
def orders(mtls: Run, folder: Path) -> Path:
    done = mtls("csr", "--cn", "orders", "--dns", "orders.example.com", "-o", "orders.csr")
    assert (done.returncode, done.stderr) == (0, b"")
    return folder


def csr(path: Path) -> x509.CertificateSigningRequest:
    return x509.load_pem_x509_csr(path.read_bytes())


def names(request: x509.CertificateSigningRequest) -> x509.Extension[Any]:
    return request.extensions.get_extension_for_class(x509.SubjectAlternativeName)


def test_key_and_request(orders: Path) -> None:
    request = csr(orders / "orders.csr")
    assert request.is_signature_valid
    assert request.subject.rfc4514_string() == "CN=orders"
    assert [str(one.value) for one in names(request).value] == ["orders.example.com"]
    purposes = request.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    assert list(purposes) == [ExtendedKeyUsageOID.CLIENT_AUTH]
    assert (orders / "orders.key").stat().st_mode & 0o777 == 0o600


def test_it_says_what_is_asked_for_and_what_to_do_next(mtls: Run, folder: Path) -> None:
    done = mtls("csr", "--subject", "CN=a b,O=Example,C=DE", "--ip", "192.0.2.1")
    text = done.stdout.decode()
    for words in (
        "client.csr  the request: send it to the CA\n",
        "subject CN=a b,O=Example,C=DE\n",
        "names   192.0.2.1\n",
        "usage   clientAuth\n",
        "key     EC, 256 bits\n",
        "client.key  its private key, not encrypted: keep it",
        "mtls identity complete CERT\n",
    ):
        assert words in text
    for line in (folder / "client.key").read_text().splitlines()[1:-1]:
        assert line not in text


@pytest.mark.parametrize(
    ("kind", "shown"), [("ec384", "EC, 384"), ("ed25519", "Ed25519, 256"), ("rsa", "RSA, 2048")]
)
def test_kinds_of_keys(kind: str, shown: str, mtls: Run) -> None:
    assert f"key     {shown} bits" in mtls("csr", "--cn", "a", "--key-type", kind).stdout.decode()


def test_every_kind_of_name(mtls: Run, folder: Path) -> None:
    """Without a subject they are critical (RFC 5280 §4.2.1.6)."""
    given = {
        "--dns": ["a.example", "*.b.example", "xn--bcher-kva.example"],
        "--ip": ["192.0.2.1", "2001:db8::1"],
        "--uri": ["spiffe://example.com/orders"],
        "--email": ["orders@example.com"],
    }
    arguments = [word for option, values in given.items() for v in values for word in (option, v)]
    assert mtls("csr", *arguments).returncode == 0
    request = csr(folder / "client.csr")
    found = names(request)
    assert [str(one.value) for one in found.value] == [v for one in given.values() for v in one]
    assert (list(request.subject), found.critical) == ([], True)


@pytest.mark.parametrize("file", ["orders.key", "orders.csr"])
def test_nothing_is_replaced(file: str, orders: Path, mtls: Run) -> None:
    """The key may be the only one for a certificate that is on its way."""
    before = {one: (orders / one).read_bytes() for one in ("orders.key", "orders.csr")}
    other = next(one for one in before if one != file)
    (orders / other).unlink()
    done = mtls("csr", "--cn", "again", "-o", "orders.csr")
    assert (done.returncode, b"exists already" in done.stderr) == (23, True)
    assert (orders / file).read_bytes() == before[file]
    assert not (orders / other).exists()


def test_a_broken_link_is_not_followed(mtls: Run, folder: Path) -> None:
    (folder / "client.key").symlink_to(folder / "elsewhere")
    assert mtls("csr", "--cn", "a").returncode == 23
    assert not (folder / "elsewhere").exists()


def test_a_full_disk_leaves_no_half_a_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(OSError, match="No space"):
        files.create(tmp_path / "client.key", b"key")
    assert list(tmp_path.iterdir()) == []
    monkeypatch.undo()
    files.create(tmp_path / "client.key", b"key")
    assert (tmp_path / "client.key").read_bytes() == b"key"


def test_the_key_is_encrypted_on_request(mtls: Run, folder: Path) -> None:
    done = mtls("csr", "--cn", "a", "--pass", "env:P", P="tops3cret")
    assert b"client.key  its private key, encrypted" in done.stdout
    assert b"tops3cret" not in done.stdout + done.stderr
    data = (folder / "client.key").read_bytes()
    assert data.startswith(b"-----BEGIN ENCRYPTED PRIVATE KEY-----")
    load_pem_private_key(data, b"tops3cret")
    done = mtls("csr", "--cn", "a", "--encrypt", "-o", "b.csr")
    assert (done.returncode, b"nobody is there to be asked" in done.stderr) == (2, True)
    assert not (folder / "b.key").exists()
    code, shown = typed(
        folder, ["csr", "--cn", "a", "--encrypt", "-o", "b.csr"], [b"word\n", b"word\n"]
    )
    assert (code, b"word\n" in shown) == (0, False)
    load_pem_private_key((folder / "b.key").read_bytes(), b"word")


def test_renew_asks_for_the_same_with_a_new_key(mtls: Run, folder: Path, ca: CA) -> None:
    """The old key is not needed, nor its password."""
    old = ca.issue("pay", dns=["pay.example"], uris=["spiffe://x/pay"], key="rsa", server=True)
    old.save_pem(folder / "old.pem", password="forgotten")
    assert mtls("csr", "--renew", "old.pem", "-o", "new.csr").returncode == 0
    request = csr(folder / "new.csr")
    assert request.subject == old.certificate.subject
    wanted = {one.value for one in request.extensions}
    kinds = (x509.SubjectAlternativeName, x509.ExtendedKeyUsage)
    assert wanted == {o.value for o in old.certificate.extensions if isinstance(o.value, kinds)}
    assert len(wanted) == 2
    key: Any = request.public_key()
    assert key.key_size == 2048
    assert key != old.certificate.public_key()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], b"whom is the certificate for"),
        (["--cn", "a", "--subject", "CN=a"], b"contradict"),
        (["--cn", "a", "--renew", "client.pem"], b"not both"),
        (["--cn", "a" * 65], b"not a subject"),
        (["--subject", "/CN=a"], b"not a subject"),
        (["--subject", "CN=a,C=Germany"], b"not a subject"),
        (["--dns", "b\u00fccher.example"], b"xn--"),
        (["--dns", "a b"], b"no such name"),
        (["--ip", "192.0.2.300"], b"no such name"),
        (["--uri", "orders"], b"no such name"),
        (["--email", "orders"], b"no such name"),
        (["--cn", "a", "-o", "client.key"], b"the key goes there"),
        (["--cn", "a", "--key-type", "dsa"], b"invalid value"),
        (["--cn", "a", "--pass", "tops3cret"], b"seen by every user"),
        (["--cn", "a", "--pass", "env:EMPTY"], b"1 to 1023 bytes"),
    ],
)
def test_what_csr_refuses(arguments: list[str], words: bytes, mtls: Run, folder: Path) -> None:
    before = sorted(folder.iterdir())
    done = mtls("csr", *arguments, EMPTY="")
    assert (done.returncode, done.stdout) == (2, b"")
    assert words in done.stderr
    assert b"Traceback" not in done.stderr
    assert sorted(folder.iterdir()) == before


def test_the_answer_becomes_an_identity(
    orders: Path, issue: Issue, mtls: Run, server: Server
) -> None:
    made = issue()
    done = mtls("identity", "complete", "answer.pem")
    assert (done.returncode, done.stderr) == (0, b"")
    assert done.stdout.startswith(b"orders.pem  CN=orders, until ")
    assert b"rm orders.key orders.csr" in done.stdout
    assert (orders / "orders.pem").stat().st_mode & 0o777 == 0o600
    loaded = FileSource(orders / "orders.pem").load()
    assert loaded.fingerprint == made.fingerprint
    assert loaded.chain == made.chain[:1]
    assert mtls("--cert", "orders.pem", "--cacert", "ca.pem", server.url).returncode == 0


def test_the_chain_may_be_in_another_file_or_a_package(
    orders: Path, issue: Issue, mtls: Run
) -> None:
    made = issue()
    (orders / "leaf.der").write_bytes(made.certificate.public_bytes(Encoding.DER))
    (orders / "chain.pem").write_bytes(made.chain[0].public_bytes(Encoding.PEM))
    package = pkcs7.serialize_certificates([*made.chain, made.certificate], Encoding.DER)
    (orders / "package.p7b").write_bytes(package)
    for number, answer in enumerate((["chain.pem", "leaf.der"], ["package.p7b"])):
        target = f"out{number}.pem"
        done = mtls("identity", "complete", *answer, "-o", target)
        assert (done.returncode, done.stderr) == (0, b"")
        assert FileSource(orders / target).load().chain[0] == made.chain[0]
    done = mtls("identity", "complete", "leaf.der", "-o", "alone.pem")
    assert done.returncode == 0
    assert b"no chain came with it: if CN=Test Intermediate CA is not a root" in done.stderr


def test_an_encrypted_key_stays_so(mtls: Run, folder: Path, issue: Issue) -> None:
    word = {"P": "tops3cret"}
    assert mtls("csr", "--cn", "o", "-o", "orders.csr", "--pass", "env:P", **word).returncode == 0
    made = issue(password=b"tops3cret")
    done = mtls("identity", "complete", "answer.pem")
    assert (done.returncode, b"--pass" in done.stderr) == (58, True)
    done = mtls("identity", "complete", "answer.pem", "--pass", "env:P", P="wrong")
    assert (done.returncode, b"wrong password" in done.stderr) == (58, True)
    assert not (folder / "orders.pem").exists()
    for target in ("orders.pem", "orders.p12"):
        arguments = ("identity", "complete", "answer.pem", "--pass", "env:P", "-o", target)
        done = mtls(*arguments, **word)
        assert (done.returncode, done.stderr) == (0, b"")
        loaded = FileSource(folder / target, password="tops3cret").load()
        assert loaded.fingerprint == made.fingerprint
    assert b"BEGIN ENCRYPTED PRIVATE KEY" in (folder / "orders.pem").read_bytes()


def test_into_the_keyring(orders: Path, issue: Issue, mtls: Run, keyring: Path) -> None:
    issue()
    arguments = ("identity", "complete", "answer.pem", "-o", "keyring:orders")
    assert mtls(*arguments).returncode == 0
    assert b"CN=orders" in mtls("identity", "list").stdout
    done = mtls(*arguments)
    assert (done.returncode, b"exists already" in done.stderr) == (58, True)
    assert mtls(*arguments, "--force").returncode == 0


def test_a_certificate_for_another_key_names_both(orders: Path, mtls: Run, ca: CA) -> None:
    other = ca.issue("other")
    (orders / "other.pem").write_bytes(other.certificate_pem())
    key = load_pem_private_key((orders / "orders.key").read_bytes(), None)
    pin = ca.issue("same", key=key).pin.encode()  # type: ignore[arg-type]
    for options in ([], ["--key", "orders.key"]):
        done = mtls("identity", "complete", "other.pem", *options)
        assert done.returncode == 58
        assert other.pin.encode() in done.stderr
        assert pin in done.stderr
        assert not (orders / "orders.pem").exists()


def test_the_right_request_is_found_among_several(
    orders: Path, issue: Issue, mtls: Run, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Also beside the certificate, in another folder; what is no request is passed over."""
    assert mtls("csr", "--cn", "another", "-o", "another.csr").returncode == 0
    (orders / "aaa.csr").write_bytes(b"not a request")
    issue()
    assert mtls("identity", "complete", "answer.pem").stdout.startswith(b"orders.pem")
    away = tmp_path_factory.mktemp("away")
    for name in ("orders.key", "orders.csr", "answer.pem"):
        (orders / name).rename(away / name)
    done = mtls("identity", "complete", str(away / "answer.pem"))
    assert (done.returncode, done.stderr) == (0, b"")
    assert FileSource(away / "orders.pem").load().subject == "CN=orders"


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["orders.csr"], 58, b"orders.csr: no certificate, but a certificate request"),
        (["absent.pem"], 58, b"absent.pem: no such file"),
        (["answer.pem", "--key", "absent.key"], 58, b"absent.key: no such file"),
        (["answer.pem", "--key", "ca.pem", "-o", "out.pem"], 58, b"no private key"),
        (["answer.pem", "-o", "client.pem"], 23, b"exists already"),
        (["answer.pem", "-o", "out.jks"], 2, b"not the name of"),
        (["answer.pem", "-o", "absent/out.pem"], 23, b"cannot be written"),
        ([], 2, b"missing argument"),
    ],
)
def test_what_complete_refuses(
    arguments: list[str], code: int, words: bytes, orders: Path, issue: Issue, mtls: Run
) -> None:
    issue()
    before = {one: one.read_bytes() for one in orders.iterdir()}
    done = mtls("identity", "complete", *arguments)
    assert done.returncode == code
    assert words in done.stderr
    assert b"Traceback" not in done.stderr
    assert {one: one.read_bytes() for one in orders.iterdir()} == before


def test_an_answer_that_has_expired(orders: Path, issue: Issue, mtls: Run) -> None:
    now = datetime.datetime.now(datetime.UTC)
    issue(not_before=now - 2 * DAY, not_after=now - DAY)
    done = mtls("identity", "complete", "answer.pem")
    assert (done.returncode, b"expired on" in done.stderr) == (58, True)
    assert b"ask the CA" in done.stderr
    assert not (orders / "orders.pem").exists()


def test_a_certificate_that_is_not_for_clients_is_told(
    orders: Path, issue: Issue, mtls: Run
) -> None:
    issue(client=False, server=True)
    done = mtls("identity", "complete", "answer.pem")
    assert (done.returncode, b"lacks clientAuth" in done.stderr) == (0, True)


def test_force_replaces_the_old_identity(mtls: Run, folder: Path, issue: Issue) -> None:
    assert mtls("csr", "--renew", "client.pem", "-o", "new.csr").returncode == 0
    made = issue("new")
    done = mtls("identity", "complete", "answer.pem", "-o", "client.pem", "--force")
    assert done.returncode == 0
    assert FileSource(folder / "client.pem").load().fingerprint == made.fingerprint
