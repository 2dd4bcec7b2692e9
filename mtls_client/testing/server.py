"""An HTTPS server on loopback that demands a client certificate and says which one it saw."""

from __future__ import annotations

import contextlib
import hashlib
import json
import socket
import ssl
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any, Literal, Self

from cryptography import x509

from mtls_client._tls import keys

if TYPE_CHECKING:
    from types import TracebackType

    from mtls_client.identity import Identity
    from mtls_client.testing.ca import CA

__all__ = ["Answer", "Call", "Server"]

_TIMEOUT = 10.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """A request as the server saw it.

    Attributes:
        method: the HTTP method.
        path: the request target.
        headers: the header fields, names in lower case.
        body: the content.
        subject: the common name of the client certificate, or None if there was none.
        fingerprint: SHA-256 of the client certificate in hex, or None.
        serial: its serial number in hex, or None.
        version: the TLS version.
        resumed: whether an earlier TLS session was resumed.
        port: the client's port, which tells connections apart.
    """

    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes
    subject: str | None
    fingerprint: str | None
    serial: str | None
    version: str
    resumed: bool
    port: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What the server answers.

    Attributes:
        status: the status code.
        headers: header fields.
        body: the content.
    """

    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""


class Server:
    """A server in threads of this process; a context manager.

    Args:
        identity: the server's certificate and key, see `CA.issue(server=True)`.
        client_ca: who may issue client certificates; None knows no one.
        client_certificate: whether one is demanded.
        minimum_version: of TLS.
        maximum_version: of TLS.
        crl: a CRL of `client_ca` as PEM; client certificates are checked against it.
        handler: answers a call; without one, the answer is a JSON object that tells what was
            seen of the client.

    Attributes:
        calls: the requests so far, in the order they ended.
    """

    def __init__(
        self,
        identity: Identity,
        *,
        client_ca: CA | None = None,
        client_certificate: Literal["required", "optional", "none"] = "required",
        minimum_version: ssl.TLSVersion = ssl.TLSVersion.TLSv1_2,
        maximum_version: ssl.TLSVersion = ssl.TLSVersion.TLSv1_3,
        crl: bytes | None = None,
        handler: Callable[[Call], Answer] | None = None,
    ) -> None:
        self.calls: list[Call] = []
        self._handler = handler or _reflect
        self._identity, self._demand = identity, client_certificate
        self._versions = minimum_version, maximum_version
        self._http = _Listener(self._context(client_ca, crl), self._answer)
        self._thread = threading.Thread(
            target=self._http.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True
        )

    @property
    def port(self) -> int:
        """The port that it listens on, on 127.0.0.1."""
        return int(self._http.server_address[1])

    @property
    def url(self) -> str:
        """Its address, by the name `localhost`."""
        return f"https://localhost:{self.port}"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._http.shutdown()
        self._http.hang_up()
        self._http.server_close()
        self._thread.join(_TIMEOUT)

    def switch(self, client_ca: CA, crl: bytes | None = None) -> None:
        """Judge the certificates of new connections by another CA or CRL from now on."""
        self._http.context = self._context(client_ca, crl)

    def _context(self, client_ca: CA | None, crl: bytes | None) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        keys.present(context, self._identity)
        context.minimum_version, context.maximum_version = self._versions
        modes = {
            "required": ssl.CERT_REQUIRED,
            "optional": ssl.CERT_OPTIONAL,
            "none": ssl.CERT_NONE,
        }
        context.verify_mode = modes[self._demand]
        if client_ca is not None:
            context.load_verify_locations(cadata=client_ca.pem.decode())
        if crl is not None:
            context.verify_flags |= ssl.VerifyFlags.VERIFY_CRL_CHECK_LEAF
            with keys.readable_path(crl) as path:
                context.load_verify_locations(cafile=path)
        return context

    def _answer(self, call: Call) -> Answer:
        self.calls.append(call)
        return self._handler(call)


class _Listener(ThreadingHTTPServer):
    request_queue_size = 128

    def __init__(self, context: ssl.SSLContext, answer: Callable[[Call], Answer]) -> None:
        self.context, self.answer = context, answer
        self._connections: set[socket.socket] = set()
        self._serving: list[threading.Thread] = []
        super().__init__(("127.0.0.1", 0), _Connection)

    def get_request(self) -> tuple[socket.socket, Any]:
        plain, address = super().get_request()
        plain.settimeout(_TIMEOUT)
        # the handshake belongs to the connection's own thread
        connection = self.context.wrap_socket(
            plain, server_side=True, do_handshake_on_connect=False
        )
        self._connections.add(connection)
        return connection, address

    def process_request(self, request: Any, client_address: Any) -> None:
        self._serving = [thread for thread in self._serving if thread.is_alive()]
        thread = threading.Thread(
            target=self.process_request_thread, args=(request, client_address), daemon=True
        )
        self._serving.append(thread)
        thread.start()

    def shutdown_request(self, request: Any) -> None:
        _linger(request)
        self._connections.discard(request)
        self.close_request(request)

    def hang_up(self) -> None:
        """End every connection and wait for its thread, unless a handler never returns."""
        for connection in list(self._connections):
            with contextlib.suppress(OSError):
                socket.socket.shutdown(connection, socket.SHUT_RDWR)
        deadline = time.monotonic() + _TIMEOUT
        for thread in self._serving:
            thread.join(max(deadline - time.monotonic(), 0))

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing: refused handshakes are what this server is for."""


