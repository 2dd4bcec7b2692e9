"""A refusal is told through a proxy as it is without one: what is asked again goes the same way."""

from __future__ import annotations

import ssl
from collections.abc import Callable

import pytest

import mtls_client as mtls
from mtls_client import Identity, Trust
from mtls_client._tls import keys
from mtls_client._tls.routes import Route
from mtls_client.testing import CA, Server
from tests.clients import KINDS, fetch, native_errors
from tests.proxy import Proxy
from tests.test_refusals import mute_server

USERINFO = "scott:tiger"
LARGE = b"x" * 4_000_000

all_kinds = pytest.mark.parametrize("kind", KINDS)


@pytest.fixture(params=["http", "https"])
def proxied(
    request: pytest.FixtureRequest,
    ca: CA,
    server_identity: Identity,
    monkeypatch: pytest.MonkeyPatch,
) -> Callable[[], Proxy]:
    """Make a proxy that demands a name and a password, for all calls of the test."""
    context = None
    if request.param == "https":
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        keys.present(context, server_identity)
        context.verify_mode = ssl.CERT_OPTIONAL
        context.load_verify_locations(cadata=ca.pem.decode())

    def make() -> Proxy:
        proxy = Proxy(context, userinfo=USERINFO)
        monkeypatch.setenv("HTTPS_PROXY", proxy.url)
        return proxy

    return make


@all_kinds
@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_a_refused_upload_is_told_with_certainty(
    kind: str,
    version: ssl.TLSVersion,
    proxied: Callable[[], Proxy],
    serve: Callable[..., Server],
    untrusted_identity: Identity,
    identity: Identity,
    trust: Trust,
) -> None:
    server = serve(minimum_version=version, maximum_version=version)
    upload = {"method": "POST", "body": LARGE}
    with proxied() as proxy:
        assert fetch(kind, identity, server.url, trust=trust, **upload).status_code == 200
        for offered, reason in ((untrusted_identity, "untrusted"), (None, "missing")):
            with pytest.raises(mtls.IdentityRejectedError) as caught:
                fetch(kind, offered, server.url, trust=trust, **upload)
            assert (caught.value.reason, caught.value.certain) == (reason, True)
            assert isinstance(caught.value, native_errors(kind))
        assert not any(proxy.certificates), "the identity is not for the proxy"
    assert len(server.calls) == 1


@all_kinds
def test_a_server_without_an_alert_is_asked_again_through_the_proxy(
    kind: str,
    proxied: Callable[[], Proxy],
    ca: CA,
    server_identity: Identity,
    identity: Identity,
    trust: Trust,
) -> None:
    with mute_server(server_identity, ca, asks=True) as (url, accepted), proxied() as proxy:
        with pytest.raises(mtls.IdentityRejectedError) as caught:
            fetch(kind, identity, url, trust=trust)
        assert (caught.value.reason, caught.value.certain) == ("unknown", False)
        assert proxy.targets == [url.removeprefix("https://")] * 2
    assert len(accepted) == 2


@all_kinds
def test_a_proxy_that_refuses_is_not_taken_for_the_server(
    kind: str,
    proxied: Callable[[], Proxy],
    ca: CA,
    server_identity: Identity,
    identity: Identity,
    trust: Trust,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The server would look like one that refuses us, had anybody asked it."""
    with mute_server(server_identity, ca, asks=True) as (url, accepted), proxied() as proxy:
        monkeypatch.setenv("HTTPS_PROXY", proxy.url.replace(USERINFO, "scott:lion"))
        with pytest.raises(Exception, match="407") as caught:
            fetch(kind, identity, url, trust=trust)
    assert not isinstance(caught.value, mtls.MTLSError)
    assert accepted == []


@all_kinds
def test_a_refusal_of_the_proxy_itself_names_the_proxy(
    kind: str,
    ca: CA,
    other_ca: CA,
    server_identity: Identity,
    identity: Identity,
    trust: Trust,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    keys.present(context, server_identity)
    context.verify_mode = ssl.CERT_REQUIRED
    context.maximum_version = ssl.TLSVersion.TLSv1_2  # the alert comes in the handshake
    context.load_verify_locations(cadata=ca.pem.decode())
    with mute_server(server_identity, ca, asks=True) as (url, accepted), Proxy(context) as proxy:
        port = url.rpartition(":")[2]
        monkeypatch.setenv("HTTPS_PROXY", proxy.url)
        with pytest.raises(mtls.IdentityRejectedError) as caught:
            fetch(
                kind,
                identity,
                f"https://api.example.com:{port}",
                trust=trust,
                proxy_identity=other_ca.issue("stranger"),
            )
    assert (caught.value.reason, caught.value.host) == ("untrusted", "localhost")
    assert accepted == []


@all_kinds
def test_a_proxy_that_hangs_up_is_not_taken_for_the_server(
    kind: str,
    ca: CA,
    server_identity: Identity,
    identity: Identity,
    trust: Trust,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """What the proxy does to its own connection says nothing of ours to the server."""
    with mute_server(server_identity, ca, asks=True) as (proxy, accepted):
        monkeypatch.setenv("HTTPS_PROXY", proxy)
        with pytest.raises(native_errors(kind)) as caught:
            fetch(kind, identity, "https://api.example.com", trust=trust)
    assert not isinstance(caught.value, mtls.MTLSError)
    assert len(accepted) == 1, "nobody was asked again"


def test_a_route_shows_no_password() -> None:
    headers = (("Proxy-Authorization", "Basic c2NvdHQ6dGlnZXI="),)
    route = Route(("localhost", 3128), headers)
    assert "c2NvdHQ6dGlnZXI=" not in repr(route)
    assert "localhost" in repr(route)
