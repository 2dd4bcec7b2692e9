"""An identity as a value: what it tells, what it keeps to itself, what it is fit for."""

from __future__ import annotations

import copy
import datetime
import pickle
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes

import mtls_client as mtls
from mtls_client import Identity, Source
from mtls_client.testing import CA
from tests.components import require
from tests.identity.conftest import PASSWORD, Files, run

NOW = datetime.datetime.now(datetime.UTC)
DAY = datetime.timedelta(days=1)


def test_it_tells_what_openssl_tells(issuing_ca: CA, tmp_path: Path) -> None:
    openssl = require("openssl", "apt-get install openssl")
    identity = issuing_ca.issue("us", dns=["a.example"], uris=["spiffe://example/us"])
    path = tmp_path / "us.pem"
    path.write_bytes(identity.certificate_pem())
    shown = run(
        *(openssl, "x509", "-in", path, "-noout", "-subject", "-issuer", "-serial"),
        *("-fingerprint", "-sha256", "-dates", "-nameopt", "RFC2253", "-dateopt", "iso_8601"),
    ).decode()
    told = dict(line.split("=", 1) for line in shown.splitlines())
    assert told["subject"] == identity.subject
    assert told["issuer"] == identity.issuer
    assert told["serial"].lower().lstrip("0") == identity.serial
    assert told["sha256 Fingerprint"].replace(":", "").lower() == identity.fingerprint
    assert told["notBefore"] == f"{identity.not_before:%Y-%m-%d %H:%M:%SZ}"
    assert told["notAfter"] == f"{identity.not_after:%Y-%m-%d %H:%M:%SZ}"
    key = run(openssl, "x509", "-in", path, "-noout", "-pubkey")
    public = run(openssl, "pkey", "-pubin", "-outform", "DER", stdin=key)
    digest = run(openssl, "dgst", "-sha256", "-binary", stdin=public)
    encoded = run(openssl, "base64", stdin=digest).decode().strip()
    assert identity.pin == f"sha256/{encoded}"
    assert identity.san_dns == ("a.example",)
    assert identity.san_uri == ("spiffe://example/us",)


def test_names_are_empty_without_the_extension(rsa: Files) -> None:
    assert (rsa.identity.san_dns, rsa.identity.san_uri) == ((), ())


def test_it_is_a_source_of_itself(rsa: Files) -> None:
    assert isinstance(rsa.identity, Source)
    assert rsa.identity.load() is rsa.identity


def test_nothing_that_prints_it_shows_the_key(rsa: Files) -> None:
    identity = Identity.from_pem(rsa.everything)
    assert identity.private_key_pem() == rsa.key.read_bytes()
    for text in (repr(identity), str(identity), f"{identity}", repr(vars(identity))):
        assert "PRIVATE KEY" not in text
        assert "MII" not in text
    assert repr(identity) == (
        f"<Identity: CN=client, serial {identity.serial}, "
        f"until {identity.not_after:%Y-%m-%d %H:%M} UTC, sha256 {identity.fingerprint}>"
    )


def test_a_name_cannot_write_lines_into_a_log(issuing_ca: CA) -> None:
    identity = issuing_ca.issue("us\r\nINFO all is well\x1b[2J\u202e")
    assert identity.subject == r"CN=us\0D\0AINFO all is well\1B[2J\E2\80\AE"
    assert identity.subject in repr(identity)
    # it can still be selected by either
    data = identity.private_key_pem() + identity.certificate_pem()
    for select in (identity.subject, "us\r\nINFO all is well\x1b[2J\u202e"):
        assert Identity.from_pem(data, select=select).serial == identity.serial


def test_pickling_is_refused(rsa: Files) -> None:
    with pytest.raises(mtls.ConfigurationError, match="cannot be pickled"):
        pickle.dumps(rsa.identity)


def test_copies_are_the_identity_itself(rsa: Files) -> None:
    assert copy.copy(rsa.identity) is rsa.identity
    assert copy.deepcopy({"us": rsa.identity})["us"] is rsa.identity


def test_it_cannot_be_changed(rsa: Files) -> None:
    for name in ("certificate", "private_key", "chain", "subject", "other"):
        with pytest.raises(AttributeError):
            setattr(rsa.identity, name, None)
    with pytest.raises(AttributeError):
        del rsa.identity.chain


@pytest.mark.parametrize("password", [None, PASSWORD])
def test_what_is_saved_as_pem_is_loaded_again(
    password: str | None, rsa: Files, tmp_path: Path
) -> None:
    path = tmp_path / "saved.pem"
    rsa.identity.save_pem(path, password=password)
    assert path.stat().st_mode & 0o777 == 0o600
    assert (b"ENCRYPTED" in path.read_bytes()) == (password is not None)
    loaded = Identity.from_pem(path.read_bytes(), password=password)
    assert (loaded.fingerprint, loaded.chain) == (rsa.identity.fingerprint, rsa.identity.chain)


