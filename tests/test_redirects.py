"""On a redirect to another origin neither identity nor pins go along; a proxy never sees them."""

from __future__ import annotations

import http.server
import ssl
import threading
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest
import requests
from cryptography.hazmat.primitives.serialization import Encoding

import mtls_client as mtls
from mtls_client import Identity, Trust
from mtls_client._tls import keys
from mtls_client.sessions._origins import Hop
from mtls_client.testing import CA, Server
from tests.clients import KINDS, fetch
from tests.proxy import Proxy

all_kinds = pytest.mark.parametrize("kind", KINDS)


def hop(url: str, previous: Hop | None = None) -> Hop:
    """Return the hop to a URL, by way of both libraries' notions of a URL."""
    parts, parsed = urlsplit(url), httpx.URL(url)
    first = Hop.to(parts.scheme, parts.hostname or "", parts.port, previous)
    assert first == Hop.to(parsed.scheme, parsed.raw_host, parsed.port, previous)
    return first


def subjects(server: Server) -> list[str | None]:
    return [call.subject for call in server.calls]


@all_kinds
def test_a_redirect_within_the_origin_keeps_the_identity(
    kind: str, redirecting: Server, identity: Identity, trust: Trust
) -> None:
    fetch(kind, identity, f"{redirecting.url}/to?/home", trust=trust)
    assert subjects(redirecting) == ["client", "client"]


@all_kinds
@pytest.mark.parametrize("hosts", [None, ["localhost"], ["**"]])
def test_a_redirect_to_another_port_leaves_the_identity_behind(
    kind: str, hosts: Any, redirecting: Server, serve: Any, identity: Identity, trust: Trust
) -> None:
    target = serve(client_certificate="optional")
    fetch(kind, identity, f"{redirecting.url}/to?{target.url}/", trust=trust, hosts=hosts)
    assert subjects(redirecting) == ["client"]
    assert subjects(target) == [None]


@all_kinds
def test_a_redirect_to_another_name_leaves_the_identity_behind(
    kind: str, redirecting: Server, identity: Identity, trust: Trust
) -> None:
    by_address = redirecting.url.replace("localhost", "127.0.0.1")
    fetch(kind, identity, f"{redirecting.url}/to?{by_address}/", trust=trust)
    assert subjects(redirecting) == ["client", None]


@all_kinds
def test_the_identity_does_not_come_back_later_in_the_chain(
    kind: str, redirecting: Server, identity: Identity, trust: Trust
) -> None:
    by_address = redirecting.url.replace("localhost", "127.0.0.1")
    chain = f"{redirecting.url}/to?{by_address}/to?{redirecting.url}/home"
    fetch(kind, identity, chain, trust=trust)
    assert subjects(redirecting) == ["client", None, None]


@all_kinds
def test_a_connection_that_showed_the_identity_is_not_used_for_a_stray_redirect(
    kind: str, redirecting: Server, serve: Any, identity: Identity, trust: Trust
) -> None:
    """The target has a pooled connection with our certificate when the redirect comes."""
    target = serve(client_certificate="optional")
    urls = [f"{target.url}/1", f"{redirecting.url}/to?{target.url}/2", f"{target.url}/3"]
    if kind == "requests":
        with mtls.Session(identity, trust=trust) as session:
            for url in urls:
                session.get(url, timeout=10)
    elif kind == "httpx":
        with mtls.Client(identity, trust=trust, follow_redirects=True) as client:
            for url in urls:
                client.get(url)
    else:

        async def run() -> None:
            async with mtls.AsyncClient(identity, trust=trust, follow_redirects=True) as client:
                for url in urls:
                    await client.get(url)

        import asyncio

        import trio

        asyncio.run(run()) if kind == "asyncio" else trio.run(run)
    assert [(call.path, call.subject) for call in target.calls] == [
        ("/1", "client"),
        ("/2", None),
        ("/3", "client"),
    ]


class _Plain(http.server.BaseHTTPRequestHandler):
    """Redirects everything to the URL in its query, over plain http."""

    def do_GET(self) -> None:
        self.send_response(302)
        self.send_header("Location", self.path.partition("?")[2])
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_args: Any) -> None:
        """Say nothing."""


@all_kinds
def test_a_hop_over_plain_http_does_not_launder_the_chain(
    kind: str, redirecting: Server, identity: Identity, trust: Trust
) -> None:
    """Anybody on the way of the plain hop could aim our authenticated call."""
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Plain) as plain:
        thread = threading.Thread(target=plain.serve_forever, args=(0.02,), daemon=True)
        thread.start()
        back = f"http://localhost:{plain.server_port}/?{redirecting.url}/home"
        fetch(kind, identity, f"{redirecting.url}/to?{back}", trust=trust)
        plain.shutdown()
        thread.join(5)
    assert subjects(redirecting) == ["client", None]


def test_a_redirect_to_an_impossible_port_is_an_invalid_url(
    redirecting: Server, identity: Identity, trust: Trust
) -> None:
    with pytest.raises(requests.exceptions.InvalidURL):
        fetch("requests", identity, f"{redirecting.url}/to?https://localhost:99999/", trust=trust)


