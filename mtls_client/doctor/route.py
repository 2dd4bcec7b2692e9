"""The way to a server: its name, its address, a proxy in between."""

from __future__ import annotations

import base64
import socket
import time
import urllib.request
from dataclasses import dataclass
from typing import Any
from urllib.parse import SplitResult, quote, unquote, urlsplit

from mtls_client.doctor.bounds import bounded, watchdog
from mtls_client.doctor.catalogue import found
from mtls_client.doctor.report import Finding
from mtls_client.hosts import normalised

__all__ = ["Route", "Unreached", "route_to"]

_LONGEST_HEAD = 16384
_IN_A_TARGET = "/?:@!$&'()*+,;=%"  # RFC 3986 §3.3 and §3.4, and what is quoted already


class Unreached(Exception):
    """The way ends early; `.finding` says where."""

    def __init__(self, finding: Finding) -> None:
        super().__init__(finding.code)
        self.finding = finding


@dataclass(frozen=True, slots=True)
class Route:
    """A way to a server, taken by `connect` as often as needed.

    Attributes:
        host: the server's normalised name.
        port: its port.
        target: what is asked for: path and query.
        proxy: the proxy in between, or None.
        seconds: the longest that each step may take.
    """

    host: str
    port: int
    target: str
    proxy: SplitResult | None
    seconds: float

    @property
    def where(self) -> str:
        """The server, as people write it."""
        return f"{_bracketed(self.host)}:{self.port}"

    @property
    def proxy_where(self) -> str:
        """The proxy without its password, which may be in its URL."""
        return f"{self.proxy.hostname}:{_port_of(self.proxy)}" if self.proxy else ""

    def connect(self) -> socket.socket:
        """Return a connection to the server, with a timeout.

        Raises:
            Unreached: there is none.
        """
        if self.proxy is None:
            return self._opened(self.host, self.port, "unreachable")
        host, port = self.proxy.hostname or "", _port_of(self.proxy)
        connection = self._opened(host, port, "proxy_unreachable")
        try:
            with watchdog(connection, self.seconds):
                self._tunnel(connection, self.proxy)
        except TimeoutError as error:
            connection.close()
            evidence = f"{self.proxy_where}: no answer within {self.seconds:g} seconds"
            raise Unreached(found("proxy_unreachable", evidence, _HINT)) from error
        except BaseException:
            connection.close()
            raise
        return connection

    def speaks_http(self) -> bool:
        """Tell whether the server answers in plain HTTP; nothing of the URL is sent."""
        try:
            with self.connect() as connection, watchdog(connection, self.seconds):
                connection.sendall(b"OPTIONS * HTTP/1.0\r\n\r\n")
                return connection.recv(5) == b"HTTP/"
        except (OSError, Unreached):
            return False

    def _opened(self, host: str, port: int, code: str) -> socket.socket:
        deadline = time.monotonic() + self.seconds
        try:
            addresses: list[Any] = bounded(
                lambda: socket.getaddrinfo(host, port, type=socket.SOCK_STREAM), self.seconds
            )
        except (OSError, UnicodeError) as error:  # TimeoutError is an OSError
            reason = getattr(error, "strerror", None) or "no answer"
            hint = f"check the name, and what this machine asks: getent hosts {host}"
            code = "name_unresolved" if code == "unreachable" else code
            raise Unreached(found(code, f"{host}: {reason}", hint)) from error
        failures = []
        for _, _, _, _, address in addresses:
            try:
                left = max(deadline - time.monotonic(), 0.01)
                connection = socket.create_connection(address[:2], timeout=left)
                connection.settimeout(self.seconds)
                return connection
            except OSError as error:
                failures.append(f"{address[0]} port {port}: {error.strerror or 'no answer'}")
        hint = "is the server running, is the port right, does a firewall let it through?"
        raise Unreached(found(code, "\n".join(dict.fromkeys(failures)), hint))

    def _tunnel(self, connection: socket.socket, proxy: SplitResult) -> None:
        """Ask a proxy for a tunnel (RFC 9110 §9.3.6)."""
        lines = [f"CONNECT {self.where} HTTP/1.1", f"Host: {self.where}"]
        if proxy.username:
            user = f"{unquote(proxy.username)}:{unquote(proxy.password or '')}"
            lines.append(f"Proxy-Authorization: Basic {base64.b64encode(user.encode()).decode()}")
        head = b""
        try:
            connection.sendall("\r\n".join([*lines, "", ""]).encode())
            while b"\r\n\r\n" not in head and len(head) < _LONGEST_HEAD:
                piece = connection.recv(1)  # what follows the head belongs to the server
                if not piece:
                    break
                head += piece
        except OSError as error:
            evidence = f"{self.proxy_where}: {error.strerror or 'no answer'}"
            raise Unreached(found("proxy_unreachable", evidence, _HINT)) from error
        version, _, rest = head.partition(b" ")
        if not (version.startswith(b"HTTP/") and rest.startswith(b"2")):
            status = rest[:3].decode("ascii", "replace") if version.startswith(b"HTTP/") else ""
            said = f"HTTP {status}" if status.isdigit() else "no HTTP"
            evidence = f"{self.proxy_where} answered CONNECT {self.where} with {said}"
            raise Unreached(found("proxy_refused", evidence, _HINT))


_HINT = (
    "set NO_PROXY to the server's name to go without the proxy, or have the proxy's owner "
    "allow a tunnel to it"
)


def route_to(url: str, seconds: float) -> Route:
    """Return the way to the server of a URL, through the proxy that the environment names.

    Args:
        url: an https URL; one without a scheme is https.
        seconds: the longest that each step may take.

    Raises:
        Unreached: there is no way that could be tried.
    """
    try:
        parts = urlsplit(url if "://" in url else f"https://{url}")
        host, port = normalised(parts.hostname or ""), parts.port or 443
    except ValueError:  # UnicodeError is one
        parts, host, port = urlsplit(""), "", 0
    if parts.scheme == "http" and host:
        hint = f"call https://{_bracketed(host)}"
        raise Unreached(found("url_plain", f"http://{_bracketed(host)}", hint))
    if parts.scheme != "https" or not host or host.startswith("."):
        # not the URL itself: it may hold a password
        raise Unreached(found("url_malformed", "no https URL", "write https://host:port/path"))
    target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    return Route(host, port, quote(target, safe=_IN_A_TARGET), _proxy(host), seconds)


def _proxy(host: str) -> SplitResult | None:
    proxies = urllib.request.getproxies()
    url = proxies.get("https") or proxies.get("all")
    if not url or urllib.request.proxy_bypass(host):
        return None
    try:
        parts = urlsplit(url if "://" in url else f"http://{url}")
    except ValueError:
        parts = urlsplit("")
    if not parts.hostname:
        # not what it says: there may be a password in it
        raise Unreached(found("proxy_unreachable", "what the environment names is no URL", _HINT))
    if parts.scheme == "http":
        return parts
    evidence = f"{parts.scheme}://{parts.hostname}"
    hint = "set HTTPS_PROXY to an http:// proxy, or NO_PROXY to the server's name"
    raise Unreached(found("proxy_unsupported", evidence, hint))


def _port_of(proxy: SplitResult) -> int:
    try:
        return proxy.port or 80
    except ValueError:
        return 80


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host
