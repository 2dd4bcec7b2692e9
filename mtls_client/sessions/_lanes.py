"""What the sync and the async transport of httpx have in common."""

from __future__ import annotations

import base64
import copy
import ssl
import threading
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Self

import httpx

from mtls_client._os.forking import renewed_after_fork
from mtls_client._tls.routes import STRAIGHT, Route
from mtls_client.context import MTLSContext
from mtls_client.errors import ConfigurationError, IdentityRejectedError, MTLSError
from mtls_client.events import Observer
from mtls_client.sessions._origins import HOP, Hop
from mtls_client.sessions._refusals import Refusals
from mtls_client.trust import Trust

if TYPE_CHECKING:
    from mtls_client._tls.inner import InnerContext
    from mtls_client._tls.sockets import Connection
    from mtls_client.scope import Credentials

__all__ = [
    "Lanes",
    "Transport",
    "marked",
    "named",
    "native_error",
    "refuse_overrides",
    "replayable",
]


class Lanes:
    """The two ways to a server: with the identity, and without it after a redirect went astray.

    Attributes:
        straight: the context that presents the identity.
        refusals: finds out why a connection broke.
    """

    def __init__(
        self,
        credential: Credentials,
        trust: Trust,
        hosts: Iterable[str] | None,
        observers: Iterable[Observer],
        *,
        proxy_identity: Credentials,
        http2: bool,
        deferred: bool,
    ) -> None:
        # what httpcore will set at every connection
        alpn = ["http/1.1", "h2"] if http2 else ["http/1.1"]
        self.straight = MTLSContext(
            credential,
            trust=trust,
            hosts=hosts,
            observers=observers,
            alpn=alpn,
            deferred=deferred,
        )
        self.refusals = Refusals(multiplexed=http2)
        self._astray: MTLSContext | None = None
        self._proxy_identity = proxy_identity

    @property
    def astray(self) -> MTLSContext:
        """The context that presents nothing."""
        if self._astray is None:
            self._astray = self.straight.elsewhere()
        return self._astray

    def through(self, proxy: httpx.Proxy | str | httpx.URL | None) -> httpx.Proxy | None:
        """Return a proxy that is presented `proxy_identity` or nothing."""
        if proxy is None:
            return None
        proxy = copy.copy(proxy) if isinstance(proxy, httpx.Proxy) else httpx.Proxy(proxy)
        if proxy.url.scheme == "https" and proxy.ssl_context is None:
            proxy.ssl_context = self.straight.elsewhere(self._proxy_identity)
        return proxy


def marked(request: httpx.Request) -> Hop:
    """Mark a request with its hop; httpx copies the mark to the request of a redirect."""
    url, extensions = request.url, request.extensions
    hop = extensions[HOP] = Hop.to(url.scheme, url.raw_host, url.port, extensions.get(HOP))
    return hop


def native_error(error: Exception) -> Exception:
    """Return the error that httpx should have raised; some it lets through as they are."""
    if isinstance(error, ssl.SSLError):  # when it reads under asyncio
        return httpx.ReadError(str(error))
    if type(error).__module__.startswith("h2."):
        return httpx.RemoteProtocolError(str(error))
    return error


