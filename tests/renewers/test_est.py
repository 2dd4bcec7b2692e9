"""EST renews over a connection that the present identity has authenticated, and loses nothing.

The server verifies the TLS client, the request's signature, and that the names stay.
"""

from __future__ import annotations

import base64
import textwrap
from collections.abc import Callable
from pathlib import Path

import pytest
from cryptography import x509

from mtls_client import (
    ConfigurationError,
    Identity,
    RenewalError,
    RenewalRefusedError,
    Session,
    Trust,
)
from mtls_client.renewers import EST
from mtls_client.testing import CA, Answer, Server
from tests.identity.secrecy import assert_silent
from tests.renewers.est_server import PREFIX, ESTServer, certificates, text
from tests.renewers.issuing import certified

SECRET = "correct-horse-battery"


@pytest.fixture(scope="module")
def present(ca: CA) -> Identity:
    return ca.issue("orders", dns=["orders.example.com"], uris=["spiffe://example.com/orders"])


@pytest.fixture
def est(ca: CA, present: Identity) -> ESTServer:
    return ESTServer(ca, present)


@pytest.fixture
def url(est: ESTServer, serve: Callable[..., Server]) -> str:
    return serve(handler=est).url


def test_the_new_identity_has_a_new_key_and_the_same_names(
    url: str, trust: Trust, present: Identity
) -> None:
    renewed = EST(url, trust=trust).renew(present)
    assert renewed.pin != present.pin
    assert renewed.key_type == present.key_type
    assert renewed.certificate.subject == present.certificate.subject
    assert (renewed.san_dns, renewed.san_uri) == (present.san_dns, present.san_uri)
    assert renewed.usable_for_client_auth
    assert renewed.notes == ()


def test_the_new_identity_is_accepted_by_a_server_that_knows_only_the_root(
    url: str, trust: Trust, present: Identity, server: Server
) -> None:
    """The answer has the certificate alone; the intermediate is from `cacerts`."""
    renewed = EST(url, trust=trust).renew(present)
    with Session(renewed, trust=trust) as session:
        assert session.get(server.url).json()["serial"] == renewed.serial
    [intermediate, root] = renewed.chain
    assert (intermediate.issuer, renewed.roots) == (root.subject, (root,))


def test_the_roots_beside_the_identity_will_do(url: str, ca: CA, present: Identity) -> None:
    rooted = Identity(present.certificate, present.private_key, roots=[ca.certificate])
    renewer = EST(url, trust=Trust.of_identity())
    assert renewer.renew(rooted).subject == present.subject


def test_the_key_can_be_kept(url: str, trust: Trust, present: Identity) -> None:
    renewed = EST(url, trust=trust, reuse_key=True).renew(present)
    assert renewed.pin == present.pin
    assert renewed.serial != present.serial


def test_the_kind_of_the_key_can_be_changed(url: str, trust: Trust, present: Identity) -> None:
    renewed = EST(url, trust=trust, key="ed25519").renew(present)
    assert renewed.key_type == "Ed25519"


@pytest.mark.parametrize("suffix", ["", "/", PREFIX, f"{PREFIX}/"])
def test_the_url_may_have_the_well_known_path(
    url: str, trust: Trust, present: Identity, suffix: str
) -> None:
    assert EST(url + suffix, trust=trust).renew(present).subject == present.subject


def test_a_label_is_part_of_the_path(
    ca: CA, serve: Callable[..., Server], trust: Trust, present: Identity
) -> None:
    url = serve(handler=ESTServer(ca, present, label="/iot%2Fblue")).url
    assert EST(url, label="iot/blue", trust=trust).renew(present).subject == present.subject
    with pytest.raises(RenewalRefusedError) as caught:
        EST(url, trust=trust).renew(present)
    assert "label" in (caught.value.hint or "")


def chunked(body: bytes) -> Answer:
    pieces = [body[at : at + 100] for at in range(0, len(body), 100)]
    coded = b"".join(b"%x\r\n%s\r\n" % (len(one), one) for one in pieces) + b"0\r\n\r\n"
    return Answer(headers={"Transfer-Encoding": "chunked"}, body=coded)


def armoured(body: bytes) -> Answer:
    return Answer(body=b"-----BEGIN PKCS7-----\n" + body + b"-----END PKCS7-----\n")


@pytest.mark.parametrize(
    "written",
    [
        lambda body: Answer(body=b"".join(body.split())),
        lambda body: Answer(body=textwrap.fill(body.decode(), 41).replace("\n", "\r\n").encode()),
        lambda body: Answer(body=b"\r\n \t" + body + b"\n\n"),
        lambda body: Answer(body=base64.b64decode(body)),
        armoured,
        chunked,
    ],
    ids=["one line", "CRLF", "white space", "DER", "PEM", "chunked"],
)
def test_an_answer_is_read_however_it_is_written(
    est: ESTServer, url: str, trust: Trust, present: Identity, written: Callable[[bytes], Answer]
) -> None:
    """RFC 8951 §3: base64, white space tolerated, Content-Transfer-Encoding ignored."""
    est.enrolled = lambda csr: written(certificates(est.issue(csr)).body)
    renewed = EST(url, trust=trust).renew(present)
    assert renewed.certificate.issuer == est.issuer.certificate.subject


