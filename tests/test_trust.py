"""A trust is checked when it is made, never changes, and says what it is."""

from __future__ import annotations

import dataclasses
import datetime
import ssl
import warnings
from pathlib import Path
from typing import Any

import pytest
import trustme
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding

from mtls_client.errors import ConfigurationError
from mtls_client.trust import Trust, UnverifiedWarning

CA = trustme.CA().cert_pem.bytes()


def a_crl() -> x509.CertificateRevocationList:
    now = datetime.datetime.now(datetime.UTC)
    builder = x509.CertificateRevocationListBuilder(
        x509.Name([]), last_update=now, next_update=now + datetime.timedelta(days=1)
    )
    return builder.sign(ec.generate_private_key(ec.SECP256R1()), hashes.SHA256())


def test_roots_are_read_as_pem_or_der_from_bytes_or_a_file(tmp_path: Path) -> None:
    der = x509.load_pem_x509_certificate(CA).public_bytes(Encoding.DER)
    (tmp_path / "ca.pem").write_bytes(CA)
    (tmp_path / "ca.der").write_bytes(der)
    expected = Trust.from_pem(CA)
    assert expected == Trust.from_pem(CA.decode())
    assert expected == Trust.from_pem(der)
    assert expected == Trust.from_file(tmp_path / "ca.pem")
    assert expected == Trust.from_file(str(tmp_path / "ca.der"))
    assert len(expected.anchors.certificates) == 1


def test_adding_returns_a_wider_trust_and_leaves_the_first_alone(tmp_path: Path) -> None:
    (tmp_path / "ca.pem").write_bytes(CA)
    system = Trust.system(minimum_version="1.3")
    for roots in (tmp_path / "ca.pem", str(tmp_path / "ca.pem"), CA, CA.decode()):
        wider = system.adding(roots)
        assert wider.anchors.public == "system"
        assert len(wider.anchors.certificates) == 1
        assert wider.minimum_version is ssl.TLSVersion.TLSv1_3
    assert system.anchors.certificates == ()


def test_a_trust_cannot_be_changed() -> None:
    trust = Trust.system()
    with pytest.raises(dataclasses.FrozenInstanceError):
        trust.verified = False  # type: ignore[misc]


@pytest.mark.parametrize(
    ("options", "code"),
    [
        ({"minimum_version": "1.1"}, "tls_version"),
        ({"minimum_version": ssl.TLSVersion.TLSv1}, "tls_version"),
        ({"minimum_version": ssl.TLSVersion.MINIMUM_SUPPORTED}, "tls_version"),
        ({"minimum_version": "1.3", "maximum_version": "1.2"}, "tls_version"),
        ({"revocation": "leaf"}, "revocation_mode"),
        (
            {"revocation": "sometimes", "crls": a_crl().public_bytes(Encoding.DER)},
            "revocation_mode",
        ),
        ({"revocation": "none", "crls": a_crl().public_bytes(Encoding.DER)}, "revocation_mode"),
        ({"crls": b"not a CRL"}, "crl_format"),
        ({"crls": "missing.crl"}, "trust_file"),
        ({"pins": ["sha256/short"]}, "pin_malformed"),
    ],
)
def test_a_contradiction_is_found_when_the_trust_is_made(options: Any, code: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        Trust.system(**options)
    assert caught.value.code == code
    assert caught.value.hint


def test_an_unknown_keyword_is_a_type_error() -> None:
    with pytest.raises(TypeError, match="verify"):
        Trust.system(verify=False)  # type: ignore[call-arg]


@pytest.mark.parametrize("data", [b"", b"hello", b"-----BEGIN CERTIFICATE-----\nAAAA\n"])
def test_a_file_without_a_certificate_is_refused(data: bytes, tmp_path: Path) -> None:
    (tmp_path / "ca.pem").write_bytes(data)
    with pytest.raises(ConfigurationError, match=r"no CA certificate in .*ca\.pem"):
        Trust.from_file(tmp_path / "ca.pem")


def test_a_missing_file_is_named() -> None:
    with pytest.raises(ConfigurationError, match=r"cannot read nowhere\.pem: No such file"):
        Trust.from_file("nowhere.pem")


def test_the_only_way_out_says_so() -> None:
    with pytest.warns(UnverifiedWarning, match="no server is verified"):
        trust = Trust.dangerously_unverified()
    assert repr(trust) == "Trust.dangerously_unverified()"
    with pytest.raises(ConfigurationError, match="verifies nothing"):
        trust.adding(CA)


def test_the_repr_says_what_is_demanded() -> None:
    trust = Trust.from_pem(CA, pins=["00" * 32], minimum_version="1.3", allow_legacy_ca=True)
    expected = "<Trust: 1 root, 1 pin, legacy CAs allowed, TLSv1_3 or newer>"
    assert repr(trust) == expected


def test_making_a_trust_reads_no_system_roots() -> None:
    """`Trust.system()` is the default of every signature, and must cost nothing."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert Trust.system() == Trust.system()
    assert hash(Trust.system()) == hash(Trust.system())
