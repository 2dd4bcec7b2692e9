"""Sessions call, refuse and are refused alike under requests, httpx, asyncio and trio."""

from __future__ import annotations

import pickle
import ssl
from collections.abc import Callable
from typing import Any

import httpx
import pytest
import requests

import mtls_client as mtls
from mtls_client import Credential, Identity, RejectionReason, Trust
from mtls_client.events import Event, HandshakeCompleted, IdentityRejected, PinMismatch
from mtls_client.testing import CA, Server
from tests.clients import KINDS, fetch, native_errors

LARGE = b"x" * 4_000_000
TLS12 = {"maximum_version": ssl.TLSVersion.TLSv1_2}
TLS13 = {"minimum_version": ssl.TLSVersion.TLSv1_3}

all_kinds = pytest.mark.parametrize("kind", KINDS)
both_versions = pytest.mark.parametrize("version", [TLS12, TLS13], ids=["1.2", "1.3"])


@all_kinds
@both_versions
@pytest.mark.parametrize("body", [None, LARGE], ids=["GET", "POST"])
def test_the_server_sees_our_certificate(
    kind: str, version: Any, body: bytes | None, serve: Any, identity: Identity, trust: Trust
) -> None:
    server = serve(**version)
    response = fetch(
        kind, identity, server.url, trust=trust, body=body, method="POST" if body else "GET"
    )
    assert response.status_code == 200
    seen = response.json()
    assert seen["fingerprint"] == identity.fingerprint
    assert seen["received"] == len(body or b"")


@all_kinds
@both_versions
@pytest.mark.parametrize("body", [None, LARGE], ids=["GET", "POST"])
@pytest.mark.parametrize("wrong", ["missing", "untrusted", "expired", "revoked"])
def test_a_refusal_has_one_class_and_one_reason(
    kind: str,
    version: Any,
    body: bytes | None,
    wrong: str,
    serve: Any,
    ca: CA,
    identity: Identity,
    untrusted_identity: Identity,
    expired_identity: Identity,
    trust: Trust,
) -> None:
    """The positive control is `test_the_server_sees_our_certificate`."""
    server = serve(**version, **({"crl": ca.crl([identity])} if wrong == "revoked" else {}))
    offered = {
        "missing": None,
        "untrusted": untrusted_identity,
        "expired": Credential(expired_identity, present_unusable=True),
        "revoked": identity,
    }[wrong]
    with pytest.raises(mtls.IdentityRejectedError) as caught:
        fetch(kind, offered, server.url, trust=trust, body=body, method="POST" if body else "GET")
    error = caught.value
    assert error.reason is RejectionReason(wrong)
    assert error.certain is True
    assert error.host == "localhost"
    assert error.hint
    assert isinstance(error, ssl.SSLError)
    assert isinstance(error, native_errors(kind))
    assert server.calls == []


@all_kinds
def test_a_refusal_says_whose_certificate_and_what_to_do(
    kind: str, serve: Any, expired_identity: Identity, trust: Trust
) -> None:
    credential = Credential(expired_identity, present_unusable=True)
    with pytest.raises(mtls.IdentityRejectedError) as caught:
        fetch(kind, credential, serve().url, trust=trust)
    assert str(caught.value) == (
        "localhost refused our certificate (alert certificate_expired): "
        "CN=expired expired on 2020-01-31 00:00 UTC\n"
        "  hint: renew the certificate; if it has not expired, "
        "check the clocks of both sides and the dates of its issuer"
    )


@all_kinds
def test_an_unknown_server_is_refused_by_us(
    kind: str, server: Server, identity: Identity, other_ca: CA
) -> None:
    with pytest.raises(mtls.UntrustedServerError) as caught:
        fetch(kind, identity, server.url, trust=Trust.from_pem(other_ca.pem))
    # 19 if the server sends its root along, as OpenSSL does when it finds it
    assert caught.value.verify_code in (19, 20)
    assert isinstance(caught.value, ssl.SSLCertVerificationError)
    assert isinstance(caught.value, native_errors(kind))
    assert server.calls == []


