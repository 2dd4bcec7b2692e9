"""After a rotation idle connections are closed, and those in use finish."""

from __future__ import annotations

import asyncio
import json
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import trio

import mtls_client as mtls
from mtls_client.testing import CA, Answer, Call, Server
from tests.rotation.test_credential import until
from tests.rotation.writing import write


@pytest.fixture
def credential(ca: CA, tmp_path: Path) -> mtls.Credential:
    return mtls.Credential(write(tmp_path, ca.issue("rsa one", key="rsa")), poll_interval=0.02)


def rotate(credential: mtls.Credential, folder: Path, identity: mtls.Identity) -> None:
    write(folder, identity)
    credential.reload()


class Held:
    """A handler that answers `/slow` only when told, in two pieces."""

    def __init__(self) -> None:
        self.arrived, self.go = threading.Event(), threading.Event()

    def __call__(self, call: Call) -> Answer:
        if call.path == "/slow":
            self.arrived.set()
            assert self.go.wait(10)
        return Answer(
            headers={"Content-Type": "application/json"},
            body=json.dumps({"subject": call.subject, "port": call.port}).encode(),
        )


@pytest.fixture
def held(serve: Callable[..., Server]) -> Iterator[tuple[Held, Server]]:
    handler = Held()
    yield handler, serve(handler=handler)
    handler.go.set()


def connections(server: Server) -> int:
    return len(server._http._connections)


VERSIONS = [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3]


@pytest.mark.parametrize("version", VERSIONS, ids=["1.2", "1.3"])
@pytest.mark.parametrize("kind", ["requests", "httpx"])
def test_rsa_to_ec_to_rsa_and_the_old_connection_is_closed(
    kind: str,
    version: ssl.TLSVersion,
    credential: mtls.Credential,
    trust: mtls.Trust,
    ca: CA,
    serve: Callable[..., Server],
    tmp_path: Path,
) -> None:
    server = serve(maximum_version=version)
    make: Any = mtls.Session if kind == "requests" else mtls.Client
    with make(credential, trust=trust) as session:
        for name, key in [("ec", "ec"), ("rsa two", "rsa"), ("ed", "ed25519")]:
            before = session.get(server.url).json()
            again = session.get(server.url).json()
            assert again["subject"] == before["subject"] == credential.identity.subject[3:]
            assert server.calls[-1].port == server.calls[-2].port, "kept alive"
            rotate(credential, tmp_path, ca.issue(name, key=key))
            assert credential.wait_drained(10)
            until(lambda: connections(server) == 0)
            assert session.get(server.url).json()["subject"] == name


@pytest.mark.parametrize("http2", [False, True], ids=["http1", "http2"])
@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_async_clients_close_idle_connections_from_any_thread(
    backend: str,
    http2: bool,
    credential: mtls.Credential,
    trust: mtls.Trust,
    ca: CA,
    server: Server,
    tmp_path: Path,
) -> None:
    async def run() -> None:
        async with mtls.AsyncClient(credential, trust=trust, http2=http2) as client:
            assert (await client.get(server.url)).json()["subject"] == "rsa one"
            assert connections(server) == 1
            thread = threading.Thread(target=rotate, args=(credential, tmp_path, ca.issue("ec")))
            thread.start()
            end = time.monotonic() + 10
            while connections(server):
                assert time.monotonic() < end
                await (asyncio.sleep(0.01) if backend == "asyncio" else trio.sleep(0.01))
            thread.join(10)
            assert credential.wait_drained(0)
            assert (await client.get(server.url)).json()["subject"] == "ec"

    asyncio.run(run()) if backend == "asyncio" else trio.run(run)


