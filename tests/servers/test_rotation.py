"""Rotation over HTTP/2, where requests share a connection, and under real servers."""

from __future__ import annotations

import asyncio
import threading
from pathlib import Path
from typing import Any

import pytest
import trio

import mtls_client as mtls
from mtls_client.testing import CA
from tests.rotation.test_credential import until
from tests.rotation.writing import write
from tests.servers.conftest import PKI

SITES = [("nginx", "required"), ("apache", "h2"), ("caddy", "required")]
ROUNDS = 10


@pytest.fixture
def pairs(ca: CA) -> list[mtls.Identity]:
    return [ca.issue(f"number {n}", key="rsa" if n % 2 else "ec") for n in range(ROUNDS + 1)]


@pytest.mark.parametrize(("server", "site"), SITES)
@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_tasks_that_share_connections_notice_nothing(
    backend: str,
    server: str,
    site: str,
    pki: PKI,
    pairs: list[mtls.Identity],
    tmp_path: Path,
    request: pytest.FixtureRequest,
) -> None:
    url = request.getfixturevalue(server)[site]
    credential = mtls.Credential(write(tmp_path, pairs[0]), poll_interval=3600)
    wrong: list[object] = []
    done = False

    async def work(client: mtls.AsyncClient) -> None:
        while not done:
            try:
                response = await client.get(url)
            except Exception as error:
                wrong.append(error)
                return
            if (response.status_code, response.http_version) != (200, "HTTP/2"):
                wrong.append(response)

    async def run() -> None:
        nonlocal done
        async with mtls.AsyncClient(credential, trust=pki.trust, http2=True) as client:
            transport: Any = client._transport

            def rotate() -> None:
                nonlocal done
                try:
                    for pair in pairs[1:]:
                        write(tmp_path, pair)
                        credential.reload()
                        assert credential.wait_drained(20)
                except BaseException as error:
                    wrong.append(error)
                done = True

            thread = threading.Thread(target=rotate)
            if backend == "asyncio":
                tasks = [asyncio.create_task(work(client)) for _ in range(20)]
                await client.get(url)
                thread.start()
                await asyncio.gather(*tasks)
                await asyncio.sleep(0.1)
            else:
                async with trio.open_nursery() as nursery:
                    for _ in range(20):
                        nursery.start_soon(work, client)
                    await client.get(url)
                    thread.start()
                await trio.sleep(0.1)
            thread.join(30)
            await client.get(url)
            kept = [inner.identity.fingerprint for inner in transport._transports]
            assert kept == [pairs[-1].fingerprint], "the old connections are gone"

    asyncio.run(run()) if backend == "asyncio" else trio.run(run)
    assert wrong == []
    assert credential.generation == ROUNDS + 1


@pytest.mark.parametrize(
    ("server", "site"),
    [("nginx", "required"), ("apache", "required"), ("haproxy", "required"), ("caddy", "required")],
)
@pytest.mark.parametrize("kind", ["requests", "httpx", "http2"])
def test_threads_notice_nothing(
    kind: str,
    server: str,
    site: str,
    pki: PKI,
    pairs: list[mtls.Identity],
    tmp_path: Path,
    request: pytest.FixtureRequest,
) -> None:
    url = request.getfixturevalue(server)[site]
    credential = mtls.Credential(write(tmp_path, pairs[0]), poll_interval=3600)
    wrong: list[object] = []
    done = threading.Event()
    session: Any = (
        mtls.Session(credential, trust=pki.trust)
        if kind == "requests"
        else mtls.Client(credential, trust=pki.trust, http2=kind == "http2", timeout=30)
    )

    def work() -> None:
        while not done.is_set():
            try:
                if (status := session.get(url).status_code) != 200:
                    wrong.append(status)
            except Exception as error:
                wrong.append(error)

    with session:
        threads = [threading.Thread(target=work) for _ in range(8)]
        for thread in threads:
            thread.start()
        for pair in pairs[1:]:
            write(tmp_path, pair)
            credential.reload()
            assert credential.wait_drained(30)
        done.set()
        for thread in threads:
            thread.join(30)
        if kind != "requests":
            until(lambda: len(session._transport._transports) <= 1)
    assert wrong == []


@pytest.mark.parametrize(("server", "site"), SITES)
def test_threads_over_http2_do_not_mix_their_frames(
    server: str, site: str, pki: PKI, request: pytest.FixtureRequest
) -> None:
    """Frames out of order end a connection, and with it the requests of all who share it."""
    url = request.getfixturevalue(server)[site]
    wrong: list[object] = []

    def work() -> None:
        for _ in range(25):
            try:
                response = client.post(url, content=b"x" * 20_000)
            except Exception as error:
                wrong.append(error)
                return
            if response.http_version != "HTTP/2":
                wrong.append(response.http_version)

    good = pki.identities["good"]
    with mtls.Client(good, trust=pki.trust, http2=True, timeout=60) as client:
        threads = [threading.Thread(target=work) for _ in range(16)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
    assert wrong == []
