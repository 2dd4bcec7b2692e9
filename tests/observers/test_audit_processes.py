"""Many processes and threads write one audit log, and some are killed."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from tests.observers.samples import checked, intact

ROOT = Path(__file__).parents[2]

WRITER = """
import os, sys, threading, traceback
from mtls_client.observers import AuditLog
from tests.observers.samples import completed
path, name, threads, count = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
log = AuditLog(path, on_failure=print)
def work(number):
    try:
        for one in range(count):
            log(completed(f"{name}-{number}-{one}"))
    except BaseException:
        traceback.print_exc()
        os._exit(1)
workers = [threading.Thread(target=work, args=(number,)) for number in range(threads)]
for worker in workers:
    worker.start()
for worker in workers:
    worker.join()
log.close()
"""


@contextlib.contextmanager
def writers(
    path: Path, processes: int, threads: int, count: int
) -> Iterator[list[subprocess.Popen[bytes]]]:
    started = [
        subprocess.Popen(
            [sys.executable, "-c", WRITER, str(path), str(number), str(threads), str(count)],
            env={**os.environ, "PYTHONPATH": str(ROOT)},
        )
        for number in range(processes)
    ]
    try:
        yield started
    finally:
        for process in started:
            process.kill()
            process.wait()


def test_eight_processes_with_threads_lose_nothing(tmp_path: Path) -> None:
    path = tmp_path / "audit.jsonl"
    with writers(path, 8, 4, 50) as started:
        for process in started:
            assert process.wait(60) == 0
    hosts = [line["host"] for line in intact(path)[1:]]
    expected = {f"{p}-{t}-{n}" for p in range(8) for t in range(4) for n in range(50)}
    assert Counter(hosts) == Counter(expected)


def test_files_moved_away_meanwhile_continue_each_other_and_lose_nothing(tmp_path: Path) -> None:
    path = tmp_path / "audit.jsonl"
    moved: list[Path] = []
    with writers(path, 4, 2, 200) as started:
        while any(process.poll() is None for process in started):
            if path.exists() and path.stat().st_size > 50_000:
                moved.append(path.rename(tmp_path / f"audit.{len(moved)}"))
            time.sleep(0.005)
        assert [process.wait() for process in started] == [0] * 4
    files = [*moved, *([path] if path.exists() else [])]
    assert len(files) > 3
    hosts: list[str] = []
    before, saw = None, set()
    for file in files:
        lines = intact(file)
        known = [line["known"] for line in lines if line["event"] == "LogContinues"]
        pids = {line["pid"] for line in lines}
        # a process that has written to both files tells of the one in the other
        assert before in known or not pids & saw
        saw = pids
        before = {"seq": lines[-1]["seq"], "hash": lines[-1]["hash"]}
        hosts += [line["host"] for line in lines if line["event"] == "HandshakeCompleted"]
    assert Counter(hosts) == Counter(
        f"{p}-{t}-{n}" for p in range(4) for t in range(2) for n in range(200)
    )


def test_killed_writers_leave_a_chain_that_others_continue(tmp_path: Path) -> None:
    """A line that a call has returned from stays; no thread's lines have a gap."""
    path = tmp_path / "audit.jsonl"
    for _ in range(5):
        size = path.stat().st_size if path.exists() else 0
        with writers(path, 3, 2, 100_000) as started:
            deadline = time.monotonic() + 30
            while not path.exists() or path.stat().st_size < size + 100_000:
                assert time.monotonic() < deadline
                time.sleep(0.005)
            for process in started:
                process.send_signal(signal.SIGKILL)
    with writers(path, 1, 1, 1) as [last]:
        assert last.wait(30) == 0
    verdict, lines = checked(path)
    assert verdict.problems == []
    assert len(lines) > 1000
    assert lines[-1]["host"] == "0-0-0"
    for (_, thread), numbers in _by_thread(lines).items():
        assert numbers == list(range(len(numbers))), thread


def _by_thread(lines: list[dict[str, object]]) -> dict[tuple[object, str], list[int]]:
    found: dict[tuple[object, str], list[int]] = {}
    for line in lines:
        if line["event"] == "HandshakeCompleted":
            name, _, number = str(line["host"]).rpartition("-")
            found.setdefault((line["pid"], name), []).append(int(number))
    return found
