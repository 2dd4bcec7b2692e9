"""`Client` and `AsyncClient`, which are httpx clients, and the transports below them."""

from __future__ import annotations

import copy
import ssl
import sys
import threading
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Self

import httpx

from mtls_client.context import MTLSContext
from mtls_client.errors import ConfigurationError, MTLSError
from mtls_client.events import Observer
from mtls_client.sessions._errors import both, buried
from mtls_client.sessions._origins import HOP, Hop
from mtls_client.sessions._refusals import Refusals, opening
from mtls_client.trust import Trust

if TYPE_CHECKING:
    from anyio import CapacityLimiter

    from mtls_client._tls.inner import InnerContext
    from mtls_client._tls.sockets import Connection
    from mtls_client.scope import Credentials

__all__ = ["AsyncClient", "AsyncMTLSTransport", "Client", "MTLSTransport"]


class _Lanes:
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
        http2: bool,
    ) -> None:
        # what httpcore will set at every connection
        alpn = ["http/1.1", "h2"] if http2 else ["http/1.1"]
        self.straight = MTLSContext(
            credential, trust=trust, hosts=hosts, observers=observers, alpn=alpn
        )
        self.refusals = Refusals(self.straight, multiplexed=http2)
        self._astray: MTLSContext | None = None

    @property
    def astray(self) -> MTLSContext:
        """The context that presents nothing."""
        if self._astray is None:
            self._astray = self.straight.without_identity()
        return self._astray

    def through(self, proxy: httpx.Proxy | str | httpx.URL | None) -> httpx.Proxy | None:
        """Return a proxy to which no identity is ever presented."""
        if proxy is None:
            return None
        proxy = copy.copy(proxy) if isinstance(proxy, httpx.Proxy) else httpx.Proxy(proxy)
        if proxy.url.scheme == "https" and proxy.ssl_context is None:
            proxy.ssl_context = self.astray
        return proxy


def _hop(request: httpx.Request) -> Hop:
    """Mark a request with its hop; httpx copies the mark to the request of a redirect."""
    url, extensions = request.url, request.extensions
    hop = extensions[HOP] = Hop.to(url.scheme, url.raw_host, url.port, extensions.get(HOP))
    return hop


def _native(error: Exception) -> Exception:
    """Return the error that httpx should have raised; some it lets through as they are."""
    if isinstance(error, ssl.SSLError):  # when it reads under asyncio
        return httpx.ReadError(str(error))
    if type(error).__module__.startswith("h2."):
        return httpx.RemoteProtocolError(str(error))
    return error


class _Transport:
    """What the sync and the async transport have in common."""

    _kind: Any

    def __init__(
        self,
        credential: Credentials,
        *,
        trust: Trust = Trust.system(),
        hosts: Iterable[str] | None = None,
        observers: Iterable[Observer] = (),
        proxy: httpx.Proxy | str | httpx.URL | None = None,
        **options: Any,
    ) -> None:
        _refuse_overrides(options)
        lanes = _Lanes(credential, trust, hosts, observers, http2=options.get("http2", False))
        self._lay(lanes, proxy, options)

    @classmethod
    def along(cls, lanes: _Lanes, proxy: httpx.Proxy | None, options: dict[str, Any]) -> Self:
        """Return a transport that shares the contexts of a client."""
        self = cls.__new__(cls)
        self._lay(lanes, proxy, {name: options[name] for name in ("http1", "http2", "limits")})
        return self

    def _lay(self, lanes: _Lanes, proxy: Any, options: dict[str, Any]) -> None:
        self._lanes, self._proxy, self._options = lanes, lanes.through(proxy), options
        self._straight = self._open(lanes.straight)
        self._astray: Any = None
        self._opening = threading.Lock()

    def _open(self, context: MTLSContext) -> Any:
        return self._kind(verify=context, proxy=self._proxy, **self._options)

    def _lane(self, hop: Hop) -> Any:
        if not hop.astray:
            return self._straight
        with self._opening:
            if self._astray is None:
                self._astray = self._open(self._lanes.astray)
            return self._astray

    def _suspect(
        self, error: Exception, ours: MTLSError | None, hop: Hop, connections: list[Connection]
    ) -> InnerContext | None:
        """Return what to probe with to find out why a connection broke, or None."""
        broke = isinstance(error, (httpx.NetworkError, httpx.ProtocolError))
        elsewhere = self._proxy or self._options.get("uds") or self._options.get("local_address")
        if not broke or hop.astray or elsewhere:
            return None
        return self._lanes.refusals.suspect(ours, connections, hop.address[0])


class MTLSTransport(_Transport, httpx.BaseTransport):
    """An httpx transport that presents an identity and checks a trust.

    Args:
        credential: a `Credential`, a source, a mapping from host pattern to either, or None.
        trust: what servers must prove.
        hosts: patterns of the only hosts that see the identity.
        observers: told of every handshake.
        proxy: an HTTP or SOCKS proxy; it is never offered the identity.
        **options: `http1`, `http2`, `limits`, `retries`, `local_address`, `uds` and
            `socket_options`, as in `httpx.HTTPTransport`.

    Raises:
        IdentityError: the identity cannot be loaded or used.
        ConfigurationError: a pattern is malformed, or an option would change the trust.
    """

    _kind = httpx.HTTPTransport

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        """Send a request.

        Raises:
            TrustError: we refused the server; also an `httpx.ConnectError`.
            IdentityRejectedError: the server refused us; also an `httpx.TransportError`.
        """
        hop, handled = _hop(request), sys.exception()
        with opening() as connections:
            try:
                response: httpx.Response = self._lane(hop).handle_request(request)
            except Exception as error:
                native = _native(error)
                ours: MTLSError | None = buried(error, handled)
                suspect = self._suspect(native, ours, hop, connections)
                if suspect is not None:
                    ours = self._lanes.refusals.found(suspect, *hop.address) or ours
                if (raised := both(ours, native) if ours else native) is error:
                    raise
                raise raised from error
        return response

    def __enter__(self) -> Self:
        self._straight.__enter__()
        return self

    def close(self) -> None:
        """Close every connection."""
        self._straight.close()
        if self._astray is not None:
            self._astray.close()


