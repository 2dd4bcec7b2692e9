"""Proof that a name is ours, as an ACME server wants it: by HTTP or by DNS (RFC 8555 §8)."""

from __future__ import annotations

import contextlib
import os
import socket
import tempfile
import threading
from collections.abc import Callable
from dataclasses import dataclass
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Literal, Protocol, TypeAlias, runtime_checkable

from mtls_client._os.forking import renewed_after_fork
from mtls_client.errors import ConfigurationError, RenewalError

__all__ = ["DNS", "Challenge", "ChallengeKind", "Solver", "Standalone", "Webroot"]

ChallengeKind: TypeAlias = Literal["http-01", "dns-01"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Challenge:
    """What a server wants to see for one name. None of it is secret.

    Attributes:
        kind: `http-01` or `dns-01`.
        domain: the DNS name, or for `http-01` the IP address, that is to be proved.
        token: the server's name for it: letters, digits, `-` and `_`.
        value: the content: of the page for `http-01`, of the TXT record for `dns-01`.
    """

    kind: ChallengeKind
    domain: str
    token: str
    value: str

    @property
    def path(self) -> str:
        """Where the page is (RFC 8555 §8.3)."""
        return f"/.well-known/acme-challenge/{self.token}"

    @property
    def record(self) -> str:
        """The name of the TXT record, without a dot at the end (RFC 8555 §8.4)."""
        return f"_acme-challenge.{self.domain}"


@runtime_checkable
class Solver(Protocol):
    """Shows the server what it wants to see; anything with these members is a solver."""

    @property
    def kind(self) -> ChallengeKind:
        """The kind of challenge that it solves."""
        ...

    def present(self, challenge: Challenge) -> None:
        """Show it; return when the server can see it. There may be several at once."""
        ...

    def remove(self, challenge: Challenge) -> None:
        """Take it away; also called when `present` has failed."""
        ...


class Webroot:
    """Writes pages to a folder that a web server shows on port 80.

    Args:
        path: the folder that is shown as `/`. It must exist.
    """

    kind: ChallengeKind = "http-01"

    def __init__(self, path: str | Path) -> None:
        self._path = Path(path)

    def present(self, challenge: Challenge) -> None:
        """Write the page, readable by everybody, in one step."""
        if not self._path.is_dir():
            raise ConfigurationError(
                f"{self._path}: no such folder",
                hint="name the folder that the web server shows as /",
                code="acme_webroot",
            )
        page = self._page(challenge)
        for folder in (page.parent.parent, page.parent):
            if not folder.exists():
                folder.mkdir(exist_ok=True)
                folder.chmod(0o755)  # the web server is another user
        descriptor, name = tempfile.mkstemp(dir=page.parent, prefix=".")
        try:
            with open(descriptor, "w", encoding="ascii") as file:
                file.write(challenge.value)
            os.chmod(name, 0o644)
            os.replace(name, page)
        except BaseException:
            with contextlib.suppress(OSError):
                os.unlink(name)
            raise

    def remove(self, challenge: Challenge) -> None:
        """Delete the page."""
        self._page(challenge).unlink(missing_ok=True)

    def _page(self, challenge: Challenge) -> Path:
        return self._path / challenge.path.lstrip("/")

    def __repr__(self) -> str:
        return f"Webroot({str(self._path)!r})"


class DNS:
    """Has TXT records made and removed by two functions.

    Args:
        present: makes a TXT record beside those that have the same name; takes its name and its
            value, and returns when the authoritative servers have it.
        remove: removes that record and no other; takes the same. The record may not exist.

    Example:
        >>> DNS(zone.add_txt, zone.remove_txt)  # doctest: +SKIP
    """

    kind: ChallengeKind = "dns-01"

    def __init__(
        self, present: Callable[[str, str], object], remove: Callable[[str, str], object]
    ) -> None:
        self._present, self._remove = present, remove

    def present(self, challenge: Challenge) -> None:
        """Have the record made."""
        self._present(challenge.record, challenge.value)

    def remove(self, challenge: Challenge) -> None:
        """Have the record removed."""
        self._remove(challenge.record, challenge.value)

    def __repr__(self) -> str:
        return "DNS()"


class Standalone:
    """Answers on a port of its own while there is something to answer.

    Args:
        port: where to listen. The server asks on port 80: anything else needs a redirection in
            front of it.
        host: the address to listen on; None listens on all of this machine.
    """

    kind: ChallengeKind = "http-01"

    def __init__(self, port: int = 80, host: str | None = None) -> None:
        self._port, self._host = port, host
        self._pages: dict[str, bytes] = {}
        self._server: _Pages | None = None
        self.after_fork()
        renewed_after_fork(self)

    def after_fork(self) -> None:
        """Start over in a child process, which does not have the thread."""
        self._lock = threading.Lock()
        self._pages.clear()
        if self._server is not None:
            self._server.server_close()
        self._server = None

    def present(self, challenge: Challenge) -> None:
        """Answer for it; listen, if nobody has so far."""
        with self._lock:
            if self._server is None:
                self._server = self._listening()
            self._pages[challenge.path] = challenge.value.encode()

    def remove(self, challenge: Challenge) -> None:
        """Forget it; stop listening, if it was the last one."""
        with self._lock:
            self._pages.pop(challenge.path, None)
            if self._server is not None and not self._pages:
                self._server.shutdown()
                self._server.server_close()
                self._server = None

    def _listening(self) -> _Pages:
        both = self._host is None and socket.has_dualstack_ipv6()
        family = socket.AF_INET6 if both or ":" in (self._host or "") else socket.AF_INET
        try:
            listener = socket.create_server(
                (self._host or "", self._port), family=family, dualstack_ipv6=both
            )
        except OSError as error:
            raise RenewalError(
                f"cannot listen on port {self._port} for the ACME server: "
                f"{os.strerror(error.errno) if error.errno else error}",
                hint=f"see who has it: ss -ltnp 'sport = :{self._port}'; below 1024 it takes the "
                "capability CAP_NET_BIND_SERVICE; with a web server there, use Webroot",
                code="acme_port",
            ) from error
        server = _Pages(listener, self._pages)
        threading.Thread(
            target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True
        ).start()
        return server

    def __repr__(self) -> str:
        return f"Standalone(port={self._port})"


class _Pages(ThreadingHTTPServer):
    """Shows some pages on a socket that already listens."""

    daemon_threads = True
    block_on_close = False

    def __init__(self, listener: socket.socket, pages: dict[str, bytes]) -> None:
        super().__init__(listener.getsockname()[:2], _Handler, bind_and_activate=False)
        self.socket.close()
        self.socket, self.pages = listener, pages

    def handle_error(self, request: object, client_address: object) -> None:
        """Say nothing: who hangs up early is no concern of ours."""


class _Handler(BaseHTTPRequestHandler):
    timeout = 10.0
    server: _Pages

    def do_GET(self) -> None:
        page = self.server.pages.get(self.path)
        self.send_response(HTTPStatus.NOT_FOUND if page is None else HTTPStatus.OK)
        self.send_header("Content-Type", "application/octet-stream")
        self.send_header("Content-Length", str(len(page or b"")))
        self.end_headers()
        self.wfile.write(page or b"")

    def version_string(self) -> str:
        """Return what the Server header says: not which Python this is."""
        return "mtls-client"

    def log_message(self, *_args: object) -> None:
        """Log nothing: whoever knows the port could fill a disk."""
