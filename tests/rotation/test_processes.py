"""Children of a process that has connections, and many threads on one session."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import mtls_client as mtls
from mtls_client.testing import CA, Server
from tests.rotation.test_credential import until
from tests.rotation.writing import write

pytestmark = pytest.mark.filterwarnings(
    # forking a process with threads is what is tested here
    "ignore:.*multi-threaded, use of fork:DeprecationWarning"
)

KINDS: dict[str, Callable[..., Any]] = {"requests": mtls.Session, "httpx": mtls.Client}


def in_child(work: Callable[[], str]) -> str:
    """Fork, run some work in the child, and return its answer or error as text."""
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        # never back into pytest, whatever happens
        try:
            os.close(reading)
            signal.alarm(20)
            try:
                answer = work()
            except BaseException as error:
                answer = repr(error)
            os.write(writing, answer.encode())
        finally:
            os._exit(0)
    os.close(writing)
    with open(reading, "rb") as file:
        answer = file.read().decode()
    os.waitpid(pid, 0)
    return answer


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")
@pytest.mark.parametrize("kind", KINDS)
def test_a_child_has_connections_of_its_own(
    kind: str, identity: mtls.Identity, trust: mtls.Trust, server: Server
) -> None:
    with KINDS[kind](identity, trust=trust) as session:
        session.get(server.url)
        answers = [in_child(lambda: str(session.get(server.url).json()["subject"])) for _ in "ab"]
        assert answers == ["client", "client"]
        session.get(server.url)
    ports = [call.port for call in server.calls]
    assert ports[0] == ports[-1], "the parent's connection survives its children"
    assert len(set(ports)) == 3


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")
@pytest.mark.parametrize("kind", KINDS)
def test_a_child_forked_under_load_does_not_hang(
    kind: str, ca: CA, trust: mtls.Trust, server: Server, tmp_path: Path
) -> None:
    """Locks of the parent's threads are taken at the moment of the fork."""
    credential = mtls.Credential(write(tmp_path, ca.issue("first")), poll_interval=0.001)
    done = threading.Event()
    with KINDS[kind](credential, trust=trust) as session:

        def work() -> None:
            while not done.is_set():
                session.get(server.url)

        threads = [threading.Thread(target=work) for _ in range(4)]
        for thread in threads:
            thread.start()
        answers = []
        for number in range(10):
            write(tmp_path, ca.issue(f"number {number}"))
            answers.append(in_child(lambda: str(session.get(server.url).status_code)))
        done.set()
        for thread in threads:
            thread.join(20)
    assert answers == ["200"] * 10


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")
def test_prefork_workers_rotate_each_for_itself(
    ca: CA, trust: mtls.Trust, server: Server, tmp_path: Path
) -> None:
    """As under gunicorn with preload: made in the parent, watched and used in the children."""
    credential = mtls.Credential(write(tmp_path, ca.issue("first")), poll_interval=0.02, watch=True)
    with credential, mtls.Session(credential, trust=trust) as session:
        session.get(server.url)

        def worker() -> str:
            before = session.get(server.url).json()["subject"]
            write(tmp_path, ca.issue(f"of {os.getpid()}"))
            until(lambda: credential.generation > 1)  # by the child's own watcher
            assert credential.wait_drained(10)
            after = session.get(server.url).json()["subject"]
            return f"{before.split()[0]} {after == f'of {os.getpid()}'}"

        assert in_child(worker) == "first True"
        until(lambda: credential.generation == 2)
        assert session.get(server.url).json()["subject"].startswith("of ")


def spawned(url: str, folder: str, results: Any) -> None:
    source = mtls.FileSource(Path(folder) / "tls.crt", Path(folder) / "tls.key")
    with mtls.Session(source, trust=mtls.Trust.from_file(Path(folder) / "ca.pem")) as session:
        results.put(session.get(url).json()["subject"])


def test_a_spawned_process_makes_its_own(ca: CA, server: Server, tmp_path: Path) -> None:
    write(tmp_path, ca.issue("spawned"))
    (tmp_path / "ca.pem").write_bytes(ca.pem)
    spawn = multiprocessing.get_context("spawn")
    results = spawn.Queue()
    process = spawn.Process(target=spawned, args=(server.url, str(tmp_path), results))
    process.start()
    try:
        assert results.get(timeout=30) == "spawned"
    finally:
        process.join(10)
        results.close()
        results.join_thread()


@pytest.mark.parametrize("kind", KINDS)
def test_sixty_four_threads_on_one_session(
    kind: str, ca: CA, trust: mtls.Trust, server: Server, tmp_path: Path
) -> None:
    credential = mtls.Credential(write(tmp_path, ca.issue("first")), poll_interval=0.05)
    options = {"pool_maxsize": 64} if kind == "requests" else {"timeout": 60}
    wrong: list[object] = []
    with KINDS[kind](credential, trust=trust, **options) as session:

        def work() -> None:
            try:
                for _ in range(5):
                    if (status := session.get(server.url).status_code) != 200:
                        wrong.append(status)
            except Exception as error:
                wrong.append(error)

        threads = [threading.Thread(target=work) for _ in range(64)]
        for thread in threads:
            thread.start()
        for number in range(5):
            write(tmp_path, ca.issue(f"number {number}", key="rsa" if number % 2 else "ec"))
            credential.reload()
        for thread in threads:
            thread.join(60)
    assert wrong == []
    assert credential.wait_drained(10)


ROUNDS = 2000 if sys.version_info >= (3, 13) else 300


@pytest.mark.skipif(not os.path.exists("/proc/self/fd"), reason="needs /proc")
@pytest.mark.parametrize("kind", KINDS)
def test_memory_and_descriptors_stay_flat(
    kind: str, ca: CA, trust: mtls.Trust, server: Server, tmp_path: Path
) -> None:
    def resident() -> int:
        return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")

    pairs = [ca.issue("even"), ca.issue("odd", key="rsa")]
    credential = mtls.Credential(write(tmp_path, pairs[0]))
    with KINDS[kind](credential, trust=trust) as session:

        def rotate(rounds: int) -> None:
            for number in range(rounds):
                write(tmp_path, pairs[number % 2])
                credential.reload()
                if number % 10 == 0:
                    session.get(server.url)
                    server.calls.clear()

        rotate(ROUNDS // 5)
        assert credential.wait_drained(10)
        until(lambda: len(server._http._connections) <= 1)
        memory, descriptors = resident(), len(os.listdir("/proc/self/fd"))
        rotate(ROUNDS)
        assert credential.wait_drained(10)
        end = time.monotonic() + 10
        while len(os.listdir("/proc/self/fd")) > descriptors + 3:
            assert time.monotonic() < end, "descriptors leak"
            time.sleep(0.01)
        assert credential.generation >= ROUNDS
        # an identity with its context is about 30 KiB: losing each would be 60 MiB
        assert resident() - memory < 4 * 2**20 + ROUNDS * 3 * 2**10