def test_the_usage_is_asked_for_as_it_is(
    est: ESTServer, url: str, trust: Trust, present: Identity
) -> None:
    EST(url, trust=trust).renew(present)
    csr = x509.load_der_x509_csr(est.requests[0])
    asked = csr.extensions.get_extension_for_class(x509.ExtendedKeyUsage)
    assert list(asked.value) == [x509.ExtendedKeyUsageOID.CLIENT_AUTH]


def test_a_changed_subject_is_noted(
    est: ESTServer, url: str, trust: Trust, present: Identity
) -> None:
    other = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "billing")])
    est.enrolled = lambda csr: certificates(certified(est.issuer, csr.public_key(), other))
    subject, alternative = EST(url, trust=trust).renew(present).notes
    assert subject == "the subject was CN=orders and is CN=billing"
    assert alternative == (
        "the subjectAltName was orders.example.com, spiffe://example.com/orders and is none"
    )


class TestPutOff:
    """202 and Retry-After (RFC 7030 §4.2.3)."""

    def test_a_short_wait_is_waited(
        self, est: ESTServer, url: str, trust: Trust, present: Identity
    ) -> None:
        est.put_off = ["0", "1"]
        EST(url, trust=trust).renew(present)
        assert len(est.requests) == 3
        assert len(set(est.requests)) == 1

    def test_a_long_wait_is_an_error_and_the_same_request_is_sent_later(
        self, est: ESTServer, url: str, trust: Trust, present: Identity
    ) -> None:
        renewer = EST(url, trust=trust)
        est.put_off = ["3600", "7200"]
        for wait in (3600.0, 7200.0):
            with pytest.raises(RenewalError) as caught:
                renewer.renew(present)
            assert (caught.value.code, caught.value.retry_after) == ("renewal_pending", wait)
            assert caught.value.retryable
        renewed = renewer.renew(present)
        assert len(est.requests) == 3
        assert len(set(est.requests)) == 1
        assert (
            x509.load_der_x509_csr(est.requests[0]).public_key() == renewed.certificate.public_key()
        )

    def test_without_retry_after_it_is_not_waited(
        self, est: ESTServer, url: str, trust: Trust, present: Identity
    ) -> None:
        est.put_off = [None]
        with pytest.raises(RenewalError) as caught:
            EST(url, trust=trust).renew(present)
        assert (caught.value.code, caught.value.retry_after) == ("renewal_pending", None)

    def test_an_answered_request_is_forgotten(
        self, est: ESTServer, url: str, trust: Trust, present: Identity
    ) -> None:
        renewer = EST(url, trust=trust)
        renewer.renew(present)
        renewer.renew(present)
        assert len(set(est.requests)) == 2

    def test_a_refused_request_is_forgotten(
        self, est: ESTServer, url: str, trust: Trust, present: Identity
    ) -> None:
        renewer = EST(url, trust=trust)
        est.enrolled = lambda csr: text(403, "the operator says no")
        with pytest.raises(RenewalRefusedError, match="the operator says no"):
            renewer.renew(present)
        est.enrolled = est.certificate
        renewer.renew(present)
        assert len(set(est.requests)) == 2

    def test_a_request_is_kept_over_an_outage(
        self, est: ESTServer, url: str, trust: Trust, present: Identity
    ) -> None:
        renewer = EST(url, trust=trust)
        est.enrolled = lambda csr: text(503, "the CA is down", {"Retry-After": "90"})
        with pytest.raises(RenewalError) as caught:
            renewer.renew(present)
        assert (caught.value.retryable, caught.value.retry_after) == (True, 90.0)
        est.enrolled = est.certificate
        renewer.renew(present)
        assert len(set(est.requests)) == 1

    def test_two_identities_do_not_share_a_request(
        self, ca: CA, serve: Callable[..., Server], trust: Trust, present: Identity
    ) -> None:
        other = ca.issue("billing")
        renewer = EST(serve(handler=ESTServer(ca, present, other)).url, trust=trust)
        assert renewer.renew(present).subject == "CN=orders"
        assert renewer.renew(other).subject == "CN=billing"


