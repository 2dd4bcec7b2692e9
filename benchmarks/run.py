"""Print what the library costs over the bare ones: `python -m benchmarks.run`.

Every figure is a ratio measured in one run; the milliseconds are there for scale only. The
budgets are those of the design. Nothing here fails: a machine that is busy with something else
prints nonsense, and a person reads it.
"""

from __future__ import annotations

import asyncio
import platform
import socket
import ssl
import statistics
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import requests
from requests.adapters import HTTPAdapter

import mtls_client as mtls
from benchmarks.measure import Ratio, paired
from benchmarks.server import running
from mtls_client.observers import AuditLog
from mtls_client.testing import CA

FOLDER = Path(tempfile.mkdtemp())
CA_FILE, PEM, SERVER = FOLDER / "ca.pem", FOLDER / "client.pem", FOLDER / "server.pem"


class BareAdapter(HTTPAdapter):
    """requests with a context that is ready, as its documentation tells."""

    def __init__(self, context: ssl.SSLContext) -> None:
        self.context = context
        super().__init__()

    def init_poolmanager(self, *args: Any, **options: Any) -> None:
        super().init_poolmanager(*args, ssl_context=self.context, **options)

    def build_connection_pool_key_attributes(self, *args: Any, **options: Any) -> Any:
        host, _ = super().build_connection_pool_key_attributes(*args, **options)
        return host, {"ssl_context": self.context}

    def cert_verify(self, *args: Any) -> None:
        """Leave the context alone: requests would load the roots at every connection."""


def bare_context(alpn: bool = False) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    # what Python 3.13 checks by default, on every Python: the same work on both sides
    context.verify_flags |= ssl.VERIFY_X509_STRICT | ssl.VERIFY_X509_PARTIAL_CHAIN
    context.load_verify_locations(CA_FILE)
    context.load_cert_chain(PEM)
    if alpn:
        context.set_alpn_protocols(["http/1.1"])
    return context


def bare_session() -> requests.Session:
    session = requests.Session()
    session.mount("https://", BareAdapter(bare_context()))
    return session


def our_session() -> mtls.Session:
    return mtls.Session(mtls.FileSource(PEM), trust=mtls.Trust.from_file(CA_FILE))


def keep_alive(url: str) -> Iterator[Ratio]:
    for name, ours, theirs in (
        ("requests", our_session(), bare_session()),
        ("httpx", our_client(), httpx.Client(verify=bare_context())),
    ):
        with ours, theirs:
            yield paired(
                f"keep-alive GET, {name}",
                lambda ours=ours: ours.get(url).content,
                lambda theirs=theirs: theirs.get(url).content,
                budget=1.03,
            )
    yield asyncio.run(keep_alive_async(url))


async def keep_alive_async(url: str) -> Ratio:
    trust = mtls.Trust.from_file(CA_FILE)
    async with (
        mtls.AsyncClient(mtls.FileSource(PEM), trust=trust) as ours,
        httpx.AsyncClient(verify=bare_context()) as theirs,
    ):
        loop = asyncio.get_running_loop()

        # paired() is synchronous: hand it the coroutines through a thread of its own
        def call(client: httpx.AsyncClient) -> Callable[[], object]:
            return lambda: asyncio.run_coroutine_threadsafe(client.get(url), loop).result()

        return await asyncio.to_thread(
            paired, "keep-alive GET, httpx asyncio", call(ours), call(theirs), budget=1.03
        )


def our_client() -> mtls.Client:
    return mtls.Client(mtls.FileSource(PEM), trust=mtls.Trust.from_file(CA_FILE))


