"""What the doctor says of each real server with each certificate; `good` is the control."""

from __future__ import annotations

import pytest

from mtls_client import Identity, diagnose
from mtls_client.doctor import Report
from mtls_client.testing import CA
from tests.doctor.conftest import bare
from tests.servers.conftest import PKI

CAUSES = {
    "none": "identity_needed",
    "expired": "identity_expired",
    "revoked": "rejected_revoked",
    "wrong-ca": "issuer_not_accepted",
    "wrong-eku": "identity_for_servers",
}
CELLS = [
    pytest.param(server, certificate, code, id=f"{server}-{certificate}")
    for server in ("nginx", "apache", "haproxy", "caddy", "fastify")
    for certificate, code in CAUSES.items()
    if not (server in ("caddy", "fastify") and certificate == "revoked")  # they have no CRL
]


def codes(report: Report) -> list[str]:
    return [one.code for one in report.findings]


@pytest.mark.parametrize(("server", "certificate", "code"), CELLS)
def test_the_first_finding_is_the_cause(
    server: str, certificate: str, code: str, pki: PKI, request: pytest.FixtureRequest
) -> None:
    url = request.getfixturevalue(server)["required"]
    report = diagnose(pki.identities[certificate], url, trust=pki.trust)
    if (server, certificate) == ("nginx", "revoked"):
        code = "http_refused_certificate"  # its page does not say why
    assert codes(report)[:1] == [code], str(report)


@pytest.mark.parametrize("server", ["nginx", "apache", "haproxy", "caddy", "fastify"])
def test_a_good_certificate_is_accepted(
    server: str, pki: PKI, request: pytest.FixtureRequest
) -> None:
    url = request.getfixturevalue(server)["required"]
    report = diagnose(pki.identities["good"], url, trust=pki.trust)
    assert report.ok, str(report)
    [asked] = [one for one in report.findings if one.code == "certificate_requested"]
    assert "CN=Test CA, is among them" in asked.evidence
    assert "identity_accepted" in codes(report)


def test_a_missing_intermediate_of_ours(ca: CA, pki: PKI, nginx: dict[str, str]) -> None:
    client = bare(ca.intermediate("Issuing CA").issue("client"))
    report = diagnose(client, nginx["required"], trust=pki.trust)
    assert codes(report)[:1] == ["chain_incomplete"], str(report)


def test_an_optional_certificate_that_is_needed(pki: PKI, nginx: dict[str, str]) -> None:
    report = diagnose(None, nginx["optional"], trust=pki.trust)
    assert codes(report)[:1] == ["identity_needed"], str(report)


def test_a_certificate_that_is_asked_for_after_the_handshake(
    identity: Identity, pki: PKI, apache: dict[str, str]
) -> None:
    """Apache asks per location; the doctor sees it because it makes the request."""
    report = diagnose(identity, f"{apache['location']}/secure/", trust=pki.trust)
    assert report.ok, str(report)
    assert "identity_accepted" in codes(report)
    silent = diagnose(identity, f"{apache['location']}/secure/", trust=pki.trust, request=False)
    assert "certificate_not_requested" in codes(silent)


def test_without_the_request_nginx_seems_content(pki: PKI, nginx: dict[str, str]) -> None:
    report = diagnose(pki.identities["revoked"], nginx["required"], trust=pki.trust, request=False)
    assert report.ok
    assert "http_answer" not in codes(report)
