"""What the throwaway CA issues is right in every way, or wrong in exactly one."""

from __future__ import annotations

import datetime
import ssl
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.hashes import SHA384

from mtls_client import Identity
from mtls_client._tls import keys
from mtls_client.testing import CA

PAST = datetime.datetime(2020, 1, 1, tzinfo=datetime.UTC)
DAY = datetime.timedelta(days=1)


def shake(server: Identity, client: Identity, ca: CA) -> dict[str, Any]:
    """Shake hands under the strictest rules of `ssl`; return what the server saw."""
    ours, theirs = (
        ssl.SSLContext(protocol) for protocol in (ssl.PROTOCOL_TLS_CLIENT, ssl.PROTOCOL_TLS_SERVER)
    )
    for context, identity in ((ours, client), (theirs, server)):
        keys.present(context, identity)
        context.load_verify_locations(cadata=ca.pem.decode())
        context.verify_flags |= ssl.VerifyFlags.VERIFY_X509_STRICT
        context.verify_mode = ssl.CERT_REQUIRED
    up, down = ssl.MemoryBIO(), ssl.MemoryBIO()
    sides = [
        ours.wrap_bio(down, up, server_hostname="localhost"),
        theirs.wrap_bio(up, down, server_side=True),
    ]
    for side in sides * 3:
        try:
            side.do_handshake()
        except ssl.SSLWantReadError:
            continue
    seen = sides[1].getpeercert()
    assert seen is not None
    return seen


@pytest.mark.parametrize("authority", ["ec", "rsa", "ed25519"])
@pytest.mark.parametrize("leaf", ["ec", "rsa", "ed25519"])
@pytest.mark.parametrize("depth", [0, 1, 2])
def test_certificates_obey_the_strict_profile_of_python_3_13(
    authority: Any, leaf: Any, depth: int
) -> None:
    issuer = ca = CA(key=authority)
    for level in range(depth):
        issuer = issuer.intermediate(f"Level {level}", key=authority)
    server = issuer.issue("server", dns=["localhost"], client=False, server=True, key=leaf)
    seen = shake(server, issuer.issue("client", key=leaf), ca)
    assert seen["subject"] == ((("commonName", "client"),),)


def test_the_strict_profile_would_find_a_fault(ca: CA, server_identity: Identity) -> None:
    """The control of the test above."""
    past = ca.issue("client", not_before=PAST, not_after=PAST + DAY)
    with pytest.raises(ssl.SSLCertVerificationError, match="expired"):
        shake(server_identity, past, ca)


def test_names_and_chain(ca: CA) -> None:
    names: Any = {"dns": ["a.test"], "ips": ["::1"], "uris": ["spiffe://test/a"]}
    intermediate = ca.intermediate("Middle")
    identity = intermediate.issue("named", **names)
    assert (identity.subject, identity.issuer) == ("CN=named", "CN=Middle")
    assert (identity.san_dns, identity.san_uri) == (("a.test",), ("spiffe://test/a",))
    assert identity.chain == (intermediate.certificate, ca.certificate)


@pytest.mark.parametrize(
    ("options", "changed"),
    [
        ({}, set()),
        ({"not_before": PAST, "not_after": PAST + DAY}, {"expired"}),
        ({"not_after": PAST}, {"expired"}),
        ({"client": False, "server": True}, {"extendedKeyUsage"}),
        ({"extended_key_usage": False}, {"extendedKeyUsage"}),
        ({"key_usage": False}, {"keyUsage"}),
        ({"key": "rsa", "key_bits": 1024}, {"key"}),
        ({"algorithm": SHA384()}, {"signature"}),
        ({"dns": ["localhost"]}, {"subjectAltName"}),
    ],
    ids=lambda value: ",".join(value) if isinstance(value, dict) else "",
)
def test_a_keyword_changes_one_thing(options: Any, changed: set[str], ca: CA) -> None:
    ordinary, odd = traits(ca.issue().certificate), traits(ca.issue(**options).certificate)
    assert {name for name in ordinary | odd if ordinary.get(name) != odd.get(name)} == changed


def traits(certificate: x509.Certificate) -> dict[str, object]:
    """Return all that matters of a certificate but for the numbers that are always new."""
    key: Any = certificate.public_key()
    always_new = x509.SubjectKeyIdentifier
    return {
        "subject": certificate.subject,
        "issuer": certificate.issuer,
        "expired": certificate.not_valid_after_utc < datetime.datetime.now(datetime.UTC),
        "key": key.key_size,
        "signature": certificate.signature_hash_algorithm.name,  # type: ignore[union-attr]
    } | {
        one.oid._name: (one.critical, None if isinstance(one.value, always_new) else one.value)
        for one in certificate.extensions
    }


def test_a_key_can_be_certified_again(ca: CA) -> None:
    first = ca.issue()
    key: Any = first.private_key
    second = ca.issue(key=key)
    assert second.pin == first.pin
    assert second.fingerprint != first.fingerprint


def test_a_crl_names_the_revoked_and_is_signed(ca: CA, other_ca: CA) -> None:
    first, second, spared = (ca.issue(name) for name in ("first", "second", "spared"))
    crl = x509.load_pem_x509_crl(ca.crl([first, second.certificate]))
    numbers = [one.certificate.serial_number for one in (first, second)]
    assert [one.serial_number for one in crl] == numbers
    assert crl.get_revoked_certificate_by_serial_number(spared.certificate.serial_number) is None
    assert crl.is_signature_valid(ca.certificate.public_key())  # type: ignore[arg-type]
    assert not crl.is_signature_valid(other_ca.certificate.public_key())  # type: ignore[arg-type]


def test_a_crl_can_be_out_of_date(ca: CA) -> None:
    crl = x509.load_pem_x509_crl(ca.crl(last_update=PAST, next_update=PAST + DAY))
    assert (crl.last_update_utc, crl.next_update_utc) == (PAST, PAST + DAY)
