"""What an EST server wants in a request is met where it can be, and noted where it cannot."""

from __future__ import annotations

import contextlib
from collections.abc import Callable

import pytest
from cryptography import x509
from hypothesis import given
from hypothesis import strategies as st

from mtls_client import Identity, Trust
from mtls_client.renewers import EST
from mtls_client.renewers._csr_attributes import CSRAttributes
from mtls_client.testing import CA, Answer, Server
from tests.renewers.est_server import ESTServer, attribute, oid, text, tlv, wishes

RSA, EC, ED25519 = "1.2.840.113549.1.1.1", "1.2.840.10045.2.1", "1.3.101.112"
P256, P384, P521 = "1.2.840.10045.3.1.7", "1.3.132.0.34", "1.3.132.0.35"
ECDSA_SHA256, ECDSA_SHA384 = "1.2.840.10045.4.3.2", "1.2.840.10045.4.3.3"
RSA_SHA512 = "1.2.840.113549.1.1.13"
EXTENSION_REQUEST, CHALLENGE_PASSWORD = "1.2.840.113549.1.9.14", "1.2.840.113549.1.9.7"
MAC_ADDRESS = "1.3.6.1.1.1.1.22"
KEY_USAGE, EXTENDED_KEY_USAGE, ALTERNATIVE = "2.5.29.15", "2.5.29.37", "2.5.29.17"


