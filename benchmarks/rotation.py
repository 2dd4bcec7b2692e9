"""Print what noticing and taking over a new identity costs: `python -m benchmarks.rotation`.

Steady state and rotation take turns in one run, on one session, so that what else the machine does
falls on both. A person reads the figures; nothing here fails.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import platform
import ssl
import statistics
import tempfile
import threading
import time
import timeit
import warnings
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import httpx
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import PrivateFormat, pkcs12

import mtls_client as mtls
from benchmarks.server import running
from mtls_client.testing import CA

THREADS, TASKS, CONNECTIONS = 16, 100, 20
ROUNDS = 600_000


class Latencies:
    """How long requests took, told apart by whether identities were being replaced."""

    def __init__(self) -> None:
        self.rotating = self.done = False
        self.failed = 0
        self.seconds: dict[bool, list[float]] = {False: [], True: []}

    @contextlib.contextmanager
    def timed(self) -> Iterator[None]:
        began, kind = time.perf_counter(), self.rotating
        try:
            yield
        except Exception:
            self.failed += 1
        else:
            self.seconds[kind].append(time.perf_counter() - began)

    def p99(self, rotating: bool) -> float:
        return statistics.quantiles(self.seconds[rotating], n=100)[98]


def by_threads(credential: mtls.Credential, trust: mtls.Trust, url: str, seen: Latencies) -> None:
    def work(session: mtls.Session) -> None:
        while not seen.done:
            with seen.timed():
                session.get(url, timeout=60).raise_for_status()

    with mtls.Session(credential, trust=trust, pool_maxsize=THREADS) as session:
        workers = [threading.Thread(target=work, args=(session,)) for _ in range(THREADS)]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()


def by_tasks(credential: mtls.Credential, trust: mtls.Trust, url: str, seen: Latencies) -> None:
    async def work(client: mtls.AsyncClient) -> None:
        while not seen.done:
            with seen.timed():
                (await client.get(url, timeout=60)).raise_for_status()

    async def run() -> None:
        limits = httpx.Limits(max_connections=CONNECTIONS)
        async with mtls.AsyncClient(credential, trust=trust, limits=limits) as client:
            await asyncio.gather(*(work(client) for _ in range(TASKS)))

    asyncio.run(run())


def under_load(
    name: str,
    load: Callable[[mtls.Credential, mtls.Trust, str, Latencies], None],
    folder: Path,
    ca: CA,
    url: str,
    rotations: int,
    interval: float,
) -> str:
    identities = [ca.issue(key="ec") for _ in range(rotations + 1)]
    file = folder / "client.pem"
    identities[0].save_pem(file, password=None)
    credential = mtls.Credential(mtls.FileSource(file))
    seen = Latencies()
    thread = threading.Thread(
        target=load, args=(credential, mtls.Trust.from_pem(ca.pem), url, seen)
    )
    thread.start()
    time.sleep(2)
    seen.seconds[False].clear()
    # five rotations, then as long without one, and so on
    for first in range(1, rotations + 1, 5):
        seen.rotating = False
        time.sleep(5 * interval)
        seen.rotating = True
        for identity in identities[first : first + 5]:
            identity.save_pem(file, password=None)
            time.sleep(interval)
    seen.done = True
    thread.join()
    rotating, steady = seen.p99(True), seen.p99(False)
    mark = "ok  " if rotating / steady <= 1.2 and not seen.failed else "OVER"
    return (
        f"{mark} p99 in {credential.generation - 1} rotations, {name:<28} "
        f"ratio {rotating / steady:6.3f}  budget 1.2   "
        f"{rotating * 1e3:.1f} ms / {steady * 1e3:.1f} ms, "
        f"{len(seen.seconds[True])} / {len(seen.seconds[False])} requests, {seen.failed} failed"
    )


def checks(folder: Path, ca: CA) -> Iterator[str]:
    """What each request pays for the question whether there is something new."""
    file = folder / "client.pem"
    ca.issue().save_pem(file, password=None)
    credential = mtls.Credential(mtls.FileSource(file), poll_interval=3600)
    count = 100_000
    idle = min(timeit.repeat(credential.refresh, number=count, repeat=5)) / count
    yield _bounded("reload check per request", idle * 1e6, 2.0, "µs")
    look = statistics.median(
        timeit.repeat(lambda: credential.refresh(now=True), number=100, repeat=11)
    )
    yield f"     one look at the file, at most one a second {'':<19}{look / 100 * 1e6:8.1f} µs"


async def stalls(folder: Path, ca: CA, rounds: int = 15) -> AsyncIterator[str]:
    """How long the loop stands still while a client loads a file that takes long to open."""
    file = folder / "slow.p12"
    identity = ca.issue("client", key="ec")
    sealed = (
        PrivateFormat.PKCS12.encryption_builder()
        .kdf_rounds(ROUNDS)
        .hmac_hash(hashes.SHA256())
        .build(b"demo")
    )
    file.touch(0o600)
    file.write_bytes(
        pkcs12.serialize_key_and_certificates(
            None,
            identity.private_key,  # type: ignore[arg-type]  # keys of cryptography
            identity.certificate,
            None,
            sealed,
        )
    )
    trust = mtls.Trust.from_pem(ca.pem)
    gaps: list[float] = []

    async def tick() -> None:
        last = time.perf_counter()
        while True:
            await asyncio.sleep(0.0005)
            now = time.perf_counter()
            gaps.append(now - last)
            last = now

    # what is imported at first use is not part of the load
    async with mtls.AsyncClient(mtls.FileSource(folder / "client.pem"), trust=trust):
        pass
    ticking = asyncio.create_task(tick())
    idle, loading, took = [], [], []
    for _ in range(rounds):
        gaps.clear()
        await asyncio.sleep(0.5)
        idle.append(max(gaps))
        gaps.clear()
        began = time.perf_counter()
        async with mtls.AsyncClient(mtls.FileSource(file, password="demo"), trust=trust):
            took.append(time.perf_counter() - began)
        loading.append(max(gaps))
    ticking.cancel()
    title = f"longest stall of the event loop, {ROUNDS:,} rounds"
    yield _bounded(title, statistics.median(loading) * 1e3, 5.0, "ms")
    yield (
        f"     the same without a load: {statistics.median(idle) * 1e3:.1f} ms; "
        f"the load took {statistics.median(took) * 1e3:.0f} ms"
    )


def _bounded(name: str, value: float, budget: float, unit: str) -> str:
    mark = "ok  " if value <= budget else "OVER"
    return f"{mark} {name:<61} {value:8.2f} {unit}  budget {budget:g} {unit}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rotations", type=int, default=30)
    parser.add_argument("--interval", type=float, default=2.0, help="seconds between rotations")
    given = parser.parse_args()
    warnings.simplefilter("ignore")
    print(f"Python {platform.python_version()}, {ssl.OPENSSL_VERSION}")
    ca = CA()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for line in checks(folder, ca):
            print(line, flush=True)

        async def stalling() -> None:
            async for line in stalls(folder, ca):
                print(line, flush=True)

        asyncio.run(stalling())
        server, ca_file = folder / "server.pem", folder / "ca.pem"
        ca.issue("server", dns=["localhost"], client=False, server=True).save_pem(
            server, password=None
        )
        ca_file.write_bytes(ca.pem)
        for title, load in (
            (f"requests, {THREADS} threads", by_threads),
            (f"httpx asyncio, {TASKS} tasks", by_tasks),
        ):
            with running(server, ca_file) as url:
                print(
                    under_load(title, load, folder, ca, url, given.rotations, given.interval),
                    flush=True,
                )


if __name__ == "__main__":
    main()
