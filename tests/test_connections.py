"""Threads that share a client never close a connection under each other's requests."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import httpcore
import httpx
import pytest
from httpcore._backends import sync as backend

import mtls_client as mtls
from mtls_client.testing import Answer, Call, Server
from tests.rotation.test_credential import until

LARGE = b"x" * 4_000_000


@pytest.fixture
def large(serve: Callable[..., Server]) -> Server:
    """A server whose answer to `/large` fills every buffer on the way."""

    def answer(call: Call) -> Answer:
        return Answer(body=LARGE if call.path == "/large" else b"small")

    return serve(handler=answer)


def only_connection(client: mtls.Client) -> Any:
    transport: Any = client._transport
    (pool,) = (one._pool for one in transport._transports.values())
    (connection,) = pool.connections
    return connection


def test_an_answer_is_not_taken_for_a_server_hanging_up(
    identity: mtls.Identity,
    trust: mtls.Trust,
    server: Server,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The pause between two steps that a loaded machine makes is made here by hand."""
    given, looked, passed = (threading.Event() for _ in range(3))
    begin, readable = httpcore.HTTP11Connection.handle_request, backend.is_socket_readable
    first = threading.Thread(target=lambda: request("first"), name="first")
    second = threading.Thread(target=lambda: request("second"), name="second")
    answers: dict[str, object] = {}
    busy: list[object] = []

    def after_it_was_given(connection: Any, request: httpcore.Request) -> httpcore.Response:
        if threading.current_thread() is first:
            busy.append(connection._network_stream.get_extra_info("socket"))
            given.set()
            assert looked.wait(10)
        return begin(connection, request)

    def when_the_answer_has_come(sock: Any) -> bool:
        if threading.current_thread() is second and sock in busy and not looked.is_set():
            looked.set()
            sock.settimeout(10)
            while not readable(sock):
                assert not passed.wait(0.01)
        return readable(sock)

    def before_the_answer_is_read(event: str, _info: object) -> None:
        if event == "http11.receive_response_headers.started":
            assert passed.wait(10)

    def request(name: str) -> None:
        extensions = {"trace": before_the_answer_is_read} if name == "first" else {}
        try:
            answers[name] = client.get(server.url, extensions=extensions).status_code
        except httpx.TransportError as error:
            answers[name] = error

    with mtls.Client(identity, trust=trust) as client:
        client.get(server.url)
        monkeypatch.setattr(httpcore.HTTP11Connection, "handle_request", after_it_was_given)
        monkeypatch.setattr(backend, "is_socket_readable", when_the_answer_has_come)
        first.start()
        assert given.wait(10)
        second.start()
        second.join(10)
        looked.set()
        passed.set()
        first.join(10)
    assert answers == {"first": 200, "second": 200}


def test_closing_waits_for_the_request(
    identity: mtls.Identity, trust: mtls.Trust, large: Server
) -> None:
    with mtls.Client(identity, trust=trust) as client:
        with client.stream("GET", large.url + "/large") as response:
            connection = only_connection(client)
            connection.close()
            assert not connection.is_closed()
            assert response.read() == LARGE
        assert connection.is_closed()
        assert client.get(large.url).content == b"small", "on another connection"
        assert large.calls[-1].port != large.calls[-2].port


def test_closing_the_client_does_not_wait(
    identity: mtls.Identity, trust: mtls.Trust, large: Server
) -> None:
    with mtls.Client(identity, trust=trust) as client:
        response = client.send(client.build_request("GET", large.url + "/large"), stream=True)
        connection = only_connection(client)
    assert connection.is_closed()
    with pytest.raises(httpx.ReadError):
        response.read()


def test_a_connection_that_is_closing_takes_no_request(
    identity: mtls.Identity, trust: mtls.Trust, server: Server
) -> None:
    with mtls.Client(identity, trust=trust) as client:
        client.get(server.url)
        connection = only_connection(client)
        connection.close()
        with pytest.raises(httpcore.ConnectionNotAvailable):
            connection.handle_request(httpcore.Request("GET", server.url))
        client.get(server.url)
    assert len(server.calls) == 2
    assert server.calls[0].port != server.calls[1].port


def test_the_server_hanging_up_is_still_noticed(
    identity: mtls.Identity, trust: mtls.Trust, server: Server
) -> None:
    """The control: what is readable and used by nobody is closed."""
    with mtls.Client(identity, trust=trust) as client:
        client.get(server.url)
        connection = only_connection(client)
        assert not connection.has_expired()
        server._http.hang_up()
        until(connection.has_expired)
        client.get(server.url)
        assert only_connection(client) is not connection
