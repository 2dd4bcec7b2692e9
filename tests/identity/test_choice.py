"""Pairs, chains and selection: which of all that was found is ours."""

from __future__ import annotations

import datetime

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import dsa, x25519
from cryptography.hazmat.primitives.asymmetric import ec as curves
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

import mtls_client as mtls
from mtls_client import Identity
from mtls_client.testing import CA
from tests.identity.conftest import Files

NOW = datetime.datetime.now(datetime.UTC)
DAY = datetime.timedelta(days=1)


def pem(*parts: Identity | x509.Certificate) -> bytes:
    """Return identities (key and leaf) and certificates as one text."""
    return b"".join(
        part.private_key_pem() + part.certificate.public_bytes(Encoding.PEM)
        if isinstance(part, Identity)
        else part.public_bytes(Encoding.PEM)
        for part in parts
    )


def self_issued(subject: str, issuer: str, key: curves.EllipticCurvePrivateKey) -> x509.Certificate:
    """Return a bare certificate without key identifiers, as homemade CAs make them."""
    named = [x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, one)]) for one in (subject, issuer)]
    return (
        x509.CertificateBuilder()
        .subject_name(named[0])
        .issuer_name(named[1])
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(NOW - DAY)
        .not_valid_after(NOW + DAY)
        .sign(key, hashes.SHA256())
    )


def test_the_chain_is_ordered_and_what_does_not_belong_is_dropped_with_a_note() -> None:
    root = CA("Root")
    middle = root.intermediate("Middle")
    bottom = middle.intermediate("Bottom")
    stranger = CA("Stranger")
    identity = bottom.issue("us")
    data = pem(stranger.certificate, root.certificate, bottom.certificate, identity)
    loaded = Identity.from_pem(data + pem(middle.certificate, root.certificate))
    assert loaded.chain == (bottom.certificate, middle.certificate, root.certificate)
    assert loaded.notes == ("not part of the chain: CN=Stranger",)


def test_servers_are_not_sent_the_root(rsa: Files) -> None:
    assert rsa.identity.chain[-1].subject == rsa.identity.chain[-1].issuer
    sent = x509.load_pem_x509_certificates(rsa.identity.certificate_pem())
    assert sent == [rsa.identity.certificate, rsa.identity.chain[0]]


def test_an_issuer_with_the_right_name_and_the_wrong_key_is_dropped() -> None:
    """A CA was set up anew under its old name; told by key identifiers."""
    old, new = CA("Same name"), CA("Same name")
    identity = old.issue("us")
    loaded = Identity.from_pem(pem(identity, new.certificate, old.certificate))
    assert loaded.chain == (old.certificate,)
    assert Identity.from_pem(pem(identity, new.certificate)).chain == ()


def test_without_key_identifiers_the_signature_tells_the_issuer() -> None:
    ours, other = (curves.generate_private_key(curves.SECP256R1()) for _ in range(2))
    leaf = self_issued("us", "Homemade", ours)  # signed with its own key: so issued by `right`
    right, wrong = self_issued("Homemade", "Homemade", ours), self_issued("Homemade", "X", other)
    loaded = Identity.from_key_pair(leaf, ours, chain=[wrong, right])
    assert loaded.chain == (right,)
    assert Identity.from_key_pair(leaf, ours, chain=[wrong]).chain == ()


def test_two_certificates_that_issued_each_other_end() -> None:
    key = curves.generate_private_key(curves.SECP256R1())
    leaf = self_issued("us", "A", key)
    circle = [self_issued("A", "B", key), self_issued("B", "A", key)]
    assert len(Identity.from_key_pair(leaf, key, chain=circle).chain) == 2


def test_the_key_of_another_certificate_is_named_by_its_pin(rsa: Files, ec: Files) -> None:
    with pytest.raises(mtls.KeyMismatchError) as caught:
        Identity.from_key_pair(rsa.identity.certificate, ec.identity.private_key)
    assert f"the key is {ec.identity.pin}" in str(caught.value)
    assert f"CN=client has {rsa.identity.pin}" in str(caught.value)
    with pytest.raises(mtls.KeyMismatchError):
        Identity(rsa.identity.certificate, ec.identity.private_key)