class AsyncMTLSTransport(_Transport, httpx.AsyncBaseTransport):
    """An httpx transport for asyncio and trio that presents an identity and checks a trust.

    The arguments and errors are those of `MTLSTransport`.
    """

    _kind = httpx.AsyncHTTPTransport
    _threads: CapacityLimiter | None = None

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send a request; the errors are those of `MTLSTransport.handle_request`."""
        hop, handled = _hop(request), sys.exception()
        with opening() as connections:
            try:
                response: httpx.Response = await self._lane(hop).handle_async_request(request)
            except Exception as error:
                native = _native(error)
                ours: MTLSError | None = buried(error, handled)
                suspect = self._suspect(native, ours, hop, connections)
                if suspect is not None:
                    ours = await self._found(suspect, *hop.address) or ours
                if (raised := both(ours, native) if ours else native) is error:
                    raise
                raise raised from error
        return response

    async def _found(self, suspect: InnerContext, host: str, port: int) -> MTLSError | None:
        import anyio.to_thread

        # threads of our own: anyio makes each new connection wait for one of the common ones
        self._threads = self._threads or anyio.CapacityLimiter(8)
        ask = self._lanes.refusals.found
        return await anyio.to_thread.run_sync(
            ask, suspect, host, port, limiter=self._threads, abandon_on_cancel=True
        )

    async def __aenter__(self) -> Self:
        await self._straight.__aenter__()
        return self

    async def aclose(self) -> None:
        """Close every connection."""
        await self._straight.aclose()
        if self._astray is not None:
            await self._astray.aclose()


class Client(httpx.Client):
    """An `httpx.Client` that presents an identity and checks a trust.

    Everything else is as in httpx. Transports given with `mounts=` answer for themselves.

    Args:
        credential: a `Credential`, a source, a mapping from host pattern to either, or None.
        trust: what servers must prove.
        hosts: patterns of the only hosts that see the identity.
        observers: told of every handshake.
        **httpx_arguments: all that `httpx.Client` takes but `verify`, `cert` and `transport`.

    Raises:
        IdentityError: the identity cannot be loaded or used.
        ConfigurationError: a pattern is malformed, or an argument would change the trust.

    Example:
        >>> with Client(FileSource("client.p12", password="…")) as client:  # doctest: +SKIP
        ...     client.get("https://api.example.com/orders")
    """

    def __init__(
        self,
        credential: Credentials,
        *,
        trust: Trust = Trust.system(),
        hosts: Iterable[str] | None = None,
        observers: Iterable[Observer] = (),
        **httpx_arguments: Any,
    ) -> None:
        _refuse_overrides(httpx_arguments)
        http2 = httpx_arguments.get("http2", False)
        self._lanes = _Lanes(credential, trust, hosts, observers, http2=http2)
        super().__init__(**httpx_arguments)

    def _init_transport(self, *_args: Any, **options: Any) -> MTLSTransport:
        return MTLSTransport.along(self._lanes, None, options)

    def _init_proxy_transport(  # type: ignore[override]  # httpx passes the rest by keyword
        self, proxy: httpx.Proxy, **options: Any
    ) -> MTLSTransport:
        return MTLSTransport.along(self._lanes, proxy, options)


class AsyncClient(httpx.AsyncClient):
    """An `httpx.AsyncClient`, for asyncio and trio, that presents an identity and checks a trust.

    The arguments and errors are those of `Client`.

    Example:
        >>> async with AsyncClient(FileSource("client.p12")) as client:  # doctest: +SKIP
        ...     await client.get("https://api.example.com/orders")
    """

    def __init__(
        self,
        credential: Credentials,
        *,
        trust: Trust = Trust.system(),
        hosts: Iterable[str] | None = None,
        observers: Iterable[Observer] = (),
        **httpx_arguments: Any,
    ) -> None:
        _refuse_overrides(httpx_arguments)
        http2 = httpx_arguments.get("http2", False)
        self._lanes = _Lanes(credential, trust, hosts, observers, http2=http2)
        super().__init__(**httpx_arguments)

    def _init_transport(self, *_args: Any, **options: Any) -> AsyncMTLSTransport:
        return AsyncMTLSTransport.along(self._lanes, None, options)

    def _init_proxy_transport(  # type: ignore[override]  # httpx passes the rest by keyword
        self, proxy: httpx.Proxy, **options: Any
    ) -> AsyncMTLSTransport:
        return AsyncMTLSTransport.along(self._lanes, proxy, options)


def _refuse_overrides(options: dict[str, Any]) -> None:
    instead = {
        "verify": "say what servers must prove with trust=Trust.from_file('ca.pem')",
        "cert": "the identity is the first argument: FileSource('client.pem', 'client.key')",
        "transport": "it would go round the identity and the trust; "
        "mount it for its own hosts: mounts={'https://other.example.com': transport}",
    }
    for name, hint in instead.items():
        if name in options:
            raise ConfigurationError(f"{name}= is not taken here", hint=hint, code=name)
