"""An EST server that is broken or hostile gets nothing, and takes nothing away."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec

from mtls_client import Identity, RenewalError, RenewalRefusedError, Trust
from mtls_client.renewers import EST
from mtls_client.testing import CA, Answer, Call, Server
from tests.identity.secrecy import assert_silent
from tests.renewers.est_server import ESTServer, certificates, text
from tests.renewers.issuing import certified

SECRET = "correct-horse-battery"
LARGE = b"A" * (2**20 + 1)


@pytest.fixture(scope="module")
def present(ca: CA) -> Identity:
    return ca.issue("orders")


@pytest.fixture
def est(ca: CA, present: Identity) -> ESTServer:
    return ESTServer(ca, present)


@pytest.fixture
def url(est: ESTServer, serve: Callable[..., Server]) -> str:
    return serve(handler=est).url


def test_a_certificate_for_another_key_is_refused(
    est: ESTServer, url: str, trust: Trust, present: Identity
) -> None:
    other = ec.generate_private_key(ec.SECP256R1()).public_key()
    est.enrolled = lambda csr: certificates(certified(est.issuer, other, csr.subject))
    with pytest.raises(RenewalError, match="does not belong") as caught:
        EST(url, trust=trust).renew(present)
    assert caught.value.code == "renewal_answer"
    assert_silent(caught.value)


@pytest.mark.parametrize(
    "body", [b"", b"MIIB", b"not base64!", b"<html>", b"\x30\x82\xff\xff", b"MAA="]
)
def test_an_answer_that_is_no_certificate_is_refused(
    est: ESTServer, url: str, trust: Trust, present: Identity, body: bytes
) -> None:
    est.enrolled = lambda csr: Answer(body=body)
    with pytest.raises(RenewalError) as caught:
        EST(url, trust=trust).renew(present)
    assert caught.value.code == "renewal_answer"


def test_an_oversize_answer_is_refused(
    est: ESTServer, url: str, trust: Trust, present: Identity
) -> None:
    est.enrolled = lambda csr: Answer(body=LARGE)
    with pytest.raises(RenewalError, match="larger than") as caught:
        EST(url, trust=trust).renew(present)
    assert caught.value.code == "issuer_answer"


def test_a_request_that_is_put_off_for_ever_ends(
    est: ESTServer, url: str, trust: Trust, present: Identity
) -> None:
    """And the server is not asked more than once a second."""
    est.put_off = ["0"] * 100
    with pytest.raises(RenewalError) as caught:
        EST(url, trust=trust, timeout=2.5).renew(present)
    assert caught.value.code == "renewal_pending"
    assert len(est.requests) <= 3


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_is_not_followed(
    est: ESTServer,
    url: str,
    serve: Callable[..., Server],
    trust: Trust,
    present: Identity,
    status: int,
) -> None:
    elsewhere = serve(client_certificate="optional")
    est.password = f"orders:{SECRET}"
    est.enrolled = lambda csr: Answer(status=status, headers={"Location": elsewhere.url})
    with pytest.raises(RenewalRefusedError) as caught:
        EST(url, trust=trust, username="orders", password=SECRET).renew(present)
    assert "redirects are not followed" in (caught.value.hint or "")
    assert elsewhere.calls == []
    assert_silent(caught.value, SECRET)


def test_an_untrusted_server_gets_neither_request_nor_password(
    ca: CA, other_ca: CA, serve: Callable[..., Server], present: Identity
) -> None:
    server = serve(handler=lambda call: text(401, "", {"WWW-Authenticate": "Basic"}))
    fetched: list[int] = []
    renewer = EST(
        server.url,
        trust=Trust.from_pem(other_ca.pem),
        username="orders",
        password=lambda: fetched.append(1) or SECRET,
    )
    with pytest.raises(RenewalRefusedError) as caught:
        renewer.renew(present)
    assert caught.value.code == "server_untrusted"
    assert (server.calls, fetched) == ([], [])


def test_an_identity_that_the_server_refuses_is_told_so(
    est: ESTServer, url: str, trust: Trust, untrusted_identity: Identity
) -> None:
    with pytest.raises(RenewalRefusedError) as caught:
        EST(url, trust=trust).renew(untrusted_identity)
    assert caught.value.code == "identity_rejected"
    assert est.requests == []


def test_an_expired_identity_is_told_so(url: str, trust: Trust, expired_identity: Identity) -> None:
    with pytest.raises(RenewalRefusedError, match="expired") as caught:
        EST(url, trust=trust).renew(expired_identity)
    assert caught.value.code == "identity_rejected"


def test_an_echo_of_the_password_is_not_told(
    est: ESTServer, url: str, trust: Trust, present: Identity
) -> None:
    est.password = f"orders:{SECRET}"
    est.enrolled = lambda csr: text(400, f"{SECRET} {est.authorizations[-1]} is not welcome")
    with pytest.raises(RenewalRefusedError, match="is not welcome") as caught:
        EST(url, trust=trust, username="orders", password=SECRET).renew(present)
    assert_silent(caught.value, SECRET, est.authorizations[-1] or "")


@pytest.mark.parametrize(
    "authorities",
    [
        lambda: text(404, "none"),
        lambda: text(500, "broken"),
        lambda: Answer(body=b"garbage"),
        lambda: Answer(body=LARGE),
        lambda: Answer(headers={"Content-Length": "x"}),
    ],
)
def test_a_certificate_outlives_whatever_the_server_does_next(
    est: ESTServer,
    url: str,
    trust: Trust,
    ca: CA,
    present: Identity,
    authorities: Callable[[], Answer],
) -> None:
    """It has been issued, and the old one may be revoked: it must not get lost."""
    est.authorities = authorities
    with_roots = Identity(present.certificate, present.private_key, roots=[ca.certificate])
    renewed = EST(url, trust=trust).renew(with_roots)
    assert renewed.certificate.issuer == est.issuer.certificate.subject
    assert renewed.roots == (ca.certificate,)
    assert renewed.notes[0].startswith("the EST server's CA certificates could not be had: ")


def test_authorities_of_others_are_no_part_of_the_chain(
    est: ESTServer, url: str, trust: Trust, ca: CA, other_ca: CA, present: Identity
) -> None:
    """Roots are those that have signed themselves, not what bears the same name (§4.1.3)."""
    namesake = certified(CA(), ca.certificate.public_key(), ca.certificate.subject)
    assert namesake.subject == namesake.issuer
    published = [other_ca.certificate, ca.certificate, est.issuer.certificate, namesake]
    est.authorities = lambda: certificates(*published)
    renewed = EST(url, trust=trust).renew(present)
    assert renewed.chain[0] == est.issuer.certificate
    assert set(renewed.roots) == {ca.certificate, other_ca.certificate}
    assert renewed.notes == ()


def test_authorities_that_cannot_be_read_do_not_cost_the_certificate(
    est: ESTServer, url: str, trust: Trust, present: Identity
) -> None:
    names = x509.ObjectIdentifier("2.5.29.17")
    party = x509.UnrecognizedExtension(names, bytes.fromhex("3002a500"))  # an EDI party name
    issuer = est.issuer.certificate
    damaged = certified(est.ca, issuer.public_key(), issuer.subject, further=[party])
    est.authorities = lambda: certificates(damaged)
    renewed = EST(url, trust=trust).renew(present)
    assert renewed.certificate.issuer == issuer.subject
    [note] = renewed.notes
    assert note.startswith("the issuer's CA certificates are of no use: damaged")


def test_a_server_that_is_gone_is_asked_again_later(
    serve: Callable[..., Server], trust: Trust, present: Identity
) -> None:
    def hang_up(call: Call) -> Answer:
        raise ConnectionResetError

    server = serve(handler=hang_up)
    server.__exit__(None, None, None)
    with pytest.raises(RenewalError) as caught:
        EST(server.url, trust=trust).renew(present)
    assert (caught.value.code, caught.value.retryable) == ("issuer_unreachable", True)


def test_a_subject_with_line_breaks_is_noted_in_one_line(
    est: ESTServer, url: str, trust: Trust, present: Identity
) -> None:
    evil = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "a\n\x1b[31mroot logged in")])
    est.enrolled = lambda csr: certificates(certified(est.issuer, csr.public_key(), evil))
    [note] = EST(url, trust=trust).renew(present).notes
    assert note.isprintable()