class TestBasic:
    """HTTP Basic besides the certificate (RFC 7030 §3.2.3)."""

    def test_a_password_is_sent_when_it_is_asked_for(
        self, est: ESTServer, url: str, trust: Trust, present: Identity, tmp_path: Path
    ) -> None:
        est.password = f"orders:{SECRET}"
        (tmp_path / "password").write_text(f"{SECRET}\n")
        given = (SECRET, tmp_path / "password", lambda: SECRET.encode())
        for password in given:
            EST(url, trust=trust, username="orders", password=password).renew(present)
        assert len(est.requests) == 3

    def test_a_password_is_neither_sent_nor_fetched_unasked(
        self, est: ESTServer, url: str, trust: Trust, present: Identity
    ) -> None:
        fetched = []
        renewer = EST(url, trust=trust, username="u", password=lambda: fetched.append(1) or "")
        renewer.renew(present)
        assert set(est.authorizations) == {None}
        assert fetched == []

    @pytest.mark.parametrize("challenge", [{}, {"WWW-Authenticate": 'Bearer realm="basics"'}])
    def test_a_password_is_not_sent_for_another_challenge(
        self,
        est: ESTServer,
        url: str,
        trust: Trust,
        present: Identity,
        challenge: dict[str, str],
    ) -> None:
        est.enrolled = lambda csr: text(401, "no", challenge)
        with pytest.raises(RenewalRefusedError):
            EST(url, trust=trust, username="u", password=SECRET).renew(present)
        assert set(est.authorizations) == {None}

    def test_a_wrong_password_is_refused_and_not_told(
        self, est: ESTServer, url: str, trust: Trust, present: Identity
    ) -> None:
        est.password = "orders:another"
        with pytest.raises(RenewalRefusedError) as caught:
            EST(url, trust=trust, username="orders", password=SECRET).renew(present)
        assert caught.value.hint == "check the user name and the password"
        assert_silent(caught.value, SECRET, base64.b64encode(f"orders:{SECRET}".encode()))

    def test_without_a_password_the_hint_names_it(
        self, est: ESTServer, url: str, trust: Trust, present: Identity
    ) -> None:
        est.password = f"orders:{SECRET}"
        with pytest.raises(RenewalRefusedError) as caught:
            EST(url, trust=trust).renew(present)
        assert "EST(username=…, password=…)" in (caught.value.hint or "")

    def test_a_password_that_cannot_be_had_is_an_attempt_that_failed(
        self, est: ESTServer, url: str, trust: Trust, present: Identity, tmp_path: Path
    ) -> None:
        est.password = f"orders:{SECRET}"

        def failing() -> str:
            raise RuntimeError(SECRET)

        for password in (tmp_path / "absent", failing, lambda: "\n"):
            with pytest.raises(RenewalError) as caught:
                EST(url, trust=trust, username="orders", password=password).renew(present)
            assert (caught.value.code, caught.value.retryable) == ("renewal_secret", True)
            assert SECRET not in str(caught.value)


@pytest.mark.parametrize(
    ("status", "retryable"),
    [
        *((status, False) for status in (400, 401, 403, 404, 422)),
        *((status, True) for status in (429, 500, 502, 503)),
    ],
)
def test_a_refusal_says_what_the_server_said_and_whether_to_try_again(
    est: ESTServer, url: str, trust: Trust, present: Identity, status: int, retryable: bool
) -> None:
    est.enrolled = lambda csr: text(status, "because of\nthe moon")
    with pytest.raises(RenewalError) as caught:
        EST(url, trust=trust).renew(present)
    assert caught.value.retryable is retryable
    assert caught.value.args[0].endswith(f"because of the moon (HTTP {status})")
    assert caught.value.hint


def test_a_web_page_is_not_quoted(
    est: ESTServer, url: str, trust: Trust, present: Identity
) -> None:
    est.enrolled = lambda csr: Answer(
        status=502, headers={"Content-Type": "text/html"}, body=b"<h1>Bad</h1>"
    )
    with pytest.raises(RenewalError) as caught:
        EST(url, trust=trust).renew(present)
    assert caught.value.args[0].endswith("refused simplereenroll (HTTP 502)")


@pytest.mark.parametrize(
    "arguments",
    [
        {"username": "u"},
        {"password": SECRET},
        {"username": "u:v", "password": SECRET},
        {"reuse_key": True, "key": "rsa"},
        {"label": "/"},
    ],
)
def test_contradictions_are_refused(arguments: dict[str, object]) -> None:
    with pytest.raises(ConfigurationError) as caught:
        EST("https://est.example.com", **arguments)  # type: ignore[arg-type]
    assert_silent(caught.value, SECRET)


@pytest.mark.parametrize("url", ["http://est.example.com", f"https://u:{SECRET}@est.example.com"])
def test_a_url_that_gives_secrets_away_is_refused(url: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        EST(url)
    assert_silent(caught.value, SECRET)


def test_it_shows_where_it_renews_and_no_secret() -> None:
    renewer = EST("https://est.example.com/", label="blue", username="u", password=SECRET)
    assert repr(renewer) == "EST('https://est.example.com/.well-known/est/blue')"
