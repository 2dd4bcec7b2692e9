"""The proof: rotation after rotation under load, the old certificate refused each time.

Of 200 rotations not one may cost a request. Each response names the certificate that the server
saw, and none may be older than the one that was current when its request began.
"""

from __future__ import annotations

import asyncio
import os
import random
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import trio

import mtls_client as mtls
from mtls_client.events import Event, GenerationDrained, IdentityReloaded, ReloadFailed
from mtls_client.testing import CA
from tests.rotation.guard import Guard
from tests.rotation.writing import replace, write

# the newest Python does it in full; the others show that they are no different
ROTATIONS = 200 if sys.version_info >= (3, 13) else 20
THREADS = 16
TASKS = 100
LIMITS = httpx.Limits(max_connections=20)  # most tasks wait, with a lease, for a connection


@pytest.fixture(scope="module")
def identities(ca: CA) -> list[mtls.Identity]:
    """A new certificate for each rotation, from EC to RSA and back."""
    keys = [ca.issue(key=kind).private_key for kind in ("ec", "rsa", "ed25519", "rsa")]
    return [
        ca.issue(str(number), key=keys[number % len(keys)])  # type: ignore[arg-type]
        for number in range(ROTATIONS + 1)
    ]


@pytest.fixture
def guard(ca: CA, server_identity: mtls.Identity, tmp_path: Path) -> Iterator[Guard]:
    folder = tmp_path / "server"
    folder.mkdir()
    with Guard(folder, ca, server_identity) as running:
        yield running


class Load:
    """What requests under load have seen."""

    def __init__(self, credential: mtls.Credential, identities: list[mtls.Identity]) -> None:
        self.credential = credential
        self.order = {one.fingerprint: number for number, one in enumerate(identities, 1)}
        self.requests = 0
        self.wrong: list[str] = []
        self.done = False

    def began(self) -> int:
        return self.credential.generation

    def ended(self, began: int, status: int, text: str) -> None:
        self.requests += 1
        if status != 200:
            self.wrong.append(f"status {status}")
        elif self.order[text] < began:
            self.wrong.append(f"began in generation {began}, presented {self.order[text]}")

    def failed(self, error: BaseException) -> None:
        self.wrong.append(repr(error))


def threads(make: Callable[..., Any]) -> Callable[[Load, mtls.Trust, str], None]:
    def run(load: Load, trust: mtls.Trust, url: str) -> None:
        options: dict[str, Any] = {"pool_maxsize": THREADS} if make is mtls.Session else {}

        def work(session: Any) -> None:
            while not load.done:
                began = load.began()
                try:
                    response = session.get(url, timeout=30)
                    load.ended(began, response.status_code, response.text)
                except Exception as error:
                    load.failed(error)

        with make(load.credential, trust=trust, **options) as session:
            workers = [threading.Thread(target=work, args=(session,)) for _ in range(THREADS)]
            for worker in workers:
                worker.start()
            for worker in workers:
                worker.join()

    return run


async def one_task(client: mtls.AsyncClient, load: Load, url: str) -> None:
    while not load.done:
        began = load.began()
        try:
            response = await client.get(url, timeout=60)
            load.ended(began, response.status_code, response.text)
        except Exception as error:
            load.failed(error)


def under_asyncio(load: Load, trust: mtls.Trust, url: str) -> None:
    async def run() -> None:
        async with mtls.AsyncClient(load.credential, trust=trust, limits=LIMITS) as client:
            await asyncio.gather(*(one_task(client, load, url) for _ in range(TASKS)))

    asyncio.run(run())


def under_trio(load: Load, trust: mtls.Trust, url: str) -> None:
    async def run() -> None:
        async with mtls.AsyncClient(load.credential, trust=trust, limits=LIMITS) as client:
            async with trio.open_nursery() as nursery:
                for _ in range(TASKS):
                    nursery.start_soon(one_task, client, load, url)

    trio.run(run)


CLIENTS = {
    "requests": threads(mtls.Session),
    "httpx": threads(mtls.Client),
    "asyncio": under_asyncio,
    "trio": under_trio,
}