@all_kinds
def test_a_name_that_the_certificate_lacks_is_refused(
    kind: str, serve: Any, ca: CA, identity: Identity, trust: Trust
) -> None:
    """The common name does not count: it is the right one here."""
    from mtls_client.testing import Server as Bare

    unnamed = ca.issue("localhost", dns=["elsewhere.test"], client=False, server=True)
    with Bare(unnamed, client_ca=ca) as server, pytest.raises(mtls.HostnameMismatchError) as caught:
        fetch(kind, identity, server.url, trust=trust)
    assert caught.value.host == "localhost"


@all_kinds
@both_versions
@pytest.mark.parametrize("pinned", ["leaf", "root"])
def test_a_pinned_key_of_the_chain_lets_the_call_through(
    kind: str,
    version: Any,
    pinned: str,
    serve: Any,
    ca: CA,
    server_identity: Identity,
    identity: Identity,
) -> None:
    from mtls_client import Pin

    pin = server_identity.pin if pinned == "leaf" else str(Pin.from_certificate(ca.pem))
    trust = Trust.from_pem(ca.pem, pins=["00" * 32, pin])
    assert fetch(kind, identity, serve(**version).url, trust=trust).status_code == 200


@all_kinds
@both_versions
def test_a_pin_mismatch_lets_no_request_out(
    kind: str, version: Any, serve: Any, ca: CA, server_identity: Identity, identity: Identity
) -> None:
    server = serve(**version)
    trust = Trust.from_pem(ca.pem, pins=[identity.pin])
    with pytest.raises(mtls.PinMismatchError) as caught:
        fetch(kind, identity, server.url, trust=trust, method="POST", body=b"secret")
    error = caught.value
    assert isinstance(error, native_errors(kind))
    assert error.configured == (identity.pin,)
    assert error.presented[0] == ("CN=server", server_identity.pin)
    assert identity.pin in str(error)
    assert server_identity.pin in str(error)
    assert server.calls == []


@all_kinds
def test_a_pinned_certificate_that_is_only_sent_along_does_not_count(
    kind: str, serve: Any, ca: CA, other_ca: CA, identity: Identity
) -> None:
    """An attacker can append any public certificate to what it sends."""
    victim = other_ca.issue("victim", dns=["localhost"], server=True)
    attacker = ca.issue("attacker", dns=["localhost"], client=False, server=True)
    attacker.__dict__["_presented"] = attacker.certificate_pem() + victim.certificate_pem()
    with Server(attacker, client_ca=ca) as server:
        control = Trust.from_pem(ca.pem)
        assert fetch(kind, identity, server.url, trust=control).status_code == 200
        with pytest.raises(mtls.PinMismatchError):
            fetch(kind, identity, server.url, trust=Trust.from_pem(ca.pem, pins=[victim.pin]))


@all_kinds
def test_report_only_tells_and_lets_go(
    kind: str, server: Server, ca: CA, identity: Identity
) -> None:
    events: list[Event] = []
    trust = Trust.from_pem(ca.pem, pins=[identity.pin], report_only=True)
    response = fetch(kind, identity, server.url, trust=trust, observers=[events.append])
    assert response.status_code == 200
    mismatches = [event for event in events if isinstance(event, PinMismatch)]
    assert [event.enforced for event in mismatches] == [False]


@all_kinds
@pytest.mark.parametrize("policy", ["fail-open", "fail-closed"])
def test_expired_pins_do_what_was_decided(
    kind: str, policy: Any, server: Server, ca: CA, identity: Identity, server_identity: Identity
) -> None:
    import datetime

    past = datetime.datetime(2020, 1, 1, tzinfo=datetime.UTC)
    trust = Trust.from_pem(
        ca.pem, pins=[server_identity.pin], pins_expire=past, on_pins_expired=policy
    )
    if policy == "fail-open":
        assert fetch(kind, identity, server.url, trust=trust).status_code == 200
    else:
        with pytest.raises(mtls.PinMismatchError, match="expired on 2020-01-01") as caught:
            fetch(kind, identity, server.url, trust=trust)
        assert caught.value.code == "pins_expired"


