"""What each server does with each identity, and what a session makes of it.

A refusal has the same class and reason under TLS 1.2 and 1.3, for a GET and for a large POST, in
every library. What differs is what the servers themselves say:

* nginx completes the handshake and answers with HTTP 400;
* Caddy says `bad_certificate` of a wrong extended key usage, and knows no CRL;
* Node hangs up without an alert, except where there is no certificate at all.
"""

from __future__ import annotations

import ssl
from typing import Any

import pytest

import mtls_client as mtls
from mtls_client import Identity, RejectionReason, Trust
from mtls_client.testing import CA
from tests.clients import KINDS, fetch, native_errors

FAULTS = ["missing", "expired", "revoked", "untrusted", "unsupported"]
CELLS = [
    (server, fault)
    for server in ("apache", "haproxy", "caddy", "node")
    for fault in FAULTS
    if (server, fault) != ("caddy", "revoked")
]
LARGE = b"x" * 4_000_000

all_kinds = pytest.mark.parametrize("kind", KINDS)
both_versions = pytest.mark.parametrize("version", ["1.2", "1.3"])


def call(
    kind: str, credential: Any, url: str, ca: CA, version: str, body: bytes | None = None
) -> Any:
    trust = Trust.from_pem(ca.pem, minimum_version=version, maximum_version=version)
    method = "POST" if body else "GET"
    return fetch(kind, credential, url, trust=trust, method=method, body=body)


@all_kinds
@both_versions
@pytest.mark.parametrize("body", [None, LARGE], ids=["GET", "POST"])
@pytest.mark.parametrize("key", ["ec", "rsa"])
@pytest.mark.parametrize("server", ["nginx", "apache", "haproxy", "caddy", "node"])
def test_a_good_identity_is_let_in(
    kind: str,
    version: str,
    body: bytes | None,
    key: str,
    server: str,
    request: pytest.FixtureRequest,
    ca: CA,
    good_identity: Identity,
    rsa_identity: Identity,
) -> None:
    """The control of everything below."""
    sites = request.getfixturevalue(server)
    identity = good_identity if key == "ec" else rsa_identity
    response = call(kind, identity, sites["required"], ca, version, body)
    assert response.status_code == 200
    assert response.headers["X-Client"] == "CN=good"
    assert response.headers["X-TLS"].lower().replace("v", "") == f"tls{version}"


@all_kinds
@pytest.mark.parametrize(
    ("version", "body"),
    [("1.2", None), ("1.3", None), ("1.3", LARGE)],
    ids=["1.2-GET", "1.3-GET", "1.3-POST"],
)
@pytest.mark.parametrize(("server", "fault"), CELLS)
def test_a_refusal_has_one_class_and_one_reason(
    kind: str,
    version: str,
    body: bytes | None,
    server: str,
    fault: str,
    request: pytest.FixtureRequest,
    ca: CA,
    wrong: dict[str, Any],
) -> None:
    sites = request.getfixturevalue(server)
    with pytest.raises(mtls.IdentityRejectedError) as caught:
        call(kind, wrong[fault], sites["required"], ca, version, body)
    assert (caught.value.reason, caught.value.certain) == _expected(server, fault)
    assert isinstance(caught.value, ssl.SSLError)
    assert isinstance(caught.value, native_errors(kind))


@all_kinds
@pytest.mark.parametrize(
    ("version", "body"),
    [("1.2", None), ("1.3", None), ("1.3", LARGE)],
    ids=["1.2-GET", "1.3-GET", "1.3-POST"],
)
@pytest.mark.parametrize("fault", FAULTS)
def test_nginx_answers_400(
    kind: str,
    version: str,
    body: bytes | None,
    fault: str,
    nginx: dict[str, str],
    ca: CA,
    wrong: dict[str, Any],
) -> None:
    response = call(kind, wrong[fault], nginx["required"], ca, version, body)
    assert response.status_code == 400
    said = "No required SSL certificate was sent" if fault == "missing" else "SSL certificate error"
    assert said in response.text


def _expected(server: str, fault: str) -> tuple[RejectionReason, bool]:
    if (server, fault) == ("caddy", "unsupported"):
        return RejectionReason.BAD, True
    if server == "node" and fault != "missing":
        return RejectionReason.UNKNOWN, False
    return RejectionReason(fault), True
