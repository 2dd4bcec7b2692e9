"""The way to a server: straight, or through an HTTP proxy (CONNECT, RFC 9110 §9.3.6)."""

from __future__ import annotations

import socket
import ssl
from dataclasses import dataclass, field

__all__ = ["STRAIGHT", "Route"]

_LONGEST_HEAD = 65536


@dataclass(frozen=True, slots=True)
class Route:
    """How to reach a server.

    Attributes:
        proxy: the proxy's name and port, or None to go straight.
        headers: what the proxy is sent beside the CONNECT, such as `Proxy-Authorization`.
        context: how to speak TLS with the proxy, or None to speak plainly.
    """

    proxy: tuple[str, int] | None = None
    headers: tuple[tuple[str, str], ...] = field(default=(), repr=False)
    context: ssl.SSLContext | None = None

    def connect(self, host: str, port: int, *, timeout: float) -> socket.socket:
        """Return a stream to the server.

        Args:
            host: the server's name.
            port: its port.
            timeout: for each step, in seconds.

        Raises:
            OSError: there is no way to it, or the proxy will not go there.
        """
        if self.proxy is None:
            return socket.create_connection((host, port), timeout)
        stream = socket.create_connection(self.proxy, timeout)
        try:
            if self.context is not None:
                stream = self.context.wrap_socket(stream, server_hostname=self.proxy[0])
            self._tunnel(stream, f"[{host}]:{port}" if ":" in host else f"{host}:{port}")
        except BaseException:
            stream.close()
            raise
        return stream

    def _tunnel(self, stream: socket.socket, target: str) -> None:
        lines = [f"CONNECT {target} HTTP/1.1", f"Host: {target}"]
        lines += [f"{name}: {value}" for name, value in self.headers]
        stream.sendall("\r\n".join([*lines, "", ""]).encode("latin-1"))
        head = b""
        # nothing follows the head: in TLS the client speaks first
        while b"\r\n\r\n" not in head:
            piece = stream.recv(4096)
            if not piece or len(head) > _LONGEST_HEAD:
                raise ConnectionError("the proxy gave no answer to CONNECT")
            head += piece
        status = head.split(None, 2)[1:2]
        if not (status and len(status[0]) == 3 and status[0].startswith(b"2")):
            raise ConnectionError("the proxy refused to CONNECT")


STRAIGHT = Route()