def new_connection(url: str) -> Iterator[Ratio]:
    port = int(url.rpartition(":")[2])
    pinned = mtls.Trust.from_file(CA_FILE, pins=[mtls.FileSource(SERVER).load().pin])
    source = mtls.FileSource(PEM)
    bare = bare_context()
    contexts = {
        "ssl": mtls.MTLSContext(source, trust=mtls.Trust.from_file(CA_FILE)),
        "ssl, one pin": mtls.MTLSContext(source, trust=pinned),
        "ssl, audit log": mtls.MTLSContext(
            source,
            trust=mtls.Trust.from_file(CA_FILE),
            observers=[AuditLog(FOLDER / "audit.jsonl")],
        ),
    }

    def shake(context: ssl.SSLContext) -> Callable[[], object]:
        def run() -> bytes:
            with (
                socket.create_connection(("localhost", port)) as plain,
                context.wrap_socket(plain, server_hostname="localhost") as connection,
            ):
                connection.sendall(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
                return connection.recv(4096)

        return run

    for name, context in contexts.items():
        budget = 1.05 if name == "ssl" else None  # the bare side checks no pin and logs nothing
        yield paired(f"new connection + GET, {name}", shake(context), shake(bare), budget=budget)
    close = {"Connection": "close"}
    for name, ours, theirs in (
        ("requests", our_session(), bare_session()),
        ("httpx", our_client(), httpx.Client(verify=bare_context())),
    ):
        with ours, theirs:
            yield paired(
                f"new connection + GET, {name}",
                lambda ours=ours: ours.get(url, headers=close).content,
                lambda theirs=theirs: theirs.get(url, headers=close).content,
                budget=1.05,
            )


def creation() -> Iterator[Ratio]:
    yield paired(
        "create a context (private CA, PEM), ssl",
        lambda: mtls.MTLSContext(mtls.FileSource(PEM), trust=mtls.Trust.from_file(CA_FILE)),
        bare_context,
        budget=1.5,
    )
    yield paired("create a session, requests", our_session, bare_session, budget=1.5)
    yield paired(
        "create a session, httpx",
        our_client,
        lambda: httpx.Client(verify=bare_context()),
        budget=1.5,
    )


MANY = """
import resource, ssl, sys, time
sys.path.insert(0, {root!r})
def memory():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * resource.getpagesize()
if {ours!r}:
    import mtls_client as mtls
    identity = mtls.FileSource({pem!r}).load()
    make = lambda: mtls.MTLSContext(identity)
    make().inner_for("localhost")
else:
    def make():
        context = ssl.create_default_context()
        context.load_cert_chain({pem!r})
        return context
    make()
import gc; gc.collect()
begin, before = time.process_time(), memory()
kept = [make() for _ in range({count})]
print(time.process_time() - begin, memory() - before)
"""


def many_clients(count: int = 1000) -> Iterator[str]:
    root = str(Path(__file__).parents[1])

    def run(ours: bool) -> tuple[float, float]:
        program = MANY.format(root=root, ours=ours, pem=str(PEM), count=count)
        output = subprocess.run(
            [sys.executable, "-c", program], capture_output=True, text=True, check=True
        )
        seconds, size = output.stdout.split()
        return float(seconds), float(size)

    ours, theirs = run(True), run(False)
    for name, number in (("time", 0), ("memory", 1)):
        ratio = ours[number] / theirs[number]
        mark = "ok  " if ratio <= 0.05 else "OVER"
        scale = (
            f"{ours[0]:.2f} s / {theirs[0]:.2f} s"
            if number == 0
            else f"{ours[1] / 2**20:.0f} MiB / {theirs[1] / 2**20:.0f} MiB"
        )
        title = f"{count} clients with system trust, {name}"
        yield f"{mark} {title:<58} ratio {ratio:6.3f}  budget 0.05   {scale}"


def importing() -> Iterator[str]:
    def run(statement: str) -> float:
        begin = time.perf_counter()
        subprocess.run([sys.executable, "-c", statement], check=True)
        return time.perf_counter() - begin

    ratios, bare = [], []
    for _ in range(21):
        theirs, ours = run("import ssl"), run("import ssl, mtls_client")
        ratios.append(ours / theirs)
        bare.append(theirs)
    ratio = statistics.median(ratios)
    mark = "ok  " if ratio <= 1.3 else "OVER"
    yield (
        f"{mark} {'import mtls_client, over import ssl (whole process)':<58} "
        f"ratio {ratio:6.3f}  budget 1.3    {statistics.median(bare) * 1e3:.0f} ms bare"
    )


def main() -> None:
    warnings.simplefilter("ignore")
    ca = CA(key="rsa")
    CA_FILE.write_bytes(ca.pem)
    server = ca.issue("server", dns=["localhost"], client=False, server=True)
    server.save_pem(SERVER, password=None)
    print(f"Python {platform.python_version()}, {ssl.OPENSSL_VERSION}, full handshakes")
    for key in ("ec", "rsa"):
        ca.issue("client", key=key).save_pem(PEM, password=None)  # type: ignore[arg-type]
        print(f"\n{key.upper()} client key")
        with running(SERVER, CA_FILE) as url:
            for ratio in (*keep_alive(url), *new_connection(url), *creation()):
                print(ratio, flush=True)
    print()
    for line in (*many_clients(), *importing()):
        print(line, flush=True)


if __name__ == "__main__":
    main()
