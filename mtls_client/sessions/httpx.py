"""`Client` and `AsyncClient`, which are httpx clients, and the transports below them."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Self

import httpx

from mtls_client.errors import MTLSError
from mtls_client.events import Observer
from mtls_client.sessions._errors import both, buried
from mtls_client.sessions._lanes import (
    Lanes,
    Transport,
    marked,
    native_error,
    refuse_overrides,
)
from mtls_client.sessions._refusals import opening
from mtls_client.trust import Trust

if TYPE_CHECKING:
    from anyio import CapacityLimiter

    from mtls_client._tls.inner import InnerContext
    from mtls_client.scope import Credentials

__all__ = ["AsyncClient", "AsyncMTLSTransport", "Client", "MTLSTransport"]


class MTLSTransport(Transport, httpx.BaseTransport):
    """An httpx transport that presents an identity and checks a trust.

    Args:
        credential: a `Credential`, a source, a mapping from host pattern to either, or None.
        trust: what servers must prove.
        hosts: patterns of the only hosts that see the identity.
        observers: told of every handshake.
        proxy: an HTTP or SOCKS proxy; it is never offered the identity.
        proxy_identity: what an HTTPS proxy is presented, by default nothing.
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
        hop, handled = marked(request), sys.exception()
        with opening() as connections:
            try:
                response: httpx.Response = self._lane(hop).handle_request(request)
            except Exception as error:
                native = native_error(error)
                if not isinstance(native, httpx.TransportError):
                    raise  # the caller's own, from the iterator of a body
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


class AsyncMTLSTransport(Transport, httpx.AsyncBaseTransport):
    """An httpx transport for asyncio and trio that presents an identity and checks a trust.

    The arguments and errors are those of `MTLSTransport`.
    """

    _kind = httpx.AsyncHTTPTransport
    _threads: CapacityLimiter | None = None

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send a request; the errors are those of `MTLSTransport.handle_request`."""
        hop, handled = marked(request), sys.exception()
        with opening() as connections:
            try:
                response: httpx.Response = await self._lane(hop).handle_async_request(request)
            except Exception as error:
                native = native_error(error)
                if not isinstance(native, httpx.TransportError):
                    raise  # the caller's own, from the iterator of a body
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
        proxy_identity: what an HTTPS proxy is presented, by default nothing.
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
        proxy_identity: Credentials = None,
        **httpx_arguments: Any,
    ) -> None:
        refuse_overrides(httpx_arguments)
        http2 = httpx_arguments.get("http2", False)
        self._lanes = Lanes(
            credential, trust, hosts, observers, proxy_identity=proxy_identity, http2=http2
        )
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
        proxy_identity: Credentials = None,
        **httpx_arguments: Any,
    ) -> None:
        refuse_overrides(httpx_arguments)
        http2 = httpx_arguments.get("http2", False)
        self._lanes = Lanes(
            credential, trust, hosts, observers, proxy_identity=proxy_identity, http2=http2
        )
        super().__init__(**httpx_arguments)

    def _init_transport(self, *_args: Any, **options: Any) -> AsyncMTLSTransport:
        return AsyncMTLSTransport.along(self._lanes, None, options)

    def _init_proxy_transport(  # type: ignore[override]  # httpx passes the rest by keyword
        self, proxy: httpx.Proxy, **options: Any
    ) -> AsyncMTLSTransport:
        return AsyncMTLSTransport.along(self._lanes, proxy, options)
