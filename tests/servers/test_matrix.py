"""What each real server does with each certificate, told with the same words everywhere.

Each row of a server has a positive control: `good` and `good-rsa`.
"""

from __future__ import annotations

import ssl
from dataclasses import replace
from typing import Any

import pytest

import mtls_client as mtls
from mtls_client import Trust
from tests.clients import KINDS, fetch, native_errors
from tests.servers.conftest import PKI

LARGE = b"x" * 4_000_000

VERSIONS = {"1.2": ssl.TLSVersion.TLSv1_2, "1.3": ssl.TLSVersion.TLSv1_3}

# what the server's alert says, by certificate; Node sends one only if there was no certificate
ALERTS = {
    "none": "missing",
    "expired": "expired",
    "revoked": "revoked",
    "wrong-ca": "untrusted",
    "wrong-eku": "unsupported",
}
REASONS: dict[str, dict[str, str]] = {
    "apache": ALERTS,
    "haproxy": ALERTS,
    "caddy": {**ALERTS, "wrong-eku": "bad"},
    "fastify": {**dict.fromkeys(ALERTS, "unknown"), "none": "missing"},
}
del REASONS["caddy"]["revoked"], REASONS["fastify"]["revoked"]  # they have no CRL

CELLS = [
    pytest.param(server, certificate, reason, id=f"{server}-{certificate}")
    for server, reasons in REASONS.items()
    for certificate, reason in reasons.items()
]

versions = pytest.mark.parametrize("version", VERSIONS)
all_kinds = pytest.mark.parametrize("kind", KINDS)
bodies = pytest.mark.parametrize("body", [None, LARGE], ids=["GET", "POST"])


def speaking(trust: Trust, version: str) -> Trust:
    return replace(trust, minimum_version=VERSIONS[version], maximum_version=VERSIONS[version])


def call(
    kind: str, pki: PKI, certificate: str, url: str, version: str, body: bytes | None = None
) -> Any:
    trust = speaking(pki.trust, version)
    method = "POST" if body else "GET"
    return fetch(kind, pki.identities[certificate], url, trust=trust, method=method, body=body)


@all_kinds
@versions
@pytest.mark.parametrize("certificate", ["good", "good-rsa"])
@pytest.mark.parametrize("server", ["nginx", "apache", "haproxy", "caddy", "fastify"])
def test_a_good_certificate_is_accepted(
    server: str,
    certificate: str,
    version: str,
    kind: str,
    pki: PKI,
    request: pytest.FixtureRequest,
) -> None:
    url = request.getfixturevalue(server)["required"]
    response = call(kind, pki, certificate, url, version)
    assert response.status_code == 200
    if server != "apache":  # it serves a file
        assert "client" in response.text  # the name in the certificate that it saw


@all_kinds
@versions
@pytest.mark.parametrize("server", ["nginx", "fastify"])
def test_a_large_body_arrives_with_a_good_certificate(
    server: str, version: str, kind: str, pki: PKI, request: pytest.FixtureRequest
) -> None:
    """Servers that read it before they answer: the control for refused uploads."""
    url = request.getfixturevalue(server)["required"]
    assert call(kind, pki, "good", url, version, LARGE).status_code == 200


@all_kinds
@versions
@bodies
@pytest.mark.parametrize(("server", "certificate", "reason"), CELLS)
def test_a_refusal_is_told_alike(
    server: str,
    certificate: str,
    reason: str,
    body: bytes | None,
    version: str,
    kind: str,
    pki: PKI,
    request: pytest.FixtureRequest,
) -> None:
    url = request.getfixturevalue(server)["required"]
    with pytest.raises(mtls.IdentityRejectedError) as caught:
        call(kind, pki, certificate, url, version, body)
    assert (caught.value.reason, caught.value.certain) == (reason, reason != "unknown")
    assert isinstance(caught.value, native_errors(kind))


@all_kinds
@versions
@pytest.mark.parametrize("certificate", ALERTS)
def test_nginx_accepts_the_handshake_and_answers_400(
    certificate: str, version: str, kind: str, pki: PKI, nginx: dict[str, str]
) -> None:
    response = call(kind, pki, certificate, nginx["required"], version)
    page = "No required SSL certificate" if certificate == "none" else "The SSL certificate error"
    assert response.status_code == 400
    assert page in response.text


@all_kinds
def test_an_optional_certificate_is_judged_by_the_application(
    kind: str, pki: PKI, nginx: dict[str, str]
) -> None:
    """nginx: optional, but not a bad one."""
    without = call(kind, pki, "none", nginx["optional"], "1.3")
    assert (without.status_code, without.text) == (403, "verify=NONE")
    assert call(kind, pki, "expired", nginx["optional"], "1.3").status_code == 400


@all_kinds
def test_haproxy_can_answer_403_with_the_reason(
    kind: str, pki: PKI, haproxy: dict[str, str]
) -> None:
    for certificate, verify in (("expired", "10"), ("wrong-ca", "21"), ("wrong-eku", "26")):
        response = call(kind, pki, certificate, haproxy["optional"], "1.3")
        assert (response.status_code, response.text) == (403, f"used=1 verify={verify}")


@all_kinds
@versions
def test_apache_asks_per_location_after_the_handshake(
    version: str, kind: str, pki: PKI, apache: dict[str, str]
) -> None:
    """Renegotiation under TLS 1.2, post-handshake authentication under 1.3 (RFC 8446 §4.6.2)."""
    assert call(kind, pki, "none", f"{apache['location']}/", version).text == "open"
    assert call(kind, pki, "good", f"{apache['location']}/secure/", version).text == "secure"


@pytest.mark.parametrize("kind", ["httpx", "asyncio", "trio"])
@pytest.mark.parametrize(
    ("server", "site"), [("nginx", "required"), ("apache", "h2"), ("caddy", "required")]
)
def test_http_2_presents_the_identity(
    kind: str, server: str, site: str, pki: PKI, request: pytest.FixtureRequest
) -> None:
    url = request.getfixturevalue(server)[site]
    response: Any = fetch(kind, pki.identities["good"], url, trust=pki.trust, http2=True)
    assert (response.status_code, response.http_version) == (200, "HTTP/2")


@bodies
@pytest.mark.parametrize("kind", ["httpx", "asyncio", "trio"])
@pytest.mark.parametrize(("server", "site"), [("apache", "h2"), ("caddy", "required")])
def test_http_2_tells_a_refusal(
    kind: str,
    server: str,
    site: str,
    body: bytes | None,
    pki: PKI,
    request: pytest.FixtureRequest,
) -> None:
    options: Any = {"http2": True, "method": "POST" if body else "GET", "body": body}
    url = request.getfixturevalue(server)[site]
    with pytest.raises(mtls.IdentityRejectedError) as caught:
        fetch(kind, pki.identities["wrong-ca"], url, trust=pki.trust, **options)
    assert (caught.value.reason, caught.value.certain) == ("untrusted", True)
