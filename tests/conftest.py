"""One CA, one server and one identity, each right in every way, and the wrong ones by name."""

from __future__ import annotations

import dataclasses
import datetime
from collections.abc import Callable, Iterator

import pytest

from mtls_client import Identity, Trust
from mtls_client.testing import CA, Answer, Call, Server
from tests.renewers.openbao import OpenBao, openbao_server


@pytest.fixture(autouse=True)
def plain_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """No variable of the machine changes what a client does."""
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY", "REQUESTS_CA_BUNDLE"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)
    monkeypatch.delenv("CURL_CA_BUNDLE", raising=False)


@pytest.fixture(scope="session")
def ca() -> CA:
    return CA()


@pytest.fixture(scope="session")
def other_ca() -> CA:
    return CA("Other CA")


@pytest.fixture(scope="session")
def trust(ca: CA) -> Trust:
    return Trust.from_pem(ca.pem)


@pytest.fixture(scope="session")
def identity(ca: CA) -> Identity:
    return ca.issue("client")


@pytest.fixture(scope="session")
def untrusted_identity(other_ca: CA) -> Identity:
    return other_ca.issue("stranger")


@pytest.fixture(scope="session")
def expired_identity(ca: CA) -> Identity:
    past = datetime.datetime(2020, 1, 1, tzinfo=datetime.UTC)
    return ca.issue("expired", not_before=past, not_after=past + datetime.timedelta(days=30))


@pytest.fixture(scope="session")
def server_identity(ca: CA) -> Identity:
    return ca.issue(
        "server",
        dns=["localhost", "api.example.com"],
        ips=["127.0.0.1"],
        client=False,
        server=True,
    )


@pytest.fixture
def server(ca: CA, server_identity: Identity) -> Iterator[Server]:
    """A server that demands a client certificate."""
    with Server(server_identity, client_ca=ca) as running:
        yield running


@pytest.fixture
def serve(ca: CA, server_identity: Identity) -> Iterator[Callable[..., Server]]:
    """Start servers that differ from `server` by keyword, until the test ends."""
    running: list[Server] = []

    def start(**options: object) -> Server:
        made = Server(server_identity, **{"client_ca": ca, **options})  # type: ignore[arg-type]
        running.append(made.__enter__())
        return made

    yield start
    for one in running:
        one.__exit__(None, None, None)


@pytest.fixture
def redirecting(serve: Callable[..., Server]) -> Server:
    """A server that demands nothing and redirects `/to?<url>` to `<url>`."""

    def answer(call: Call) -> Answer:
        if call.path.startswith("/to?"):
            return Answer(status=302, headers={"Location": call.path[4:]})
        return Answer(body=(call.subject or "nobody").encode())

    return serve(client_certificate="optional", handler=answer)


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
