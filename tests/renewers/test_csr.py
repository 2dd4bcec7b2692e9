"""`Request`: what is asked for, and what is made of the answer."""

from __future__ import annotations

import copy
import datetime
import ipaddress
import itertools
import pickle
import subprocess
from collections.abc import Callable
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import dsa, ec, ed448, ed25519, rsa
from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes
from cryptography.hazmat.primitives.serialization import Encoding, pkcs7
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from mtls_client import ConfigurationError, Identity, IdentityFormatError, RenewalError
from mtls_client.renewers import Request
from mtls_client.renewers.csr import fresh_key
from mtls_client.testing import CA
from tests.components import require
from tests.identity.secrecy import assert_silent

KEYS: dict[str, Callable[[], PrivateKeyTypes]] = {
    "RSA-2048": lambda: rsa.generate_private_key(65537, 2048),
    "RSA-3072": lambda: rsa.generate_private_key(65537, 3072),
    "P-256": lambda: ec.generate_private_key(ec.SECP256R1()),
    "P-384": lambda: ec.generate_private_key(ec.SECP384R1()),
    "P-521": lambda: ec.generate_private_key(ec.SECP521R1()),
    "Ed25519": ed25519.Ed25519PrivateKey.generate,
    "Ed448": ed448.Ed448PrivateKey.generate,
}
NAMES = x509.SubjectAlternativeName(
    [
        x509.DNSName("orders.example.com"),
        x509.IPAddress(ipaddress.ip_address("192.0.2.1")),
        x509.IPAddress(ipaddress.ip_address("2001:db8::1")),
        x509.UniformResourceIdentifier("spiffe://example.com/orders"),
        x509.RFC822Name("orders@example.com"),
    ]
)
PURPOSES = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH, ExtendedKeyUsageOID.SERVER_AUTH])
SUBJECT = x509.Name(
    [
        x509.NameAttribute(NameOID.ORGANIZATION_NAME, "Example"),
        x509.NameAttribute(NameOID.COMMON_NAME, "orders"),
    ]
)
NOBODY = x509.Name([])


def certified(
    key: Any, subject: x509.Name = SUBJECT, *, critical: bool = False, more: bool = True
) -> Identity:
    """Return an identity with everything that a successor should have, too."""
    now = datetime.datetime.now(datetime.UTC)
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "issuer")]))
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now)
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
    )
    if more:
        builder = builder.add_extension(NAMES, critical).add_extension(PURPOSES, critical=False)
    issuer = ec.generate_private_key(ec.SECP256R1())
    return Identity(builder.sign(issuer, hashes.SHA256()), key)


@pytest.fixture(scope="module")
def intermediate(ca: CA) -> CA:
    return ca.intermediate()


@pytest.fixture
def request_(identity: Identity) -> Request:
    return Request.renewing(identity)


def answered(issuer: CA, request: Request) -> Identity:
    """Return what the issuer makes of it."""
    key: Any = request.key
    return issuer.issue("client", key=key)


@pytest.mark.parametrize("kind", KEYS)
def test_a_renewal_has_a_fresh_key_of_the_same_kind(kind: str) -> None:
    current = certified(KEYS[kind]())
    request = Request.renewing(current)
    again = certified(request.key)
    assert (again.key_type, again.key_bits) == (current.key_type, current.key_bits)
    assert again.pin != current.pin
    assert request.csr.public_key() == request.key.public_key()
    assert request.csr.is_signature_valid


def openssl(form: str, data: bytes) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        [require("openssl", "openssl"), "req", "-verify", "-noout", "-text", "-inform", form],
        input=data,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )


@pytest.mark.parametrize("kind", KEYS)
def test_openssl_verifies_the_request(kind: str) -> None:
    request = Request.renewing(certified(KEYS[kind]()))
    for form, data in (("PEM", request.pem), ("DER", request.der)):
        done = openssl(form, data)
        assert done.returncode == 0
        assert b"verify OK" in done.stdout
        for word in (b"orders.example.com", b"192.0.2.1", b"spiffe://example.com/orders"):
            assert word in done.stdout
    changed = request.der.replace(b"orders.example.com", b"orders.example.net")
    assert b"verify OK" not in openssl("DER", changed).stdout


@pytest.mark.parametrize("critical", [False, True])
@pytest.mark.parametrize("subject", [SUBJECT, NOBODY], ids=["subject", "no subject"])
def test_subject_names_and_purposes_are_kept(subject: x509.Name, critical: bool) -> None:
    """An empty subject too, whose names are critical (RFC 5280 §4.2.1.6), as SPIFFE has it."""
    csr = Request.renewing(certified(KEYS["P-256"](), subject, critical=critical)).csr
    assert csr.subject == subject
    assert {one.value: one.critical for one in csr.extensions} == {
        NAMES: critical,
        PURPOSES: False,
    }


def test_what_is_not_there_is_not_asked_for() -> None:
    assert list(Request.renewing(certified(KEYS["P-256"](), more=False)).csr.extensions) == []