@all_kinds
def test_revoked_servers_are_refused_and_others_not(
    kind: str, server: Server, ca: CA, other_ca: CA, server_identity: Identity, identity: Identity
) -> None:
    def call(crl: bytes, mode: Any = "leaf") -> int:
        trust = Trust.from_pem(ca.pem, crls=crl, revocation=mode)
        return fetch(kind, identity, server.url, trust=trust).status_code

    import datetime

    past = datetime.datetime(2020, 1, 1, tzinfo=datetime.UTC)
    day = datetime.timedelta(days=1)
    assert call(ca.crl([])) == 200
    assert call(ca.crl([]), "chain") == 200
    with pytest.raises(mtls.RevokedError):
        call(ca.crl([server_identity]))
    with pytest.raises(mtls.RevocationUnknownError, match="no CRL"):
        call(other_ca.crl([]))
    with pytest.raises(mtls.RevocationUnknownError, match="has expired"):
        call(ca.crl([], last_update=past, next_update=past + day))


@all_kinds
def test_the_identity_is_presented_to_its_hosts_only(
    kind: str, serve: Any, identity: Identity, trust: Trust
) -> None:
    server = serve(client_certificate="optional")

    def seen(**options: Any) -> str | None:
        subject: str | None = fetch(kind, identity, server.url, trust=trust, **options).json()[
            "subject"
        ]
        return subject

    assert seen() == "client"
    assert seen(hosts=["localhost"]) == "client"
    assert seen(hosts=["*.example.com", "LOCALHOST."]) == "client"
    assert seen(hosts=["api.example.com"]) is None
    assert seen(hosts=[]) is None


@all_kinds
def test_the_most_specific_host_chooses_among_several_identities(
    kind: str, serve: Any, ca: CA, trust: Trust
) -> None:
    server = serve(client_certificate="optional")
    identities = {
        "**": ca.issue("any"),
        "localhost": ca.issue("local"),
        "127.0.0.1": ca.issue("ip"),
    }
    named = fetch(kind, identities, server.url, trust=trust).json()["subject"]
    by_address = server.url.replace("localhost", "127.0.0.1")
    assert named == "local"
    assert fetch(kind, identities, by_address, trust=trust).json()["subject"] == "ip"
    del identities["localhost"]
    assert fetch(kind, identities, server.url, trust=trust).json()["subject"] == "any"


@all_kinds
def test_a_scoped_identity_that_is_missed_names_its_scope(
    kind: str, server: Server, identity: Identity, trust: Trust
) -> None:
    with pytest.raises(mtls.IdentityRejectedError) as caught:
        fetch(kind, identity, server.url, trust=trust, hosts=["api.example.com"])
    assert caught.value.reason is RejectionReason.MISSING
    assert caught.value.hint == "the identity is presented to these hosts only: api.example.com"


@all_kinds
def test_observers_see_each_handshake(
    kind: str, server: Server, identity: Identity, server_identity: Identity, trust: Trust
) -> None:
    events: list[Event] = []
    fetch(kind, identity, server.url, trust=trust, observers=[events.append])
    [event] = events
    assert isinstance(event, HandshakeCompleted)
    assert (event.host, event.fingerprint) == ("localhost", identity.fingerprint)
    assert event.server_pin == server_identity.pin
    assert (event.version, event.resumed) == ("TLSv1.3", False)
    assert event.seconds > 0


