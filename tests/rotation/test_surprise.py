"""The server refuses the old certificate just as its replacement arrives: one more try, if safe."""

from __future__ import annotations

import asyncio
import io
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import trio

import mtls_client as mtls
from mtls_client.testing import CA, Answer, Call, Server
from tests.clients import KINDS
from tests.rotation.writing import write

VERSIONS = ["1.2", "1.3"]


class Surprise:
    """A session whose server has just begun to refuse what it presents."""

    def __init__(self, kind: str, folder: Path, ca: CA, server: Server, trust: mtls.Trust) -> None:
        self.kind, self.folder, self.ca, self.server, self.trust = kind, folder, ca, server, trust
        self.old = ca.issue("old")
        self.credential = mtls.Credential(write(folder, self.old), poll_interval=3600)

    def refuse(self) -> None:
        self.server.switch(self.ca, self.ca.crl([self.old]))

    def replace(self) -> None:
        write(self.folder, self.ca.issue("new", key="rsa"))

    def call(self, method: str = "GET", body: Any = None, path: str = "/") -> Any:
        url = self.server.url + path
        if self.kind == "requests":
            with mtls.Session(self.credential, trust=self.trust) as session:
                return session.request(method, url, data=body, timeout=10).json()
        if self.kind == "httpx":
            with mtls.Client(self.credential, trust=self.trust, timeout=10) as client:
                return client.request(method, url, content=body).json()

        async def run() -> Any:
            async with mtls.AsyncClient(self.credential, trust=self.trust, timeout=10) as client:
                return (await client.request(method, url, content=body)).json()

        return asyncio.run(run()) if self.kind == "asyncio" else trio.run(run)


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(params=VERSIONS)
def surprise(
    kind: str,
    request: pytest.FixtureRequest,
    tmp_path: Path,
    ca: CA,
    trust: mtls.Trust,
    server: Server,
) -> Surprise:
    limited = mtls.Trust.from_pem(ca.pem, maximum_version=request.param)
    return Surprise(kind, tmp_path, ca, server, limited)


@pytest.mark.parametrize("method", ["GET", "PUT", "POST", "PATCH"])
def test_a_refusal_is_answered_with_the_new_identity(method: str, surprise: Surprise) -> None:
    surprise.refuse()
    surprise.replace()
    body = b"order 66" if method != "GET" else None
    answer = surprise.call(method, body)
    assert (answer["subject"], answer["received"]) == ("new", len(body or b""))
    assert surprise.credential.generation == 2
    assert len(surprise.server.calls) == 1, "the refused one never reached the handler"


def test_without_a_new_identity_the_refusal_is_raised(surprise: Surprise) -> None:
    surprise.refuse()
    with pytest.raises(mtls.IdentityRejectedError) as caught:
        surprise.call()
    assert caught.value.reason == "revoked"
    assert surprise.server.calls == []


def test_never_twice(surprise: Surprise) -> None:
    loads = 0
    source = mtls.FileSource(surprise.folder / "tls.crt", surprise.folder / "tls.key")

    class Restless:
        """Always has another identity, which is refused as well."""

        def digest(self) -> bytes:
            return bytes([loads])

        def load(self) -> mtls.Identity:
            nonlocal loads
            loads += 1
            return surprise.ca.issue(f"bad {loads}") if loads > 1 else source.load()

    surprise.credential = mtls.Credential(Restless(), poll_interval=3600)
    surprise.server.switch(CA("Another CA"))
    with pytest.raises(mtls.IdentityRejectedError) as caught:
        surprise.call()
    assert caught.value.reason == "untrusted"
    assert loads == 2


def test_a_bad_new_identity_does_not_hide_the_refusal(surprise: Surprise) -> None:
    surprise.refuse()
    (surprise.folder / "tls.crt").write_bytes(b"garbage")
    with pytest.raises(mtls.IdentityRejectedError):
        surprise.call()


def test_a_body_that_cannot_be_sent_again_is_not(
    tmp_path: Path, ca: CA, server: Server, trust: mtls.Trust
) -> None:
    surprise = Surprise("requests", tmp_path, ca, server, trust)
    surprise.refuse()
    surprise.replace()
    with pytest.raises(mtls.IdentityRejectedError):
        surprise.call("PUT", iter([b"once"]))
    assert server.calls == []
    assert surprise.credential.generation == 2, "the next request succeeds"
    assert surprise.call("PUT", iter([b"once"]))["subject"] == "new"


@pytest.mark.parametrize("kind", ["httpx", "asyncio"])
def test_a_generated_body_of_httpx_is_not_sent_again(
    kind: str, tmp_path: Path, ca: CA, server: Server, trust: mtls.Trust
) -> None:
    async def pieces() -> Any:
        yield b"once"

    surprise = Surprise(kind, tmp_path, ca, server, trust)
    surprise.refuse()
    surprise.replace()
    with pytest.raises(mtls.IdentityRejectedError):
        surprise.call("PUT", iter([b"once"]) if kind == "httpx" else pieces())
    assert server.calls == []


def test_a_file_is_sent_again_from_where_it_began(
    tmp_path: Path, ca: CA, server: Server, trust: mtls.Trust
) -> None:
    surprise = Surprise("requests", tmp_path, ca, server, trust)
    surprise.refuse()
    surprise.replace()
    body = io.BytesIO(b"headcontent")
    body.seek(4)
    assert surprise.call("PUT", body)["subject"] == "new"
    assert server.calls[-1].body == b"content"


def test_a_large_body_is_sent_again(surprise: Surprise) -> None:
    surprise.refuse()
    surprise.replace()
    body = bytes(3 * 2**20)
    answer = surprise.call("PUT", body)
    assert (answer["subject"], answer["received"]) == ("new", len(body))


def test_a_request_that_the_server_may_have_processed_is_not_sent_again(
    kind: str, tmp_path: Path, ca: CA, trust: mtls.Trust, serve: Callable[..., Server]
) -> None:
    """The connection ends in the middle of a POST, without an alert."""
    seen: list[str] = []

    def handler(call: Call) -> Answer:
        seen.append(call.method)
        surprise.refuse()
        raise ConnectionResetError

    server = serve(handler=handler)
    surprise = Surprise(kind, tmp_path, ca, server, trust)
    surprise.replace()
    with pytest.raises(Exception) as caught:  # noqa: PT011 (the library's own)
        surprise.call("POST", b"pay once")
    assert not isinstance(caught.value, AssertionError)
    assert seen == ["POST"]


def test_threads_that_are_refused_together_reload_once(
    tmp_path: Path, ca: CA, server: Server, trust: mtls.Trust
) -> None:
    surprise = Surprise("requests", tmp_path, ca, server, trust)
    surprise.refuse()
    surprise.replace()
    answers: list[str] = []
    with mtls.Session(surprise.credential, trust=trust, pool_maxsize=16) as session:
        threads = [
            threading.Thread(
                target=lambda: answers.append(session.get(server.url).json()["subject"])
            )
            for _ in range(16)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(20)
    assert answers == ["new"] * 16
    assert surprise.credential.generation == 2