def test_sending_the_same_request_again_starts_over(
    redirecting: Server, serve: Any, identity: Identity, trust: Trust
) -> None:
    """The mark of a chain that went astray must not stick to the request that began it."""
    target = serve(client_certificate="optional")
    url = f"{redirecting.url}/to?{target.url}/"
    with mtls.Session(identity, trust=trust) as session:
        prepared = session.prepare_request(requests.Request("GET", url))
        for _ in range(2):
            session.send(prepared, timeout=10)
    with mtls.Client(identity, trust=trust, follow_redirects=True) as client:
        request = client.build_request("GET", url)
        for _ in range(2):
            client.send(request)
    assert subjects(redirecting) == ["client"] * 4
    assert subjects(target) == [None] * 4


def test_an_adapter_on_a_plain_session_leaves_the_identity_behind_too(
    redirecting: Server, serve: Any, identity: Identity, trust: Trust
) -> None:
    target = serve(client_certificate="optional")
    with requests.Session() as session:
        session.mount("https://", mtls.sessions.MTLSAdapter(identity, trust=trust))
        session.get(f"{redirecting.url}/to?{target.url}/", timeout=10)
    assert subjects(target) == [None]


def test_hooks_of_requests_still_run(server: Server, identity: Identity, trust: Trust) -> None:
    """The mark of a chain travels among the hooks."""
    seen: list[int] = []
    with mtls.Session(identity, trust=trust) as session:
        session.hooks["response"].append(lambda response, **_: seen.append(response.status_code))
        session.get(server.url, timeout=10)
        session.get(server.url, timeout=10, hooks={"response": lambda r, **_: seen.append(1)})
    assert seen == [200, 1]


@all_kinds
def test_pins_without_a_host_stay_behind_and_pins_of_the_target_hold(
    kind: str, redirecting: Server, ca: CA, server_identity: Identity, identity: Identity
) -> None:
    elsewhere = ca.issue("elsewhere", dns=["localhost"], client=False, server=True)
    with Server(elsewhere, client_ca=ca, client_certificate="optional") as target:
        url = f"{redirecting.url}/to?{target.url}/"
        pins: Any = [server_identity.pin]
        assert (
            fetch(kind, identity, url, trust=Trust.from_pem(ca.pem, pins=pins)).status_code == 200
        )
        pins = {"localhost": [server_identity.pin]}
        with pytest.raises(mtls.PinMismatchError):
            fetch(kind, identity, url, trust=Trust.from_pem(ca.pem, pins=pins))


@pytest.mark.parametrize(
    ("old", "new", "leaves"),
    [
        ("https://a.example/x", "https://a.example/y", False),
        ("https://a.example", "https://A.EXAMPLE.:443/", False),
        ("https://a.example", "https://a.example:8443", True),
        ("https://a.example", "https://b.example", True),
        ("https://a.example", "http://a.example", True),
        ("http://a.example", "https://a.example", False),
        ("http://a.example:80", "https://a.example:443", False),
        ("http://a.example:8080", "https://a.example", True),
        ("http://a.example", "https://b.example", True),
        ("https://a.example", "https://a.example@evil.example/", True),
        ("https://bücher.example", "https://xn--bcher-kva.example", False),
    ],
)
def test_an_origin_is_scheme_host_and_port(old: str, new: str, leaves: bool) -> None:
    first = hop(old)
    assert hop(new, first).astray is leaves
    assert not first.astray


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("https://a.example", "https://a.example:8443"),
        ("https://a.example", "https://b.example"),
        ("https://a.example", "http://a.example"),
        ("http://a.example", "https://a.example"),
        ("https://a.example:443", "https://a.example"),
    ],
)
def test_the_rule_is_that_of_authorization(old: str, new: str) -> None:
    """Against requests and httpx as they are installed."""
    astray = hop(new, hop(old)).astray
    assert requests.Session().should_strip_auth(old, new) is astray
    with httpx.Client() as client:
        request = client.build_request("GET", old, headers={"Authorization": "x"})
        headers = client._redirect_headers(request, httpx.URL(new), "GET")
    assert ("Authorization" not in headers) is astray


@all_kinds
def test_a_proxy_tunnels_and_sees_no_identity(
    kind: str,
    server: Server,
    ca: CA,
    server_identity: Identity,
    identity: Identity,
    trust: Trust,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The proxy speaks TLS itself and asks for a certificate; the origin gets ours."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    keys.present(context, server_identity)
    context.verify_mode = ssl.CERT_OPTIONAL
    context.load_verify_locations(cadata=ca.pem.decode())
    with Proxy(context) as proxy:
        monkeypatch.setenv("HTTPS_PROXY", proxy.url)
        assert fetch(kind, identity, server.url, trust=trust).json()["subject"] == "client"
        assert proxy.targets == [server.url.removeprefix("https://")]
        assert proxy.certificates == [None]
        ours = ca.issue("for the proxy")
        response = fetch(kind, identity, server.url, trust=trust, proxy_identity=ours)
        assert response.json()["subject"] == "client"
        assert proxy.certificates[1:] == [ours.certificate.public_bytes(Encoding.DER)]


@all_kinds
def test_a_plain_proxy_of_the_environment_is_used_and_pins_hold_through_it(
    kind: str,
    server: Server,
    ca: CA,
    server_identity: Identity,
    identity: Identity,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def call(pin: str) -> int:
        trust = Trust.from_pem(ca.pem, pins=[pin])
        return fetch(kind, identity, server.url, trust=trust).status_code

    with Proxy() as proxy:
        monkeypatch.setenv("HTTPS_PROXY", proxy.url)
        assert call(server_identity.pin) == 200
        with pytest.raises(mtls.PinMismatchError):
            call(identity.pin)
        assert len(proxy.targets) == 2
    assert len(server.calls) == 1