class Transport:
    """What the sync and the async transport have in common."""

    _kind: Any
    _deferred = False

    def __init__(
        self,
        credential: Credentials,
        *,
        trust: Trust = Trust.system(),
        hosts: Iterable[str] | None = None,
        observers: Iterable[Observer] = (),
        proxy: httpx.Proxy | str | httpx.URL | None = None,
        proxy_identity: Credentials = None,
        **options: Any,
    ) -> None:
        refuse_overrides(options)
        http2 = options.get("http2", False)
        lanes = Lanes(
            credential,
            trust,
            hosts,
            observers,
            proxy_identity=proxy_identity,
            http2=http2,
            deferred=self._deferred,
        )
        self._lay(lanes, proxy, options)

    @classmethod
    def along(cls, lanes: Lanes, proxy: httpx.Proxy | None, options: dict[str, Any]) -> Self:
        """Return a transport that shares the contexts of a client."""
        self = cls.__new__(cls)
        self._lay(lanes, proxy, {name: options[name] for name in ("http1", "http2", "limits")})
        return self

    def _lay(self, lanes: Lanes, proxy: Any, options: dict[str, Any]) -> None:
        self._lanes, self._proxy, self._options = lanes, lanes.through(proxy), options
        self._transports: dict[InnerContext, Any] = {}
        self._opening = threading.Lock()
        lanes.straight.follow(self)
        renewed_after_fork(self)

    def drop(self, context: InnerContext, *, finished: bool) -> None:
        """Close what an identity that was replaced does not need any more."""
        raise NotImplementedError

    def _context(self, hop: Hop) -> MTLSContext:
        return self._lanes.astray if hop.astray else self._lanes.straight

    def _transport(self, inner: InnerContext) -> Any:
        """Return the transport whose connections present one identity."""
        transport = self._transports.get(inner)
        if transport is None:
            with self._opening:
                transport = self._transports.get(inner)
                if transport is None:
                    transport = self._kind(verify=inner, proxy=self._proxy, **self._options)
                    self._transports[inner] = transport
        return transport

    def _taken(self) -> list[Any]:
        """Take all transports away, to close them."""
        with self._opening:
            transports, self._transports = list(self._transports.values()), {}
        return transports

    def after_fork(self) -> None:
        """Start over in a child: a connection that two processes use garbles both."""
        self._opening = threading.Lock()
        self._transports = {}

    def _ask(self, used: InnerContext, hop: Hop) -> IdentityRejectedError | None:
        """Ask the server once more whether it refuses the identity; blocks."""
        route = self._route()
        return self._lanes.refusals.found(used, *hop.address, route) if route else None

    def _route(self) -> Route | None:
        """Return the way that connections go, or None if it is one that a probe cannot go."""
        proxy, options = self._proxy, self._options
        if options.get("uds") or options.get("local_address"):
            return None
        if proxy is None:
            return STRAIGHT
        if proxy.url.scheme not in ("http", "https"):
            return None
        headers = list(proxy.headers.multi_items())
        if proxy.raw_auth is not None:
            userinfo = base64.b64encode(b":".join(proxy.raw_auth)).decode("ascii")
            headers.append(("Proxy-Authorization", f"Basic {userinfo}"))
        port = proxy.url.port or (443 if proxy.url.scheme == "https" else 80)
        return Route((proxy.url.host, port), tuple(headers), proxy.ssl_context)

    def _suspect(
        self,
        error: Exception,
        ours: MTLSError | None,
        hop: Hop,
        connections: list[Connection],
        used: InnerContext,
    ) -> bool:
        """Tell whether the server is to be asked why a connection broke."""
        broke = isinstance(error, (httpx.NetworkError, httpx.ProtocolError))
        if not broke or hop.astray:
            return False
        return self._lanes.refusals.suspect(ours, connections, used)


def named(request: httpx.Request, hop: Hop) -> str:
    """Return the name that the server will be checked by."""
    name: str | bytes = request.extensions.get("sni_hostname") or hop.address[0]
    return name.decode("ascii") if isinstance(name, bytes) else name


def replayable(request: httpx.Request) -> bool:
    """Tell whether a body can be sent from its beginning again."""
    return isinstance(request.stream, httpx.ByteStream)


def refuse_overrides(options: dict[str, Any]) -> None:
    instead = {
        "verify": "say what servers must prove with trust=Trust.from_file('ca.pem')",
        "cert": "the identity is the first argument: FileSource('client.pem', 'client.key')",
        "transport": "it would go round the identity and the trust; "
        "mount it for its own hosts: mounts={'https://other.example.com': transport}",
    }
    for name, hint in instead.items():
        if name in options:
            raise ConfigurationError(f"{name}= is not taken here", hint=hint, code=name)