class _Connection(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = -1
    server: _Listener
    connection: ssl.SSLSocket

    def handle_one_request(self) -> None:
        with contextlib.suppress(OSError):
            return super().handle_one_request()
        self.close_connection = True
        return None

    def __getattr__(self, name: str) -> Callable[[], None]:
        if name.startswith("do_"):
            return self._respond
        raise AttributeError(name)

    def _respond(self) -> None:
        call = self._call()
        try:
            answer = self.server.answer(call)
        except Exception as error:  # whatever the caller's handler raises is for the client to see
            answer = Answer(status=500, body=f"{type(error).__name__}: {error}\n".encode())
        self.send_response(answer.status)
        for name, value in answer.headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(answer.body)))
        if self.close_connection:
            self.send_header("Connection", "close")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(answer.body)

    def _call(self) -> Call:
        der = self.connection.getpeercert(binary_form=True)
        certificate = x509.load_der_x509_certificate(der) if der else None
        names = (
            certificate.subject.get_attributes_for_oid(x509.NameOID.COMMON_NAME)
            if certificate
            else []
        )
        return Call(
            method=self.command,
            path=self.path,
            headers={name.lower(): value for name, value in self.headers.items()},
            body=self._body(),
            subject=str(names[0].value) if names else None,
            fingerprint=hashlib.sha256(der).hexdigest() if der else None,
            serial=f"{certificate.serial_number:x}" if certificate else None,
            version=self.connection.version() or "",
            resumed=bool(self.connection.session_reused),
            port=self.client_address[1],
        )

    def _body(self) -> bytes:
        if self.headers.get("Transfer-Encoding", "").lower() == "chunked":
            chunks = []
            while size := int(self.rfile.readline().split(b";")[0], 16):
                chunks.append(self.rfile.read(size))
                self.rfile.readline()
            self.rfile.readline()
            return b"".join(chunks)
        return self.rfile.read(int(self.headers.get("Content-Length", 0)))

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 (the base class's name)
        """Say nothing."""


def _linger(connection: socket.socket) -> None:
    """Stop writing and read on until the client is done, as servers do (RFC 9112 §9.6).

    Closed with a request unread, a connection is reset, and an alert or answer on the way is lost.
    """
    # below TLS, which may have failed; the timeout is that of the connection
    with contextlib.suppress(OSError):
        socket.socket.shutdown(connection, socket.SHUT_WR)
        while socket.socket.recv(connection, 65536):
            pass


def _reflect(call: Call) -> Answer:
    seen = {
        "method": call.method,
        "path": call.path,
        "subject": call.subject,
        "serial": call.serial,
        "fingerprint": call.fingerprint,
        "version": call.version,
        "resumed": call.resumed,
        "received": len(call.body),
    }
    return Answer(
        headers={"Content-Type": "application/json"}, body=json.dumps(seen).encode() + b"\n"
    )