@pytest.mark.parametrize("password", ["", b"", "x" * 1024])
def test_a_password_that_encrypts_nothing_is_refused(
    password: str, rsa: Files, tmp_path: Path
) -> None:
    for save in (rsa.identity.save_pem, rsa.identity.save_pkcs12):
        with pytest.raises(mtls.ConfigurationError, match="1 to 1023 bytes"):
            save(tmp_path / "saved", password=password)
    assert list(tmp_path.iterdir()) == []


def test_a_good_identity_is_usable(rsa: Files) -> None:
    rsa.identity.require_usable()
    assert rsa.identity.usable_for_client_auth
    assert datetime.timedelta(0) < rsa.identity.expires_in() <= DAY


def test_dates(issuing_ca: CA) -> None:
    identity = issuing_ca.issue("us", not_before=NOW, not_after=NOW + 10 * DAY)
    second = datetime.timedelta(seconds=1)
    identity.require_usable(identity.not_before)
    identity.require_usable(identity.not_after - second)
    with pytest.raises(mtls.IdentityExpiredError, match="expired on"):
        identity.require_usable(identity.not_after)
    with pytest.raises(mtls.IdentityNotYetValidError, match="not valid before"):
        identity.require_usable(identity.not_before - second)
    assert identity.expires_in(identity.not_after - second) == second
    assert identity.expires_in(identity.not_after + second) == -second


def test_a_servers_certificate_is_not_for_clients(issuing_ca: CA) -> None:
    identity = issuing_ca.issue("server", client=False, server=True)
    assert not identity.usable_for_client_auth
    with pytest.raises(mtls.IdentityPurposeError, match="extended key usage lacks clientAuth"):
        identity.require_usable()


def usage(identity: Identity, ca: CA, *extensions: x509.ExtensionType) -> Identity:
    """Return an identity with exactly these extensions."""
    key = identity.private_key
    builder = (
        x509.CertificateBuilder()
        .subject_name(identity.certificate.subject)
        .issuer_name(ca.certificate.subject)
        .public_key(key.public_key())  # type: ignore[arg-type]
        .serial_number(1)
        .not_valid_before(NOW - DAY)
        .not_valid_after(NOW + DAY)
    )
    for extension in extensions:
        builder = builder.add_extension(extension, critical=False)
    return Identity(builder.sign(key, hashes.SHA256()), key)  # type: ignore[arg-type]


def key_usage(*, signs: bool) -> x509.KeyUsage:
    return x509.KeyUsage(signs, False, not signs, False, False, False, False, False, False)


@pytest.mark.parametrize(
    ("extensions", "allowed"),
    [
        ((), True),
        ((key_usage(signs=True),), True),
        ((key_usage(signs=False),), False),
        ((x509.ExtendedKeyUsage([x509.ObjectIdentifier("2.5.29.37.0")]),), True),
        ((x509.ExtendedKeyUsage([x509.ObjectIdentifier("1.3.6.1.5.5.7.3.4")]),), False),
    ],
    ids=["none", "digitalSignature", "keyEncipherment", "any purpose", "mail"],
)
def test_usage_extensions(
    extensions: tuple[x509.ExtensionType, ...], allowed: bool, rsa: Files, issuing_ca: CA
) -> None:
    identity = usage(rsa.identity, issuing_ca, *extensions)
    assert identity.usable_for_client_auth == allowed
    if not allowed:
        with pytest.raises(mtls.IdentityPurposeError):
            identity.require_usable()


@pytest.mark.parametrize("bits", [1024, 1536])
def test_a_short_rsa_key_is_weak(bits: int, issuing_ca: CA) -> None:
    with pytest.raises(mtls.WeakIdentityError, match=f"{bits} bits"):
        issuing_ca.issue("us", key="rsa", key_bits=bits).require_usable()


@pytest.mark.parametrize("digest", ["sha1", "md5"])
@pytest.mark.parametrize("self_signed", [True, False])
def test_an_old_signature_is_weak(
    digest: str, self_signed: bool, rsa: Files, tmp_path: Path
) -> None:
    openssl = require("openssl", "apt-get install openssl")
    request = run(openssl, "req", "-new", "-key", rsa.key, "-subj", "/CN=old")
    by = ["-signkey", rsa.key] if self_signed else ["-CA", rsa.certificate, "-CAkey", rsa.key]
    signed = run(
        *(openssl, "x509", "-req", f"-{digest}", "-days", "2", *by, "-set_serial", "1"),
        stdin=request,
    )
    identity = Identity.from_key_pair(signed, rsa.key.read_bytes())
    with pytest.raises(mtls.WeakIdentityError, match=digest.upper()):
        identity.require_usable()