def under_load(
    client: str, load: Load, trust: mtls.Trust, url: str, meanwhile: Callable[[], None]
) -> None:
    thread = threading.Thread(target=CLIENTS[client], args=(load, trust, url))
    thread.start()
    try:
        progress(load, 1)
        meanwhile()
        progress(load, 20)
    finally:
        load.done = True
        thread.join(60)
    assert not thread.is_alive()


def progress(load: Load, count: int) -> None:
    """Wait until more requests have ended."""
    goal, end = load.requests + count, time.monotonic() + 60
    while load.requests < goal and not load.wrong:
        assert time.monotonic() < end, "no request ends any more"
        time.sleep(0.001)


@pytest.mark.timeout(900)  # each wait within has a bound of its own
@pytest.mark.parametrize("client", CLIENTS)
def test_rotations_under_load_while_the_old_certificate_is_refused(
    client: str,
    identities: list[mtls.Identity],
    guard: Guard,
    trust: mtls.Trust,
    tmp_path: Path,
) -> None:
    events: list[Event] = []
    credential = mtls.Credential(
        write(tmp_path, identities[0]), poll_interval=3600, observers=[events.append]
    )
    load = Load(credential, identities)

    def rotate() -> None:
        for number, identity in enumerate(identities[1:], 1):
            write(tmp_path, identity)
            credential.reload()
            assert credential.wait_drained(60)
            guard.refuse(identities[:number])
            progress(load, 5)

    under_load(client, load, trust, guard.url, rotate)
    assert load.wrong == []
    assert load.requests >= 5 * ROTATIONS
    assert credential.generation == ROTATIONS + 1
    assert sum(isinstance(event, IdentityReloaded) for event in events) == ROTATIONS
    assert sum(isinstance(event, GenerationDrained) for event in events) == ROTATIONS


@pytest.mark.timeout(900)  # each wait within has a bound of its own
@pytest.mark.parametrize("client", ["requests", "asyncio"])
def test_a_slow_and_dirty_writer_under_load(
    client: str,
    identities: list[mtls.Identity],
    guard: Guard,
    trust: mtls.Trust,
    tmp_path: Path,
) -> None:
    """The two files are written apart, in both orders, in pieces, with garbage in between."""
    events: list[Event] = []
    credential = mtls.Credential(
        write(tmp_path, identities[0]), poll_interval=0.002, observers=[events.append]
    )
    load = Load(credential, identities)
    chance = random.Random(20)
    rotations = min(ROTATIONS, 40)

    def slowly(path: Path, data: bytes) -> None:
        match chance.choice(["atomic", "pieces", "garbage", "gone"]):
            case "pieces":
                with path.open("wb", buffering=0) as file:
                    for piece in (data[:100], data[100:300], data[300:]):
                        file.write(piece)
                        time.sleep(0.004)
            case "garbage":
                path.write_bytes(os.urandom(300))
                time.sleep(0.006)
                replace(path, data)
            case "gone":
                path.unlink()
                time.sleep(0.006)
                path.touch(0o600)
                path.write_bytes(data)
            case _:
                replace(path, data)
        time.sleep(0.004)

    def rotate() -> None:
        for number, identity in enumerate(identities[1 : rotations + 1], 1):
            pair = [
                (tmp_path / "tls.crt", identity.certificate_pem()),
                (tmp_path / "tls.key", identity.private_key_pem()),
            ]
            for path, data in pair if number % 2 else reversed(pair):
                slowly(path, data)
            end = time.monotonic() + 60
            while credential.identity.fingerprint != identity.fingerprint:
                assert time.monotonic() < end, "the new pair is never noticed"
                time.sleep(0.001)
            assert credential.wait_drained(60)
            guard.refuse(identities[:number])
            progress(load, 5)

    under_load(client, load, trust, guard.url, rotate)
    assert load.wrong == []
    assert credential.generation == rotations + 1
    assert any(isinstance(event, ReloadFailed) for event in events), "the writer was not dirty"
