"""StepCA renews by the present identity, by a token, or after the expiry, as step-ca documents it.

The server verifies the TLS client, the signatures of requests and tokens, and uses tokens once.
"""

from __future__ import annotations

import datetime
from collections.abc import Callable
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed448

from mtls_client import (
    ConfigurationError,
    Identity,
    RenewalError,
    RenewalRefusedError,
    Session,
    Trust,
)
from mtls_client.renewers import StepCA
from mtls_client.testing import CA, Answer, Server
from tests.identity.secrecy import assert_silent
from tests.renewers.step_server import UNAUTHORISED, StepServer, answer, pems

TOKEN = "eyJhbGciOiJFUzI1NiJ9.eyJzdWIiOiJvcmRlcnMifQ.c2lnbmF0dXJl"
NAMES = ["orders.example.com"]
PAST = datetime.datetime(2020, 1, 1, tzinfo=datetime.UTC)
LARGE = Answer(body=b"A" * (2**20 + 1))


@pytest.fixture(scope="module")
def present(ca: CA) -> Identity:
    return ca.issue("orders", dns=NAMES)


@pytest.fixture(scope="module")
def expired(ca: CA) -> Identity:
    return ca.intermediate().issue("orders", dns=NAMES, not_before=PAST)


@pytest.fixture
def step(ca: CA, present: Identity) -> StepServer:
    return StepServer(ca, present)


@pytest.fixture
def url(step: StepServer, serve: Callable[..., Server]) -> str:
    return serve(handler=step, client_certificate="optional").url


class TestByCertificate:
    def test_the_new_identity_has_a_new_key_and_the_same_names(
        self, step: StepServer, url: str, trust: Trust, present: Identity
    ) -> None:
        renewed = StepCA(url, trust=trust).renew(present)
        assert step.calls == ["/1.0/rekey", "/1.0/roots"]
        assert renewed.pin != present.pin
        assert renewed.key_type == present.key_type
        assert (renewed.subject, renewed.san_dns) == (present.subject, present.san_dns)
        assert renewed.notes == ()

    def test_the_key_can_be_kept(
        self, step: StepServer, url: str, trust: Trust, present: Identity
    ) -> None:
        renewed = StepCA(url, trust=trust, reuse_key=True).renew(present)
        assert step.calls == ["/1.0/renew", "/1.0/roots"]
        assert renewed.pin == present.pin
        assert renewed.serial != present.serial

    def test_the_kind_of_the_key_can_be_changed(
        self, url: str, trust: Trust, present: Identity
    ) -> None:
        assert StepCA(url, trust=trust, key="ed25519").renew(present).key_type == "Ed25519"

    def test_the_new_identity_is_accepted_by_a_server_that_knows_only_the_root(
        self, ca: CA, url: str, trust: Trust, present: Identity, server: Server
    ) -> None:
        renewed = StepCA(url, trust=trust).renew(present)
        with Session(renewed, trust=trust) as session:
            assert session.get(server.url).json()["serial"] == renewed.serial
        assert renewed.roots == (ca.certificate,)

    def test_an_old_answer_without_a_chain_will_do(
        self, step: StepServer, url: str, trust: Trust, present: Identity
    ) -> None:
        issued = step.ca.issue("orders", dns=NAMES, key=present.private_key)  # type: ignore[arg-type]
        [leaf, ca] = pems([issued.certificate, step.ca.certificate])
        step.answers["/1.0/renew"] = answer(201, {"crt": leaf, "ca": ca})
        renewed = StepCA(url, trust=trust, reuse_key=True).renew(present)
        assert renewed.serial == issued.serial

    def test_a_token_is_not_fetched_where_the_certificate_will_do(
        self, url: str, trust: Trust, present: Identity
    ) -> None:
        fetched: list[int] = []
        StepCA(url, trust=trust, token=lambda: fetched.append(1) or TOKEN).renew(present)
        assert fetched == []

    @pytest.mark.parametrize("reuse_key", [False, True])
    def test_a_refusal_says_what_may_be_wrong(
        self, step: StepServer, url: str, trust: Trust, present: Identity, reuse_key: bool
    ) -> None:
        step.renews = False
        with pytest.raises(RenewalRefusedError) as caught:
            StepCA(url, trust=trust, reuse_key=reuse_key).renew(present)
        assert f": {UNAUTHORISED} (HTTP 401)" in caught.value.args[0]
        assert "disableRenewal" in (caught.value.hint or "")

    def test_a_ca_without_rekey_is_told_so(
        self, step: StepServer, url: str, trust: Trust, present: Identity
    ) -> None:
        step.answers["/1.0/rekey"] = answer(404, {"status": 404, "message": "not found"})
        with pytest.raises(RenewalRefusedError) as caught:
            StepCA(url, trust=trust).renew(present)
        assert "reuse_key=True" in (caught.value.hint or "")