def number(value: int) -> bytes:
    return tlv(0x02, value.to_bytes(value.bit_length() // 8 + 1, "big"))


@pytest.fixture(scope="module")
def present(ca: CA) -> Identity:
    """A P-256 key."""
    return ca.issue("orders", dns=["orders.example.com"])


@pytest.fixture
def est(ca: CA, present: Identity) -> ESTServer:
    return ESTServer(ca, present)


@pytest.fixture
def renewed(
    est: ESTServer, serve: Callable[..., Server], trust: Trust, present: Identity
) -> Callable[..., Identity]:
    """Renew at a server with some wishes."""
    url = serve(handler=est).url

    def renewal(answer: Answer, **options: object) -> Identity:
        est.wishes = answer
        return EST(url, trust=trust, **options).renew(present)  # type: ignore[arg-type]

    return renewal


@pytest.mark.parametrize(
    ("wanted", "kind", "bits"),
    [
        ([], "EC", 256),
        ([oid(EC)], "EC", 256),
        ([oid(RSA)], "RSA", 2048),
        ([oid(ED25519)], "Ed25519", 256),
        ([oid(P384)], "EC", 384),
        ([attribute(EC, oid(P384))], "EC", 384),
        ([attribute(EC, oid(P384), oid(P256))], "EC", 256),
        ([attribute(EC, oid(P521)), attribute(EC, oid(P384))], "EC", 384),
        ([attribute(RSA, number(3072))], "RSA", 3072),
        ([attribute(RSA, number(3072)), oid(EC)], "EC", 256),
        ([oid(RSA_SHA512)], "RSA", 2048),
    ],
)
def test_the_new_key_is_of_a_kind_that_the_server_takes(
    renewed: Callable[..., Identity], wanted: list[bytes], kind: str, bits: int
) -> None:
    """And of the present one's if it takes that."""
    identity = renewed(wishes(*wanted))
    assert (identity.key_type, identity.key_bits) == (kind, bits)
    assert identity.notes == ()


@pytest.mark.parametrize(
    ("wanted", "named"),
    [
        (attribute(RSA, number(65536)), "RSA 65536"),
        (attribute(RSA, number(2**80)), f"RSA {2**64}"),
        (attribute(EC, oid(P521)), "EC 521"),
        (attribute(EC, oid("1.3.132.0.10")), "EC"),
        (oid("1.3.101.113"), "Ed448"),
    ],
)
def test_a_key_that_is_not_made_is_noted(
    renewed: Callable[..., Identity], wanted: bytes, named: str
) -> None:
    """No server can make its client compute for hours."""
    identity = renewed(wishes(wanted))
    assert (identity.key_type, identity.key_bits) == ("EC", 256)
    assert identity.notes == (f"the EST server wants a key that is not made here: {named}",)


def test_what_the_caller_wants_comes_first(
    renewed: Callable[..., Identity], present: Identity
) -> None:
    wanted = wishes(attribute(EC, oid(P384)))
    assert renewed(wanted, key="ed25519").key_type == "Ed25519"
    assert renewed(wanted, reuse_key=True).pin == present.pin


@pytest.mark.parametrize(
    ("wanted", "digest"),
    [
        ([], "sha256"),
        ([oid(ECDSA_SHA384), oid(ECDSA_SHA256)], "sha256"),
        ([oid(ECDSA_SHA384), attribute(EC, oid(P384))], "sha384"),
        ([oid(RSA_SHA512), oid(EC)], "sha256"),
    ],
)
def test_the_request_is_signed_with_a_hash_that_the_server_takes(
    renewed: Callable[..., Identity], est: ESTServer, wanted: list[bytes], digest: str
) -> None:
    renewed(wishes(*wanted))
    used = x509.load_der_x509_csr(est.requests[0]).signature_hash_algorithm
    assert used is not None
    assert used.name == digest


def requested(est: ESTServer) -> x509.Extensions:
    return x509.load_der_x509_csr(est.requests[-1]).extensions


def test_extensions_are_asked_for_as_they_are(
    renewed: Callable[..., Identity], est: ESTServer, present: Identity
) -> None:
    identity = renewed(wishes(attribute(EXTENSION_REQUEST, oid(KEY_USAGE), oid(ALTERNATIVE))))
    kind = x509.KeyUsage
    expected = present.certificate.extensions.get_extension_for_class(kind)
    assert requested(est).get_extension_for_class(kind) == expected
    assert identity.notes == ()


def test_extensions_are_asked_for_as_the_server_writes_them(
    renewed: Callable[..., Identity], est: ESTServer
) -> None:
    """RFC 9908 §3.2."""
    usages = x509.ExtendedKeyUsage(
        [x509.ExtendedKeyUsageOID.CLIENT_AUTH, x509.ObjectIdentifier("1.2.3")]
    )
    extension = tlv(
        0x30, oid(EXTENDED_KEY_USAGE), tlv(0x01, b"\xff"), tlv(0x04, usages.public_bytes())
    )
    renewed(wishes(attribute(EXTENSION_REQUEST, tlv(0x30, extension))))
    asked = requested(est).get_extension_for_class(x509.ExtendedKeyUsage)
    assert (asked.value, asked.critical) == (usages, True)


def test_no_wish_changes_the_names(
    renewed: Callable[..., Identity], est: ESTServer, present: Identity
) -> None:
    """RFC 7030 §4.2.2; the server refuses a request with other names."""
    names = x509.SubjectAlternativeName([x509.DNSName("admin.example.com")])
    extension = tlv(0x30, oid(ALTERNATIVE), tlv(0x04, names.public_bytes()))
    identity = renewed(wishes(attribute(EXTENSION_REQUEST, tlv(0x30, extension))))
    assert identity.san_dns == present.san_dns
    asked = requested(est).get_extension_for_class(x509.SubjectAlternativeName)
    assert asked.value.get_values_for_type(x509.DNSName) == ["orders.example.com"]


def test_what_is_not_known_is_noted(renewed: Callable[..., Identity]) -> None:
    """The example of RFC 7030 §4.5.2."""
    identity = renewed(
        wishes(
            oid(CHALLENGE_PASSWORD),
            attribute(EXTENSION_REQUEST, oid(MAC_ADDRESS)),
            attribute(EC, oid(P384)),
            oid(ECDSA_SHA384),
        )
    )
    assert identity.key_bits == 384
    assert identity.notes == (
        f"the EST server wants extensions that the present certificate has not: {MAC_ADDRESS}",
        f"the EST server wants what is not known here: {CHALLENGE_PASSWORD}",
    )


def test_many_wishes_make_one_short_note(renewed: Callable[..., Identity]) -> None:
    identity = renewed(wishes(*(oid(f"1.2.3.{n}") for n in range(10_000))))
    [note] = identity.notes
    assert note.endswith("1.2.3.7 and 9992 more")


@pytest.mark.parametrize(
    "answer", [Answer(status=204), text(404, "none"), text(500, "broken"), Answer(), wishes()]
)
def test_a_server_need_not_say_what_it_wants(
    renewed: Callable[..., Identity], answer: Answer
) -> None:
    assert renewed(answer).notes == ()


@pytest.mark.parametrize(
    "body", [b"MA", b"<html>", b"\x30\x80", tlv(0x30, tlv(0x05)), tlv(0x30, tlv(0x06))]
)
def test_wishes_that_cannot_be_read_are_noted(
    renewed: Callable[..., Identity], body: bytes
) -> None:
    assert renewed(Answer(body=body)).notes == (
        "what the EST server wants (csrattrs) cannot be read",
    )


@pytest.mark.parametrize("arc", [2**35, 2**140, 2**400])
def test_no_object_identifier_is_too_large(
    renewed: Callable[..., Identity], present: Identity, arc: int
) -> None:
    extension = tlv(0x30, oid(f"1.2.{arc}"), tlv(0x04, b"\x05\0"))
    identity = renewed(wishes(attribute(EXTENSION_REQUEST, tlv(0x30, extension))))
    assert identity.subject == present.subject


@given(st.binary(max_size=64) | st.binary(max_size=64).map(lambda body: tlv(0x30, body)))
def test_no_wishes_raise_anything_but_a_value_error(body: bytes) -> None:
    with contextlib.suppress(ValueError):
        CSRAttributes.read(body)