@pytest.mark.parametrize("kind", ["requests", "httpx"])
def test_a_request_in_flight_finishes_with_the_identity_it_began_with(
    kind: str,
    credential: mtls.Credential,
    trust: mtls.Trust,
    ca: CA,
    held: tuple[Held, Server],
    tmp_path: Path,
) -> None:
    handler, server = held
    make: Any = mtls.Session if kind == "requests" else mtls.Client
    answers: list[dict[str, Any]] = []
    with make(credential, trust=trust) as session:
        session.get(server.url)
        thread = threading.Thread(
            target=lambda: answers.append(session.get(server.url + "/slow").json())
        )
        thread.start()
        assert handler.arrived.wait(10)
        rotate(credential, tmp_path, ca.issue("ec"))
        assert session.get(server.url).json()["subject"] == "ec", "new ones go on meanwhile"
        assert not credential.wait_drained(0.05)
        handler.go.set()
        thread.join(10)
        assert answers[0]["subject"] == "rsa one"
        assert credential.wait_drained(10)
        until(lambda: connections(server) == 1)


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_an_async_request_in_flight_finishes(
    backend: str,
    credential: mtls.Credential,
    trust: mtls.Trust,
    ca: CA,
    held: tuple[Held, Server],
    tmp_path: Path,
) -> None:
    handler, server = held

    async def run() -> None:
        async with mtls.AsyncClient(credential, trust=trust) as client:
            async with client.stream("GET", server.url) as response:
                rotate(credential, tmp_path, ca.issue("ec"))
                assert not credential.wait_drained(0)
                assert (await client.get(server.url)).json()["subject"] == "ec"
                await response.aread()
                assert response.json()["subject"] == "rsa one"
            assert credential.wait_drained(0)

    asyncio.run(run()) if backend == "asyncio" else trio.run(run)
    handler.go.set()


def test_a_streamed_response_of_requests_holds_its_lease_until_it_is_read_or_closed(
    credential: mtls.Credential, trust: mtls.Trust, ca: CA, server: Server, tmp_path: Path
) -> None:
    with mtls.Session(credential, trust=trust) as session:
        read, closed, forgotten = (session.get(server.url, stream=True) for _ in range(3))
        rotate(credential, tmp_path, ca.issue("ec"))
        assert read.json()["subject"] == "rsa one"
        closed.close()
        assert not credential.wait_drained(0.01)
        del forgotten
        assert credential.wait_drained(10)


@pytest.mark.parametrize("method", ["HEAD", "GET", "DELETE"])
@pytest.mark.parametrize("status", [200, 204, 304])
@pytest.mark.parametrize("kind", ["requests", "httpx"])
def test_responses_without_content_hold_no_lease(
    kind: str,
    method: str,
    status: int,
    credential: mtls.Credential,
    trust: mtls.Trust,
    serve: Callable[..., Server],
) -> None:
    server = serve(handler=lambda call: Answer(status=status))
    make: Any = mtls.Session if kind == "requests" else mtls.Client
    with make(credential, trust=trust) as session:
        for _ in range(3):
            assert session.request(method, server.url).status_code == status
        assert credential.current().leases == set()


def test_failed_requests_hold_no_lease(
    credential: mtls.Credential, trust: mtls.Trust, server: Server
) -> None:
    for make in (mtls.Session, mtls.Client):
        with make(credential, trust=trust) as session:
            for url in ("https://localhost:1/", "https://localhost:bad/"):
                with pytest.raises((OSError, httpx.HTTPError, httpx.InvalidURL)):
                    session.get(url)
    assert credential.current().leases == set()


def test_redirects_hold_no_lease(
    credential: mtls.Credential, trust: mtls.Trust, redirecting: Server, server: Server
) -> None:
    with mtls.Session(credential, trust=trust) as session:
        session.get(f"{redirecting.url}/to?{redirecting.url}/to?/end")
    with mtls.Client(credential, trust=trust, follow_redirects=True) as client:
        client.get(f"{redirecting.url}/to?{redirecting.url}/to?/end")
    assert credential.current().leases == set()


