"""A CONNECT proxy on loopback, plain or TLS, that records what it was shown."""

from __future__ import annotations

import base64
import contextlib
import select
import socket
import ssl
import threading
from types import TracebackType
from typing import Self


class Proxy:
    """Tunnels CONNECT requests to 127.0.0.1.

    Args:
        context: speaks TLS with it.
        userinfo: `name:password` that it demands.

    Attributes:
        targets: the `host:port` of each tunnel.
        certificates: what each TLS client presented to the proxy itself (DER or None).
    """

    def __init__(
        self, context: ssl.SSLContext | None = None, *, userinfo: str | None = None
    ) -> None:
        self.targets: list[str] = []
        self.certificates: list[bytes | None] = []
        self._context = context
        self._userinfo = userinfo
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._open: set[socket.socket] = set()
        self._threads = [threading.Thread(target=self._accept, daemon=True)]

    @property
    def url(self) -> str:
        scheme = "https" if self._context else "http"
        userinfo = f"{self._userinfo}@" if self._userinfo else ""
        return f"{scheme}://{userinfo}localhost:{self._listener.getsockname()[1]}"

    def __enter__(self) -> Self:
        self._threads[0].start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for one in list(self._open):
            with contextlib.suppress(OSError):
                socket.socket.shutdown(one, socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join(5)

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = self._listener.accept()
                connection.settimeout(5)
                thread = threading.Thread(target=self._serve, args=(connection,), daemon=True)
                self._threads.append(thread)
                thread.start()

    def _serve(self, connection: socket.socket) -> None:
        with contextlib.suppress(OSError), contextlib.ExitStack() as stack:
            stack.enter_context(connection)
            if self._context is not None:
                connection = stack.enter_context(
                    self._context.wrap_socket(connection, server_side=True)
                )
                assert isinstance(connection, ssl.SSLSocket)
                self.certificates.append(connection.getpeercert(binary_form=True))
            self._open.add(connection)
            head = b""
            while b"\r\n\r\n" not in head:
                head += connection.recv(4096) or b"\r\n\r\n"
            if not self._admits(head):
                connection.sendall(b"HTTP/1.1 407 Proxy Authentication Required\r\n\r\n")
                return
            target = head.split()[1].decode()
            self.targets.append(target)
            server = stack.enter_context(
                socket.create_connection(("127.0.0.1", int(target.rpartition(":")[2])), timeout=5)
            )
            self._open.add(server)
            connection.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
            self._pump(connection, server)

    def _admits(self, head: bytes) -> bool:
        if self._userinfo is None:
            return True
        field = b"Proxy-Authorization: Basic " + base64.b64encode(self._userinfo.encode())
        return field in head.split(b"\r\n")

    def _pump(self, client: socket.socket, server: socket.socket) -> None:
        while True:
            buffered = isinstance(client, ssl.SSLSocket) and client.pending()
            ready = [client] if buffered else select.select([client, server], [], [], 5)[0]
            if not ready:
                return
            for one in ready:
                data = one.recv(65536)
                if not data:
                    return
                (server if one is client else client).sendall(data)