def test_the_key_is_kept_or_of_another_kind_if_told() -> None:
    current = certified(KEYS["P-256"]())
    kept = Request.renewing(current, reuse_key=True)
    assert kept.key is current.private_key
    other = Request.renewing(current, key="ed25519")
    assert isinstance(other.key, ed25519.Ed25519PrivateKey)
    with pytest.raises(ConfigurationError, match="contradict"):
        Request.renewing(current, reuse_key=True, key="ed25519")


@pytest.mark.parametrize(
    ("kind", "bits"),
    [
        ("ec", 256),
        ("ec384", 384),
        ("ec521", 521),
        ("ed25519", 256),
        ("ed448", 456),
        ("rsa", 2048),
        ("rsa3072", 3072),
        ("rsa4096", 4096),
    ],
)
def test_kinds_of_keys_by_name(kind: Any, bits: int) -> None:
    assert certified(fresh_key(kind)).key_bits == bits


def test_a_short_rsa_key_is_followed_by_a_longer_one() -> None:
    short = rsa.generate_private_key(65537, 1024)
    assert getattr(fresh_key(short), "key_size", None) == 2048


@pytest.mark.parametrize("like", ["rsa1024", "", None, dsa.generate_private_key(1024)])
def test_there_is_no_such_kind_of_key(like: Any) -> None:
    with pytest.raises(ConfigurationError, match="not a kind of key") as caught:
        fresh_key(like)
    assert "rsa3072" in str(caught.value.hint)


def test_a_key_that_tls_has_no_use_for() -> None:
    with pytest.raises(IdentityFormatError):
        Request(dsa.generate_private_key(1024), SUBJECT)


def test_the_answer_in_every_order(intermediate: CA, request_: Request) -> None:
    made = answered(intermediate, request_)
    parts = [made.certificate, *made.chain]
    assert len(parts) == 3
    for order in itertools.permutations(parts):
        joined = request_.joined(*order)
        assert joined.certificate == made.certificate
        assert joined.chain == made.chain
        text = b"\n".join(one.public_bytes(Encoding.PEM) for one in order)
        assert request_.joined(text).chain == made.chain


@pytest.mark.parametrize("encoding", [Encoding.PEM, Encoding.DER])
def test_the_answer_in_every_format(
    encoding: Encoding, intermediate: CA, request_: Request
) -> None:
    made = answered(intermediate, request_)
    ders = [one.public_bytes(encoding) for one in (made.certificate, *made.chain)]
    assert request_.joined(*ders).chain == made.chain
    assert request_.joined(ders[0], *made.chain).chain == made.chain
    package = pkcs7.serialize_certificates([*reversed(made.chain), made.certificate], encoding)
    joined = request_.joined(package)
    assert joined.fingerprint == made.fingerprint
    assert joined.chain == made.chain
    assert joined.private_key is request_.key


def test_the_same_certificate_twice_is_one(intermediate: CA, request_: Request) -> None:
    made = answered(intermediate, request_)
    assert request_.joined(made.certificate, made.certificate_pem()).chain == made.chain[:1]


def test_a_certificate_for_another_key(ca: CA, request_: Request) -> None:
    """Both keys are named, so that one can look for the right one."""
    other = ca.issue("client")
    with pytest.raises(RenewalError, match="does not belong") as caught:
        request_.joined(other.certificate_pem())
    assert other.pin in str(caught.value)
    assert certified(request_.key).pin in str(caught.value)
    assert caught.value.code == "renewal_answer"


def test_several_certificates_for_the_key(ca: CA, request_: Request) -> None:
    """Nobody guesses which one is meant."""
    two = [answered(ca, request_).certificate for _ in range(2)]
    with pytest.raises(RenewalError, match="2 identities"):
        request_.joined(*two)
    assert request_.joined(two[0]).certificate == two[0]


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        ([], "no certificate"),
        ([b""], "empty"),
        ([b"<html>"], "a web page"),
        ([b"-----BEGIN CERTIFICATE-----\nMIIB"], "truncated"),
    ],
)
def test_an_answer_without_a_certificate(
    answer: list[bytes], words: str, request_: Request
) -> None:
    with pytest.raises(RenewalError, match=words):
        request_.joined(*answer)


def test_an_answer_that_is_the_request(request_: Request) -> None:
    for data in (request_.pem, request_.der):
        with pytest.raises(RenewalError, match="no certificate, but a certificate request"):
            request_.joined(data)


def test_no_secret_is_shown(ca: CA, request_: Request) -> None:
    secret = certified(request_.key).private_key_pem()
    lines = secret.splitlines()[1:-1]
    shown = repr(request_) + str(request_)
    assert shown == "<Request: CN=client><Request: CN=client>"
    answer = secret + ca.issue("other").certificate_pem()
    with pytest.raises(RenewalError) as caught:
        request_.joined(answer)
    assert_silent(caught.value, *lines)


def test_a_subject_cannot_write_to_the_terminal() -> None:
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "a\x1b[31m\nb")])
    assert repr(Request(KEYS["P-256"](), name)) == r"<Request: CN=a\1B[31m\0Ab>"


@pytest.mark.parametrize("take", [pickle.dumps, copy.copy, copy.deepcopy])
def test_pickling_is_refused(take: Callable[[object], object], request_: Request) -> None:
    with pytest.raises(ConfigurationError, match="cannot be pickled"):
        take(request_)