class TestByToken:
    @pytest.mark.parametrize("kind", ["str", "bytes", "function", "file"])
    def test_a_token_renews_after_the_expiry(
        self,
        step: StepServer,
        url: str,
        trust: Trust,
        expired: Identity,
        server: Server,
        tmp_path: Path,
        kind: str,
    ) -> None:
        file = tmp_path / "token"
        file.write_text(f"{TOKEN}\n")
        given = {"str": TOKEN, "bytes": TOKEN.encode(), "function": lambda: f"{TOKEN}\n"}
        step.tokens = {TOKEN: NAMES}
        renewed = StepCA(url, trust=trust, token=given.get(kind, file)).renew(expired)
        assert step.calls == ["/1.0/sign", "/1.0/roots"]
        assert renewed.pin != expired.pin
        with Session(renewed, trust=trust) as session:
            assert session.get(server.url).json()["serial"] == renewed.serial

    def test_a_token_renews_what_the_ca_does_not(
        self, step: StepServer, url: str, trust: Trust, present: Identity
    ) -> None:
        step.renews, step.tokens = False, {TOKEN: NAMES}
        StepCA(url, trust=trust, token=TOKEN).renew(present)
        assert step.calls == ["/1.0/rekey", "/1.0/sign", "/1.0/roots"]

    def test_a_token_renews_what_the_ca_does_not_know(
        self, step: StepServer, url: str, trust: Trust, other_ca: CA
    ) -> None:
        """The CA has been replaced: it breaks off the handshake over the old certificate."""
        step.tokens = {TOKEN: NAMES}
        StepCA(url, trust=trust, token=TOKEN).renew(other_ca.issue("orders", dns=NAMES))
        assert step.calls == ["/1.0/sign", "/1.0/roots"]

    def test_a_token_is_good_once(
        self, step: StepServer, url: str, trust: Trust, expired: Identity
    ) -> None:
        step.tokens = {TOKEN: NAMES}
        renewer = StepCA(url, trust=trust, token=TOKEN)
        renewer.renew(expired)
        with pytest.raises(RenewalRefusedError) as caught:
            renewer.renew(expired)
        assert "get a new token" in (caught.value.hint or "")
        assert_silent(caught.value, TOKEN)

    def test_a_token_for_other_names_is_refused(
        self, step: StepServer, url: str, trust: Trust, expired: Identity
    ) -> None:
        step.tokens = {TOKEN: ["billing.example.com"]}
        with pytest.raises(RenewalRefusedError, match="not the valid DNS names"):
            StepCA(url, trust=trust, token=TOKEN).renew(expired)

    def test_a_token_that_cannot_be_had_is_an_attempt_that_failed(
        self, step: StepServer, url: str, trust: Trust, expired: Identity, tmp_path: Path
    ) -> None:
        with pytest.raises(RenewalError) as caught:
            StepCA(url, trust=trust, token=tmp_path / "absent").renew(expired)
        assert (caught.value.code, caught.value.retryable) == ("renewal_secret", True)
        assert step.calls == []

    @pytest.mark.parametrize("status", [400, 403, 500])
    def test_an_echo_of_the_token_is_not_told(
        self, step: StepServer, url: str, trust: Trust, expired: Identity, status: int
    ) -> None:
        opaque = "opaque-token-of-somebody"
        step.answers["/1.0/sign"] = answer(status, {"status": status, "message": f"no: {opaque}"})
        with pytest.raises(RenewalError, match="no: …") as caught:
            StepCA(url, trust=trust, token=opaque).renew(expired)
        assert_silent(caught.value, opaque)


