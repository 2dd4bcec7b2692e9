"""The test server tells which client it saw, demands what it was told to, and leaves nothing.

The client is the standard library's: what is tested must not judge itself.
"""

from __future__ import annotations

import http.client
import json
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeAlias

import pytest

from mtls_client import Identity
from mtls_client.testing import CA, Answer, Call, Server

Connect: TypeAlias = Callable[..., http.client.HTTPSConnection]


@pytest.fixture
def connect(ca: CA, tmp_path: Path) -> Iterator[Connect]:
    """Make connections, which are closed when the test ends."""
    made: list[http.client.HTTPSConnection] = []

    def connection(
        server: Server,
        identity: Identity | None = None,
        maximum: ssl.TLSVersion = ssl.TLSVersion.TLSv1_3,
    ) -> http.client.HTTPSConnection:
        context = ssl.create_default_context(cadata=ca.pem.decode())
        context.maximum_version = maximum
        if identity is not None:
            identity.save_pem(tmp_path / "client.pem", password=None)
            context.load_cert_chain(tmp_path / "client.pem")
        one = http.client.HTTPSConnection("localhost", server.port, timeout=5, context=context)
        made.append(one)
        return one

    yield connection
    for one in made:
        one.close()


def told(
    connection: http.client.HTTPSConnection, method: str = "GET", path: str = "/", body: Any = None
) -> Any:
    """Make a request and return the JSON of the answer."""
    connection.request(method, path, body)
    response = connection.getresponse()
    assert response.status == 200
    return json.loads(response.read())


def refusal(connection: http.client.HTTPSConnection) -> str | None:
    """Connect and return the server's alert; nothing is sent that could make it get lost."""
    with pytest.raises(ssl.SSLError) as caught:
        connection.connect()
        connection.sock.recv(1)
    return caught.value.reason


def test_the_answer_names_the_client_and_the_request(
    server: Server, connect: Connect, identity: Identity
) -> None:
    seen = told(connect(server, identity), "PUT", "/path?query", b"12345")
    assert seen == {
        "method": "PUT",
        "path": "/path?query",
        "subject": "client",
        "serial": identity.serial,
        "fingerprint": identity.fingerprint,
        "version": "TLSv1.3",
        "resumed": False,
        "received": 5,
    }


def test_calls_are_recorded(server: Server, connect: Connect, identity: Identity) -> None:
    connection = connect(server, identity)
    connection.request("POST", "/path", b"body", {"X-One": "1"})
    connection.getresponse().read()
    [call] = server.calls
    assert (call.method, call.path, call.body) == ("POST", "/path", b"body")
    assert call.headers["x-one"] == "1"
    assert (call.subject, call.fingerprint) == ("client", identity.fingerprint)


def test_a_certificate_is_required(server: Server, connect: Connect) -> None:
    assert refusal(connect(server)) == "TLSV13_ALERT_CERTIFICATE_REQUIRED"
    assert server.calls == []


def test_a_certificate_can_be_optional(
    serve: Callable[..., Server], connect: Connect, identity: Identity
) -> None:
    server = serve(client_certificate="optional")
    assert told(connect(server))["subject"] is None
    assert told(connect(server, identity))["subject"] == "client"


def test_a_certificate_need_not_be_asked_for(
    serve: Callable[..., Server], connect: Connect, identity: Identity
) -> None:
    server = serve(client_certificate="none")
    assert told(connect(server, identity))["subject"] is None


def test_a_stranger_is_refused(
    server: Server, connect: Connect, untrusted_identity: Identity
) -> None:
    assert refusal(connect(server, untrusted_identity)) == "TLSV1_ALERT_UNKNOWN_CA"
    assert server.calls == []


def test_the_revoked_are_refused_and_the_others_not(
    serve: Callable[..., Server], connect: Connect, ca: CA, identity: Identity
) -> None:
    server = serve(crl=ca.crl([ca.issue("revoked"), identity]))
    assert refusal(connect(server, identity)) == "SSLV3_ALERT_CERTIFICATE_REVOKED"
    assert told(connect(server, ca.issue("spared")))["subject"] == "spared"


def test_the_version_can_be_capped(
    serve: Callable[..., Server], connect: Connect, identity: Identity
) -> None:
    server = serve(maximum_version=ssl.TLSVersion.TLSv1_2)
    assert told(connect(server, identity))["version"] == "TLSv1.2"


def test_the_version_can_be_raised(
    serve: Callable[..., Server], connect: Connect, identity: Identity
) -> None:
    server = serve(minimum_version=ssl.TLSVersion.TLSv1_3)
    old = connect(server, identity, ssl.TLSVersion.TLSv1_2)
    assert refusal(old) == "TLSV1_ALERT_PROTOCOL_VERSION"
    assert told(connect(server, identity))["version"] == "TLSv1.3"