@all_kinds
def test_observers_see_a_refusal_once(
    kind: str, server: Server, untrusted_identity: Identity, trust: Trust
) -> None:
    events: list[Event] = []
    with pytest.raises(mtls.IdentityRejectedError):
        fetch(kind, untrusted_identity, server.url, trust=trust, observers=[events.append])
    refusals = [event for event in events if isinstance(event, IdentityRejected)]
    assert [event.reason for event in refusals] == ["untrusted"]


@all_kinds
def test_an_observer_that_raises_breaks_nothing(
    kind: str, server: Server, identity: Identity, trust: Trust, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(event: Event) -> None:
        raise RuntimeError("observer")

    assert fetch(kind, identity, server.url, trust=trust, observers=[broken]).status_code == 200
    assert "failed on HandshakeCompleted" in caplog.text


@all_kinds
def test_a_reloaded_identity_is_presented_by_new_connections(
    kind: str, server: Server, ca: CA, trust: Trust
) -> None:
    class Changing:
        current = ca.issue("first")

        def load(self) -> Identity:
            return self.current

    source = Changing()
    credential = Credential(source)
    assert fetch(kind, credential, server.url, trust=trust).json()["subject"] == "first"
    source.current = ca.issue("second", key="rsa")
    credential.reload()
    assert credential.generation == 2
    assert fetch(kind, credential, server.url, trust=trust).json()["subject"] == "second"


@all_kinds
def test_errors_survive_pickling_without_the_request(
    kind: str, server: Server, untrusted_identity: Identity, trust: Trust
) -> None:
    with pytest.raises(mtls.IdentityRejectedError) as caught:
        fetch(kind, untrusted_identity, server.url, trust=trust)
    revived = pickle.loads(pickle.dumps(caught.value))
    assert type(revived) is type(caught.value)
    assert (revived.reason, revived.certain) == (caught.value.reason, True)
    assert str(revived) == str(caught.value)


@pytest.mark.parametrize("kind", ["httpx", "asyncio"])
def test_an_error_of_the_callers_own_body_stays_the_callers(
    kind: str, server: Server, identity: Identity, trust: Trust
) -> None:
    import asyncio

    def body() -> Any:
        yield b"x"
        try:
            raise mtls.ConfigurationError("inside")
        except mtls.ConfigurationError as error:
            raise KeyError("mine") from error

    async def async_body() -> Any:
        for piece in body():
            yield piece

    async def run() -> None:
        async with mtls.AsyncClient(identity, trust=trust) as client:
            await client.post(server.url, content=async_body())

    with pytest.raises(KeyError, match="mine"):
        if kind == "asyncio":
            asyncio.run(run())
        with mtls.Client(identity, trust=trust) as client:
            client.post(server.url, content=body())


def test_a_connection_that_just_fails_is_left_alone(identity: Identity, trust: Trust) -> None:
    """Nothing listens there: no refusal of anybody."""
    for kind in KINDS:
        with pytest.raises(native_errors(kind)) as caught:
            fetch(kind, identity, "https://localhost:1", trust=trust)
        assert not isinstance(caught.value, mtls.MTLSError)


def test_http2_works_over_httpx(identity: Identity, trust: Trust, server: Server) -> None:
    """The server speaks HTTP/1.1 only; nginx and Apache speak h2 in tests/servers."""
    assert fetch("httpx", identity, server.url, trust=trust, http2=True).http_version == "HTTP/1.1"


@pytest.mark.parametrize("option", ["verify", "cert", "transport"])
@pytest.mark.parametrize("kind", [mtls.Client, mtls.AsyncClient])
def test_httpx_options_that_would_weaken_are_refused(
    kind: Any, option: str, identity: Identity
) -> None:
    with pytest.raises(mtls.ConfigurationError) as caught:
        kind(identity, **{option: False})
    assert caught.value.code == option
    assert caught.value.hint


def test_requests_options_that_would_weaken_are_refused(
    server: Server, identity: Identity, trust: Trust
) -> None:
    with mtls.Session(identity, trust=trust) as session:
        for options in ({"verify": False}, {"verify": "ca.pem"}, {"cert": "client.pem"}):
            with pytest.raises(mtls.ConfigurationError):
                session.get(server.url, **options)
        with pytest.raises(mtls.ConfigurationError):
            session.verify = False
        with pytest.raises(mtls.ConfigurationError):
            session.cert = "client.pem"
        assert session.get(server.url, verify=True, timeout=10).status_code == 200
    assert len(server.calls) == 1


def test_the_adapter_on_a_plain_session_refuses_them_too(
    server: Server, identity: Identity, trust: Trust
) -> None:
    with requests.Session() as session:
        session.mount(server.url, mtls.sessions.MTLSAdapter(identity, trust=trust))
        assert session.get(server.url, timeout=10).json()["subject"] == "client"
        for options in ({"verify": False}, {"cert": "client.pem"}):
            with pytest.raises(mtls.ConfigurationError):
                session.get(server.url, **options)


@pytest.mark.parametrize("variable", ["REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE"])
@all_kinds
def test_a_bundle_in_the_environment_adds_no_trust(
    kind: str,
    variable: str,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Any,
    other_ca: CA,
    ca: CA,
    server: Server,
    identity: Identity,
) -> None:
    """The positive control: the same bundle given as the trust lets the call through."""
    bundle = tmp_path / "bundle.pem"
    bundle.write_bytes(ca.pem)
    monkeypatch.setenv(variable, str(bundle))
    with pytest.raises(mtls.UntrustedServerError):
        fetch(kind, identity, server.url, trust=Trust.from_pem(other_ca.pem))
    assert fetch(kind, identity, server.url, trust=Trust.from_file(bundle)).status_code == 200


def test_a_plain_session_with_the_adapter_ignores_the_environment(
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Any,
    other_ca: CA,
    server: Server,
    identity: Identity,
    trust: Trust,
) -> None:
    bundle = tmp_path / "evil.pem"
    bundle.write_bytes(other_ca.pem)
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(bundle))
    with requests.Session() as session:
        session.mount("https://", mtls.sessions.MTLSAdapter(identity, trust=trust))
        assert session.get(server.url, timeout=10).status_code == 200


