"""What real servers answer is explained with certainty, on every way to them."""

from __future__ import annotations

import os
import ssl
import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx
import pytest
import requests

import mtls_client as mtls
from mtls_client import Explanation, explain
from tests.clients import KINDS, fetch
from tests.proxy import Proxy
from tests.servers.conftest import PKI
from tests.servers.test_matrix import ALERTS, LARGE, call

all_kinds = pytest.mark.parametrize("kind", KINDS)


def told(kind: str, pki: PKI, certificate: str, url: str, **options: Any) -> Explanation:
    """Make a call that must fail, and explain it."""
    with pytest.raises(mtls.IdentityRejectedError) as caught:
        fetch(kind, pki.identities[certificate], url, trust=pki.trust, **options)
    return explain(caught.value)


def bare(pki: PKI) -> ssl.SSLContext:
    return ssl.create_default_context(cafile=str(pki.folder / "ca.pem"))


@all_kinds
@pytest.mark.parametrize("version", ["1.2", "1.3"])
@pytest.mark.parametrize("certificate", ALERTS)
def test_nginx_is_explained_with_certainty(
    certificate: str, version: str, kind: str, pki: PKI, nginx: dict[str, str]
) -> None:
    explanation = explain(call(kind, pki, certificate, nginx["required"], version))
    code = "rejected_missing" if certificate == "none" else "rejected_unknown"
    assert (explanation.whose, explanation.code, explanation.certain) == ("ours", code, True)
    assert "HTTP 400 from nginx" in explanation.evidence
    assert explain(call(kind, pki, "good", nginx["required"], version)).code == "http_success"


def test_nginx_is_explained_to_users_of_the_bare_libraries(pki: PKI, nginx: dict[str, str]) -> None:
    url = nginx["required"]
    assert explain(httpx.get(url, verify=bare(pki))).code == "rejected_missing"
    answer = requests.get(url, verify=str(pki.folder / "ca.pem"), timeout=10)
    assert explain(answer).code == "rejected_missing"


def test_apache_says_that_the_client_offered_no_late_certificate(
    pki: PKI, apache: dict[str, str]
) -> None:
    """Certificates per location need post-handshake authentication under TLS 1.3."""
    answer = httpx.get(f"{apache['location']}/secure/", verify=bare(pki))
    explanation = explain(answer)
    assert answer.status_code == 403
    assert (explanation.code, explanation.certain) == ("rejected_missing", True)
    assert "post_handshake_auth" in explanation.hint


@pytest.mark.parametrize("server", ["nginx", "apache", "caddy"])
def test_plain_http_to_a_port_with_tls_is_told(server: str, request: pytest.FixtureRequest) -> None:
    url = request.getfixturevalue(server)["required"].replace("https", "http")
    assert explain(httpx.get(url)).code == "plain_http"


def test_a_rule_of_haproxy_that_says_nothing_is_not_certain(
    pki: PKI, haproxy: dict[str, str]
) -> None:
    explanation = explain(call("httpx", pki, "expired", haproxy["optional"], "1.3"))
    assert (explanation.whose, explanation.code) == ("unknown", "http_denied")
    assert not explanation.certain


@all_kinds
@pytest.mark.parametrize("certificate", ["none", "expired", "revoked", "wrong-ca"])
def test_openssl_is_explained_with_certainty(
    certificate: str, kind: str, pki: PKI, openssl: dict[str, str]
) -> None:
    explanation = told(kind, pki, certificate, openssl["required"], method="POST", body=LARGE)
    assert (explanation.code, explanation.certain) == (f"rejected_{ALERTS[certificate]}", True)
    assert call(kind, pki, "good", openssl["required"], "1.3").status_code == 200


@pytest.fixture(params=["http", "https"])
def proxy(request: pytest.FixtureRequest, pki: PKI, monkeypatch: pytest.MonkeyPatch) -> Any:
    context = None
    if request.param == "https":
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(pki.folder / "server.pem", pki.folder / "server.key")
    with Proxy(context, userinfo="scott:tiger") as running:
        monkeypatch.setenv("HTTPS_PROXY", running.url)
        yield running


@all_kinds
@pytest.mark.parametrize("server", ["apache", "haproxy", "caddy"])
@pytest.mark.parametrize("certificate", ["none", "expired", "wrong-ca"])
def test_an_upload_through_a_proxy_is_explained_with_certainty(
    certificate: str,
    server: str,
    kind: str,
    pki: PKI,
    proxy: Proxy,
    request: pytest.FixtureRequest,
) -> None:
    url = request.getfixturevalue(server)["required"]
    explanation = told(kind, pki, certificate, url, method="POST", body=LARGE)
    assert (explanation.code, explanation.certain) == (f"rejected_{ALERTS[certificate]}", True)
    assert set(proxy.targets) == {url.removeprefix("https://")}
    assert "tiger" not in str(explanation)


@pytest.mark.parametrize("kind", ["httpx", "asyncio", "trio"])
@pytest.mark.parametrize(("server", "site"), [("apache", "h2"), ("caddy", "required")])
def test_http_2_through_a_proxy_is_explained_with_certainty(
    server: str,
    site: str,
    kind: str,
    pki: PKI,
    proxy: Proxy,
    request: pytest.FixtureRequest,
) -> None:
    url = request.getfixturevalue(server)[site]
    options: Any = {"http2": True, "method": "POST", "body": LARGE}
    explanation = told(kind, pki, "wrong-ca", url, **options)
    assert (explanation.code, explanation.certain) == ("rejected_untrusted", True)
    response: Any = fetch(kind, pki.identities["good"], url, trust=pki.trust, http2=True)
    assert response.http_version == "HTTP/2"
    assert proxy.targets


@all_kinds
@pytest.mark.parametrize("certificate", ["expired", "wrong-ca"])
def test_node_sends_no_alert_so_it_is_only_likely(
    certificate: str, kind: str, pki: PKI, fastify: dict[str, str]
) -> None:
    explanation = told(kind, pki, certificate, fastify["required"])
    assert (explanation.whose, explanation.certain) == ("ours", False)
    assert str(explanation).startswith("Probably our certificate: ")


def test_the_command_explains_nginx_with_the_same_words(
    pki: PKI, nginx: dict[str, str], tmp_path: Path
) -> None:
    stranger = pki.identities["wrong-ca"]
    assert stranger is not None
    stranger.identity.save_pem(tmp_path / "stranger.pem", password=None)
    command = [sys.executable, "-m", "mtls_client", "--cacert", str(pki.folder / "ca.pem")]
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    for options, code, words in (
        ([], 98, b"demands a client certificate and received none (HTTP 400"),
        (["--cert", "stranger.pem"], 0, b"refused our certificate (HTTP 400"),
        (["-f", "--cert", "stranger.pem"], 22, b"refused our certificate (HTTP 400"),
    ):
        done = subprocess.run(
            [*command, *options, nginx["required"]],
            cwd=tmp_path,
            capture_output=True,
            timeout=60,
            env=environment,
        )
        assert (done.returncode, words in done.stderr) == (code, True), done.stderr
