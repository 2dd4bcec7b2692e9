"""A pin is read strictly, and matches a certificate of the verified chain or nothing."""

from __future__ import annotations

import base64
import contextlib
import datetime
import hashlib
from pathlib import Path

import pytest
import trustme
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import given
from hypothesis import strategies as st

from mtls_client._formats.der import spki
from mtls_client.errors import ConfigurationError
from mtls_client.pins import Pin, PinPolicy, match

DIGEST = hashlib.sha256(b"key").digest()
BASE64 = base64.b64encode(DIGEST).decode()


@pytest.fixture(scope="module")
def certificate() -> x509.Certificate:
    return x509.load_pem_x509_certificate(trustme.CA().cert_pem.bytes())


@pytest.mark.parametrize(
    "text",
    [
        f"sha256/{BASE64}",
        f"sha256//{BASE64}",
        f"sha256/{BASE64.rstrip('=')}",
        f"  sha256/{BASE64}\n",
        DIGEST.hex(),
        DIGEST.hex().upper(),
        DIGEST.hex(":"),
    ],
)
def test_every_spelling_is_the_same_pin(text: str) -> None:
    assert Pin.parse(text) == Pin(DIGEST)
    assert str(Pin.parse(text)) == f"sha256/{BASE64}"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "sha256/",
        f"sha1/{BASE64}",
        f"SHA256/{BASE64}",
        f"sha256///{BASE64}",
        f"sha256/{BASE64}=",
        f"sha256/{BASE64[:-2]}=",
        f"sha256/{BASE64[1:]}",
        f"sha256/{BASE64[:42]}" + chr(ord(BASE64[42]) + 1) + "=",
        f"sha256/{BASE64.replace('=', '')}A",
        f"sha256/{BASE64[:20]}\n{BASE64[20:]}",
        DIGEST.hex()[:-1],
        DIGEST.hex()[:-2],
        DIGEST.hex() + "00",
        f"sha256/{BASE64};sha256/{BASE64}",
    ],
)
def test_a_malformed_pin_is_an_error_when_it_is_read(text: str) -> None:
    """A pin that silently matched nothing, or something else, would be worse than none."""
    with pytest.raises(ConfigurationError) as caught:
        Pin.parse(text)
    assert caught.value.code == "pin_malformed"


@given(st.binary(min_size=32, max_size=32))
def test_a_pin_reads_back_what_it_prints(digest: bytes) -> None:
    assert Pin.parse(str(Pin(digest))) == Pin(digest)


def test_a_key_pasted_as_a_pin_does_not_come_back_in_the_message() -> None:
    key = trustme.CA().private_key_pem.bytes().decode()
    for text in (key, key.splitlines()[1] * 2):
        with pytest.raises(ConfigurationError) as caught:
            Pin.parse(text)
        assert key.splitlines()[1][:20] not in str(caught.value)


def test_the_key_of_a_certificate_is_found_where_cryptography_finds_it(
    certificate: x509.Certificate,
) -> None:
    expected = certificate.public_key().public_bytes(
        Encoding.DER, PublicFormat.SubjectPublicKeyInfo
    )
    assert spki(certificate.public_bytes(Encoding.DER)) == expected


@given(data=st.data())
def test_a_broken_certificate_is_a_value_error(
    certificate: x509.Certificate, data: st.DataObject
) -> None:
    der = bytearray(certificate.public_bytes(Encoding.DER))
    for _ in range(data.draw(st.integers(1, 4))):
        der[data.draw(st.integers(0, len(der) - 1))] = data.draw(st.integers(0, 255))
    cut = bytes(der[: data.draw(st.integers(0, len(der)))])
    with contextlib.suppress(ValueError):
        assert spki(cut) in cut


def test_a_certificate_a_public_key_and_a_file_are_pins(
    certificate: x509.Certificate, tmp_path: Path
) -> None:
    expected = Pin.of(certificate.public_bytes(Encoding.DER))
    public = certificate.public_key()
    forms = [
        certificate.public_bytes(Encoding.PEM),
        certificate.public_bytes(Encoding.DER),
        public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo),
        public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo),
    ]
    for number, form in enumerate(forms):
        path = tmp_path / str(number)
        path.write_bytes(form)
        assert Pin.from_certificate(form) == expected
        assert Pin.from_file(path) == expected
        assert PinPolicy.parse([path]).pins == (expected,)


def test_a_file_without_a_key_to_pin_is_refused(tmp_path: Path) -> None:
    for content in (
        b"",
        b"hello",
        b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
    ):
        (tmp_path / "file").write_bytes(content)
        with pytest.raises(ConfigurationError) as caught:
            Pin.from_file(tmp_path / "file")
        assert caught.value.code == "pin_file"
    with pytest.raises(ConfigurationError, match="No such file"):
        Pin.from_file(tmp_path / "missing")


def test_any_pin_of_several_matches_any_certificate_of_the_chain(
    certificate: x509.Certificate,
) -> None:
    der = certificate.public_bytes(Encoding.DER)
    other = x509.load_pem_x509_certificate(trustme.CA().cert_pem.bytes()).public_bytes(Encoding.DER)
    backup = Pin(DIGEST)
    assert match([backup, Pin.of(der)], [other, der])
    assert not match([backup], [other, der])
    assert not match([backup], [])
    assert not match([], [der])


def test_a_pin_speaks_about_its_hosts_only() -> None:
    policy = PinPolicy.parse({"api.example.com": [f"sha256/{BASE64}"], "*.internal": DIGEST.hex()})
    assert len(policy.applying_to("api.example.com")) == 1
    assert len(policy.applying_to("orders.internal")) == 1
    assert policy.applying_to("example.com") == ()


def test_pins_without_a_host_do_not_follow_a_redirect() -> None:
    scoped = Pin.parse(DIGEST.hex(), host="b.example")
    assert PinPolicy.parse([DIGEST.hex(), scoped]).scoped().pins == (scoped,)


UTC = datetime.UTC
SOON = datetime.datetime(2030, 1, 1, tzinfo=UTC)


def test_an_expiry_needs_a_decision() -> None:
    with pytest.raises(ConfigurationError, match="go together"):
        PinPolicy.parse([DIGEST.hex()], expires=SOON)
    with pytest.raises(ConfigurationError, match="go together"):
        PinPolicy.parse([DIGEST.hex()], on_expiry="fail-open")
    with pytest.raises(ConfigurationError, match="no time zone"):
        PinPolicy.parse([], expires=SOON.replace(tzinfo=None), on_expiry="fail-open")
    policy = PinPolicy.parse([DIGEST.hex()], expires=SOON, on_expiry="fail-closed")
    assert not policy.expired(SOON - datetime.timedelta(seconds=1))
    assert policy.expired(SOON)


@pytest.mark.parametrize("pins", [f"sha256/{BASE64}", Pin(DIGEST), Path("server.pem"), b"x"])
def test_a_single_pin_where_a_list_belongs_is_refused(pins: object) -> None:
    """A str is a sequence too: of characters."""
    with pytest.raises(ConfigurationError) as caught:
        PinPolicy.parse(pins)  # type: ignore[arg-type]
    assert caught.value.code == "pins_type"