@pytest.mark.parametrize("make", [mtls.Session, mtls.sessions.MTLSAdapter])
def test_sessions_refuse_pickling(make: Any, identity: Identity) -> None:
    made = make(identity)
    with pytest.raises(mtls.ConfigurationError, match="private key"):
        pickle.dumps(made)
    made.close()


def test_transports_can_be_mounted_by_hand(
    server: Server, identity: Identity, trust: Trust
) -> None:
    with httpx.Client(transport=mtls.sessions.MTLSTransport(identity, trust=trust)) as client:
        assert client.get(server.url).json()["subject"] == "client"
    mounts = {server.url: mtls.sessions.MTLSTransport(identity, trust=trust)}
    with httpx.Client(mounts=mounts) as client:
        assert client.get(server.url).json()["subject"] == "client"


def test_the_same_credential_serves_many_sessions(
    server: Server, identity: Identity, trust: Trust
) -> None:
    credential = Credential(identity)
    subjects = [
        fetch(kind, credential, server.url, trust=trust).json()["subject"] for kind in KINDS
    ]
    assert subjects == ["client"] * len(KINDS)


def test_what_httpx_users_know_still_works(
    server: Server, identity: Identity, trust: Trust
) -> None:
    seen: list[int] = []

    def hook(response: httpx.Response) -> None:
        seen.append(response.status_code)

    client: Callable[..., mtls.Client] = mtls.Client
    with client(
        identity,
        trust=trust,
        base_url=server.url,
        headers={"x-one": "1"},
        params={"a": "b"},
        event_hooks={"response": [hook]},
        limits=httpx.Limits(max_connections=1),
        timeout=5,
    ) as session:
        assert session.get("/path").json()["path"] == "/path?a=b"
    assert seen == [200]
    assert server.calls[0].headers["x-one"] == "1"
