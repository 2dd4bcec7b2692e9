"""OpenBao, started once for all tests, with a CA in `pki`."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

import pytest

from mtls_client import Identity
from mtls_client.testing import CA
from tests.renewers.openbao import OpenBao, openbao_server


@pytest.fixture(scope="session")
def openbao(
    tmp_path_factory: pytest.TempPathFactory, ca: CA, server_identity: Identity
) -> Iterator[OpenBao]:
    """A server with a CA in `pki`, AppRole and certificate logins, and the role `client`."""
    with openbao_server(tmp_path_factory.mktemp("openbao"), server_identity) as bao:
        bao = dataclasses.replace(bao, root_pem=bao.with_ca())
        bao.role("client")
        bao.policy("signs", "pki/sign/*")
        bao.call("POST", "sys/auth/approle", type="approle")
        bao.call("POST", "sys/auth/cert", type="cert")
        for name, trusted in (("services", ca.pem), ("renewed", bao.root_pem)):
            bao.call(
                "POST",
                f"auth/cert/certs/{name}",
                certificate=trusted.decode(),
                allowed_common_names=["svc-*"],
                token_policies=["signs"],
                token_ttl="10m",
            )
        yield bao