class TestAfterExpiry:
    @pytest.mark.parametrize("kind", ["ec", "rsa", "ed25519", "P-384", "P-521"])
    def test_an_expired_certificate_renews_itself_where_it_may(
        self, step: StepServer, url: str, trust: Trust, ca: CA, server: Server, kind: str
    ) -> None:
        """Its key signs a token, and stays: step-ca has no other way."""
        step.renews_expired = True
        curves = {"P-384": ec.SECP384R1(), "P-521": ec.SECP521R1()}
        key = ec.generate_private_key(curves[kind]) if kind in curves else kind
        expired = ca.intermediate().issue("orders", dns=NAMES, not_before=PAST, key=key)  # type: ignore[arg-type]
        renewed = StepCA(url, trust=trust).renew(expired)
        assert step.calls == ["/1.0/renew", "/1.0/roots"]
        assert renewed.pin == expired.pin
        with Session(renewed, trust=trust) as session:
            assert session.get(server.url).json()["serial"] == renewed.serial

    def test_the_roots_beside_the_identity_will_do(
        self, step: StepServer, url: str, ca: CA, expired: Identity
    ) -> None:
        step.renews_expired = True
        rooted = Identity(
            expired.certificate, expired.private_key, chain=expired.chain, roots=[ca.certificate]
        )
        renewed = StepCA(url, trust=Trust.of_identity()).renew(rooted)
        assert renewed.pin == expired.pin

    def test_a_token_is_not_signed_twice(
        self, step: StepServer, url: str, trust: Trust, expired: Identity
    ) -> None:
        step.renews_expired = True
        renewer = StepCA(url, trust=trust)
        assert renewer.renew(expired).serial != renewer.renew(expired).serial

    def test_where_it_may_not_the_hint_names_the_setting(
        self, step: StepServer, url: str, trust: Trust, expired: Identity
    ) -> None:
        with pytest.raises(RenewalRefusedError) as caught:
            StepCA(url, trust=trust).renew(expired)
        assert "allowRenewalAfterExpiry" in (caught.value.hint or "")
        [sent] = step.bodies
        assert_silent(caught.value, sent.split()[1])

    def test_a_key_that_step_ca_knows_no_signature_of_is_told_so(
        self, step: StepServer, url: str, trust: Trust, ca: CA
    ) -> None:
        key = ed448.Ed448PrivateKey.generate()
        expired = ca.issue("orders", not_before=PAST, key=key)  # type: ignore[arg-type]
        with pytest.raises(RenewalRefusedError, match="Ed448"):
            StepCA(url, trust=trust).renew(expired)
        assert step.calls == []