def test_connections_of_other_libraries_are_leases_while_they_are_open(
    credential: mtls.Credential, trust: mtls.Trust, ca: CA, server: Server, tmp_path: Path
) -> None:
    import http.client

    context = mtls.MTLSContext(credential, trust=trust)
    connection = http.client.HTTPSConnection("localhost", server.port, context=context)
    connection.request("GET", "/")
    assert json.load(connection.getresponse())["subject"] == "rsa one"
    rotate(credential, tmp_path, ca.issue("ec"))
    assert not credential.wait_drained(0.01)
    connection.close()
    assert credential.wait_drained(10)
    connection.request("GET", "/")
    assert json.load(connection.getresponse())["subject"] == "ec"
    connection.close()


def test_asyncio_streams_are_leases_while_they_are_open(
    credential: mtls.Credential, trust: mtls.Trust, ca: CA, server: Server, tmp_path: Path
) -> None:
    context = mtls.MTLSContext(credential, trust=trust)

    async def call() -> bytes:
        reader, writer = await asyncio.open_connection("localhost", server.port, ssl=context)
        writer.write(b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        answer = await reader.read()
        writer.close()
        await writer.wait_closed()
        return answer

    assert b"rsa one" in asyncio.run(call())
    rotate(credential, tmp_path, ca.issue("ec"))
    import gc

    gc.collect()
    assert credential.wait_drained(10)
    assert b'"ec"' in asyncio.run(call())


def test_one_credential_serves_many_sessions_and_hosts(
    credential: mtls.Credential, trust: mtls.Trust, ca: CA, server: Server, tmp_path: Path
) -> None:
    sessions = [mtls.Session({"localhost": credential}, trust=trust) for _ in range(3)]
    clients = [mtls.Client(credential, trust=trust, hosts=["localhost"]) for _ in range(3)]
    for one in (*sessions, *clients):
        assert one.get(server.url).json()["subject"] == "rsa one"
    rotate(credential, tmp_path, ca.issue("ec"))
    assert credential.wait_drained(10)
    until(lambda: connections(server) == 0)
    for one in (*sessions, *clients):
        assert one.get(server.url).json()["subject"] == "ec"
        one.close()


@pytest.mark.parametrize("kind", ["requests", "httpx"])
def test_rotation_through_a_proxy(
    kind: str,
    credential: mtls.Credential,
    trust: mtls.Trust,
    ca: CA,
    server: Server,
    tmp_path: Path,
) -> None:
    from tests.proxy import Proxy

    with Proxy() as proxy:
        if kind == "requests":
            session: Any = mtls.Session(credential, trust=trust)
            session.proxies = {"https": proxy.url}
        else:
            session = mtls.Client(credential, trust=trust, proxy=proxy.url)
        with session:
            assert session.get(server.url).json()["subject"] == "rsa one"
            rotate(credential, tmp_path, ca.issue("ec"))
            until(lambda: connections(server) == 0)
            assert session.get(server.url).json()["subject"] == "ec"


def test_an_async_client_loads_its_source_off_the_event_loop(
    ca: CA, trust: mtls.Trust, server: Server
) -> None:
    identity = ca.issue("late")
    threads: list[int] = []

    class Source:
        def load(self) -> mtls.Identity:
            threads.append(threading.get_ident())
            return identity

    async def run() -> str:
        client = mtls.AsyncClient(Source(), trust=trust)
        assert threads == [], "not while it is made"
        async with client:
            assert len(threads) == 1
            subject: str = (await client.get(server.url)).json()["subject"]
        return subject

    assert asyncio.run(run()) == "late"
    assert len(threads) == 1
    assert threads[0] != threading.get_ident()


def test_an_async_client_tells_of_a_bad_source_when_it_is_entered(tmp_path: Path) -> None:
    async def run() -> None:
        async with mtls.AsyncClient(mtls.FileSource(tmp_path / "none.pem")):
            pass

    with pytest.raises(mtls.IdentityNotFoundError):
        asyncio.run(run())
