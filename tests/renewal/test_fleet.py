"""Many processes over one identity: one renews, the others follow, and nobody blocks anybody."""

from __future__ import annotations

import datetime
import json
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import mtls_client as mtls
from mtls_client.testing import CA, Answer, Call, Server
from tests.renewal.issuing import due, now
from tests.renewal.layouts import pair
from tests.rotation.test_credential import until

MEMBERS = 8
LIFE = datetime.timedelta(seconds=20)

Member = subprocess.Popen[str]


@pytest.fixture
def members() -> Iterator[Callable[..., Member]]:
    started: list[Member] = []

    def start(folder: Path, url: str, *arguments: str) -> Member:
        process = subprocess.Popen(
            [sys.executable, "-m", "tests.renewal.member", str(folder), url, *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate(timeout=30)


def issuing(ca: CA, renewed: list[str | None]) -> Callable[[Call], Answer]:
    """Return the handler of a server that signs what is posted, and tells who calls it."""

    def answer(call: Call) -> Answer:
        if call.path != "/sign":
            return Answer(body=(call.fingerprint or "nobody").encode())
        renewed.append(call.fingerprint)
        begin = now() - datetime.timedelta(seconds=2)
        return Answer(body=ca.sign(call.body, not_before=begin, not_after=begin + LIFE))

    return answer


def test_of_eight_processes_one_renews_and_all_follow(
    ca: CA, serve: Callable[..., Server], tmp_path: Path, members: Callable[..., Member]
) -> None:
    """Twice: no certificate is renewed more than once, and no request fails."""
    renewed: list[str | None] = []
    server = serve(handler=issuing(ca, renewed))
    (tmp_path / "ca.pem").write_bytes(ca.pem)
    first = due(ca)
    source = pair(tmp_path, first)
    fleet = [members(tmp_path, server.url) for _ in range(MEMBERS)]
    until(lambda: len(renewed) >= 2, 90)
    last = source.load().fingerprint
    until(lambda: presenting(server, last) >= MEMBERS, 30)
    told = []
    for process in fleet:
        out, _ = process.communicate(timeout=60)
        told.append(json.loads(out.splitlines()[-1]))
    assert [one["failures"] for one in told] == [[]] * MEMBERS
    assert Counter(renewed).most_common(1)[0][1] == 1, "each certificate was renewed once"
    assert renewed[0] == first.fingerprint
    for one in told:
        assert last in one["presented"]
        assert len(one["presented"]) == len(set(one["presented"])), "nobody goes back"


def presenting(server: Server, fingerprint: str) -> int:
    """Return how many connections have presented a certificate."""
    return len({call.port for call in server.calls if call.fingerprint == fingerprint})


def test_who_dies_while_renewing_blocks_nobody(
    ca: CA, serve: Callable[..., Server], tmp_path: Path, members: Callable[..., Member]
) -> None:
    renewed: list[str | None] = []
    server = serve(handler=issuing(ca, renewed))
    (tmp_path / "ca.pem").write_bytes(ca.pem)
    source = pair(tmp_path, due(ca))
    holder = members(tmp_path, server.url, "block")
    assert holder.stdout is not None
    while holder.stdout.readline() != "asked\n":
        assert holder.poll() is None
    other = mtls.Credential(source, renewer=lambda _: ca.issue("client"))
    with other:
        time.sleep(0.3)
        assert other.generation == 1, "the other process is at it"
        holder.kill()
        holder.wait(10)
        assert other.renew().fingerprint == source.load().fingerprint
    assert other.generation == 2