def test_connections_are_kept_alive_and_told_apart(
    server: Server, connect: Connect, identity: Identity
) -> None:
    first, second = connect(server, identity), connect(server, identity)
    for connection in (first, first, second):
        told(connection)
    ports = [call.port for call in server.calls]
    assert ports[0] == ports[1]
    assert ports[1] != ports[2]


@pytest.mark.parametrize("chunked", [False, True])
def test_large_bodies_arrive_whole(
    chunked: bool, server: Server, connect: Connect, identity: Identity
) -> None:
    body = bytes(range(256)) * 16_384  # 4 MiB
    pieces = (body[start : start + 65_536] for start in range(0, len(body), 65_536))
    told(connect(server, identity), "POST", "/", pieces if chunked else body)
    assert server.calls[0].body == body


def test_a_handler_answers(
    serve: Callable[..., Server], connect: Connect, identity: Identity
) -> None:
    def redirect(call: Call) -> Answer:
        return Answer(status=307, headers={"Location": call.path[1:]}, body=b"moved")

    connection = connect(serve(handler=redirect), identity)
    for method, body in (("GET", b"moved"), ("HEAD", b""), ("DELETE", b"moved")):
        connection.request(method, "/elsewhere")
        response = connection.getresponse()
        assert (response.status, response.headers["Location"]) == (307, "elsewhere")
        assert response.read() == body


def test_a_handler_that_raises_is_heard_of(
    serve: Callable[..., Server], connect: Connect, identity: Identity
) -> None:
    def broken(call: Call) -> Answer:
        raise RuntimeError(f"no {call.path}")

    connection = connect(serve(handler=broken), identity)
    for path in ("/one", "/two"):
        connection.request("GET", path)
        response = connection.getresponse()
        assert (response.status, response.read()) == (500, f"RuntimeError: no {path}\n".encode())


def test_any_status_can_be_answered(
    serve: Callable[..., Server], connect: Connect, identity: Identity
) -> None:
    connection = connect(serve(handler=lambda _: Answer(status=299)), identity)
    connection.request("GET", "/")
    assert connection.getresponse().status == 299


def test_a_resumed_session_is_told(serve: Callable[..., Server], ca: CA) -> None:
    server = serve(client_certificate="optional", maximum_version=ssl.TLSVersion.TLSv1_2)
    context = ssl.create_default_context(cadata=ca.pem.decode())
    session = None
    for _ in range(2):
        plain = socket.create_connection(("127.0.0.1", server.port), timeout=5)
        with context.wrap_socket(plain, server_hostname="localhost", session=session) as connection:
            connection.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
            connection.recv(1)
            session = connection.session
    assert [call.resumed for call in server.calls] == [False, True]


def test_nothing_listens_and_nobody_waits_after_the_end(
    ca: CA, server_identity: Identity, connect: Connect, identity: Identity
) -> None:
    before = set(threading.enumerate())
    with Server(server_identity, client_ca=ca) as server:
        idle = connect(server, identity)
        told(idle)
    assert set(threading.enumerate()) - before == set()
    with pytest.raises(OSError, match=r"closed|reset|EOF|Broken"):
        told(idle)
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", server.port), timeout=5)


def test_two_servers_know_nothing_of_each_other(
    serve: Callable[..., Server], connect: Connect, identity: Identity, other_ca: CA
) -> None:
    ours, theirs = serve(), serve(client_ca=other_ca)
    assert told(connect(ours, identity))["subject"] == "client"
    assert refusal(connect(theirs, identity)) == "TLSV1_ALERT_UNKNOWN_CA"


def test_who_is_refused_while_writing_is_told_why(
    ca: CA, server: Server, untrusted_identity: Identity, tmp_path: Path
) -> None:
    """Under TLS 1.3 a client writes before it is refused; a reset would take the alert away."""
    untrusted_identity.save_pem(tmp_path / "stranger.pem", password=None)
    context = ssl.create_default_context(cadata=ca.pem.decode())
    context.load_cert_chain(tmp_path / "stranger.pem")
    with socket.create_connection(("localhost", server.port), timeout=30) as plain:
        with context.wrap_socket(plain, server_hostname="localhost") as connection:
            assert connection.version() == "TLSv1.3"
            connection.sendall(b"x" * 32_000_000)  # more than the buffers on the way hold
            with pytest.raises(ssl.SSLError, match="unknown ca"):
                connection.recv(1)