@pytest.mark.parametrize(("data", "code"), [("certificate", "no_key"), ("key", "no_certificate")])
def test_half_an_identity(data: str, code: str, rsa: Files) -> None:
    with pytest.raises(mtls.IdentityNotFoundError) as caught:
        Identity.from_pem(getattr(rsa, data).read_bytes())
    assert caught.value.code == code


@pytest.mark.parametrize(
    "key",
    [dsa.generate_private_key(1024), x25519.X25519PrivateKey.generate()],
    ids=["DSA", "X25519"],
)
def test_a_key_that_tls_does_not_sign_with(key: object, rsa: Files) -> None:
    plain = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())  # type: ignore[attr-defined]
    with pytest.raises(mtls.IdentityFormatError, match="cannot be used in TLS") as caught:
        Identity.from_key_pair(rsa.identity.certificate, plain)
    assert caught.value.code == "unsupported_key"


@pytest.mark.parametrize("kind", ["ec", "rsa", "ed25519"])
def test_kinds_of_keys(kind: str, issuing_ca: CA) -> None:
    identity = issuing_ca.issue("us", key=kind)  # type: ignore[arg-type]
    loaded = Identity.from_pem(pem(identity))
    expected = {"ec": ("EC", 256), "rsa": ("RSA", 2048), "ed25519": ("Ed25519", 256)}[kind]
    assert (loaded.key_type, loaded.key_bits) == expected


@pytest.fixture(scope="module")
def several(issuing_ca: CA) -> dict[str, Identity]:
    past = NOW - 30 * DAY
    return {
        "good": issuing_ca.issue("good"),
        "expired": issuing_ca.issue("expired", not_before=past, not_after=past + DAY),
        "server": issuing_ca.issue("server", client=False, server=True),
    }


def test_several_identities_are_listed_with_how_to_select(several: dict[str, Identity]) -> None:
    with pytest.raises(mtls.AmbiguousIdentityError) as caught:
        Identity.from_pem(pem(*several.values()))
    assert str(caught.value.args[0]).startswith("3 identities")
    for one in several.values():
        for shown in (one.fingerprint, one.serial, one.subject, f"{one.not_after:%Y-%m-%d}"):
            assert shown in str(caught.value)
    assert f"select='{several['good'].fingerprint}'" in (caught.value.hint or "")


@pytest.mark.parametrize(
    "how",
    [
        lambda one: one.subject,
        lambda one: one.subject.removeprefix("CN="),
        lambda one: one.fingerprint,
        lambda one: one.fingerprint.upper(),
        lambda one: ":".join(one.fingerprint[i : i + 2] for i in range(0, 64, 2)),
    ],
    ids=["subject", "common name", "fingerprint", "upper case", "colons"],
)
def test_each_can_be_selected(how: object, several: dict[str, Identity]) -> None:
    assert callable(how)
    data = pem(*several.values())
    for one in several.values():
        assert Identity.from_pem(data, select=how(one)).fingerprint == one.fingerprint


def test_for_mtls_selects_what_is_valid_and_meant_for_it(several: dict[str, Identity]) -> None:
    loaded = Identity.from_pem(pem(*several.values()), select="for_mtls")
    assert loaded.fingerprint == several["good"].fingerprint


def test_a_renewed_certificate_under_the_same_key_is_a_second_identity(issuing_ca: CA) -> None:
    past = NOW - 30 * DAY
    old = issuing_ca.issue("us", not_before=past, not_after=past + DAY)
    new = issuing_ca.issue("us", key=old.private_key)  # type: ignore[arg-type]
    data = pem(old, new.certificate)
    with pytest.raises(mtls.AmbiguousIdentityError):
        Identity.from_pem(data)
    loaded = Identity.from_pem(data, select="for_mtls")
    assert loaded.fingerprint == new.fingerprint


@pytest.mark.parametrize("select", ["nobody", "", "for_mtls"])
def test_a_selection_that_matches_nothing_lists_what_there_is(
    select: str, several: dict[str, Identity]
) -> None:
    with pytest.raises(mtls.IdentityNotFoundError, match="no identity matches") as caught:
        Identity.from_pem(pem(several["expired"], several["server"]), select=select)
    assert caught.value.code == "selection_empty"
    assert several["server"].fingerprint in str(caught.value)


def test_the_same_thing_twice_is_one_thing(rsa: Files) -> None:
    loaded = Identity.from_pem(rsa.everything * 2)
    assert loaded.chain == rsa.identity.chain
    assert loaded.notes == ()