class TestHostile:
    @pytest.mark.parametrize(
        "content",
        [{}, [], {"certChain": []}, {"certChain": ["é"]}, {"crt": 1, "ca": None}, {"crt": "PEM"}],
    )
    def test_an_answer_without_a_certificate_is_refused(
        self, step: StepServer, url: str, trust: Trust, present: Identity, content: object
    ) -> None:
        step.answers["/1.0/rekey"] = answer(201, content)
        with pytest.raises(RenewalError) as caught:
            StepCA(url, trust=trust).renew(present)
        assert caught.value.code == "renewal_answer"

    def test_a_certificate_for_another_key_is_refused(
        self, step: StepServer, url: str, trust: Trust, present: Identity
    ) -> None:
        other = pems([step.ca.issue("orders").certificate])
        step.answers["/1.0/rekey"] = answer(201, {"certChain": other})
        with pytest.raises(RenewalError, match="does not belong") as caught:
            StepCA(url, trust=trust).renew(present)
        assert caught.value.code == "renewal_answer"

    def test_an_oversize_answer_is_refused(
        self, step: StepServer, url: str, trust: Trust, present: Identity
    ) -> None:
        step.answers["/1.0/rekey"] = LARGE
        with pytest.raises(RenewalError, match="larger than"):
            StepCA(url, trust=trust).renew(present)

    @pytest.mark.parametrize("given", [None, TOKEN])
    def test_a_redirect_is_not_followed(
        self,
        step: StepServer,
        url: str,
        serve: Callable[..., Server],
        trust: Trust,
        present: Identity,
        given: str | None,
    ) -> None:
        elsewhere = serve(client_certificate="optional")
        away = Answer(status=307, headers={"Location": elsewhere.url})
        step.answers = {"/1.0/rekey": away, "/1.0/sign": away}
        with pytest.raises(RenewalRefusedError) as caught:
            StepCA(url, trust=trust, token=given).renew(present)
        assert "redirects are not followed" in (caught.value.hint or "")
        assert elsewhere.calls == []

    def test_an_untrusted_ca_gets_no_request_and_no_token_is_fetched_for_it(
        self, step: StepServer, url: str, other_ca: CA, present: Identity
    ) -> None:
        fetched: list[int] = []
        renewer = StepCA(
            url,
            trust=Trust.from_pem(other_ca.pem),
            token=lambda: fetched.append(1) or TOKEN,
        )
        with pytest.raises(RenewalRefusedError) as caught:
            renewer.renew(present)
        assert caught.value.code == "server_untrusted"
        assert (step.calls, fetched) == ([], [])

    def test_an_untrusted_ca_gets_no_token_after_the_expiry(
        self, step: StepServer, url: str, other_ca: CA, expired: Identity
    ) -> None:
        for token in (None, TOKEN):
            renewer = StepCA(url, trust=Trust.from_pem(other_ca.pem), token=token)
            with pytest.raises(RenewalRefusedError) as caught:
                renewer.renew(expired)
            assert caught.value.code == "server_untrusted"
        assert step.calls == []

    @pytest.mark.parametrize(
        "roots",
        [
            answer(500, {"status": 500, "message": "broken"}),
            answer(201, {"crts": ["garbage"]}),
            answer(201, {"crts": "garbage"}),
            answer(201, []),
            LARGE,
        ],
    )
    def test_a_certificate_outlives_whatever_the_ca_does_next(
        self, step: StepServer, url: str, trust: Trust, present: Identity, roots: Answer
    ) -> None:
        """It has been issued: it must not get lost."""
        step.answers["/1.0/roots"] = roots
        renewed = StepCA(url, trust=trust).renew(present)
        assert renewed.certificate.issuer == step.issuer.certificate.subject
        [note] = renewed.notes
        assert "roots" in note


@pytest.mark.parametrize(
    ("status", "retryable"), [(400, False), (501, False), (500, True), (503, True)]
)
def test_whether_to_try_again(
    step: StepServer, url: str, trust: Trust, present: Identity, status: int, retryable: bool
) -> None:
    step.answers["/1.0/rekey"] = Answer(status=status, body=b"<html>")
    with pytest.raises(RenewalError) as caught:
        StepCA(url, trust=trust).renew(present)
    assert caught.value.retryable is retryable
    assert caught.value.args[0].endswith(f"no reason given (HTTP {status})")


def test_contradictions_are_refused() -> None:
    with pytest.raises(ConfigurationError):
        StepCA("https://ca.internal", reuse_key=True, key="rsa")
    with pytest.raises(ConfigurationError):
        StepCA("http://ca.internal")


def test_it_shows_where_it_renews_and_no_token() -> None:
    assert repr(StepCA("https://ca.internal/", token=TOKEN)) == "StepCA('https://ca.internal')"
