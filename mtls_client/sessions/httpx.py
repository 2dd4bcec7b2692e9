"""`Client` and `AsyncClient`, which are httpx clients, and the transports below them."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any, Self

import httpx

from mtls_client._tls.causes import buried
from mtls_client.errors import MTLSError
from mtls_client.events import Observer
from mtls_client.sessions._again import Again, surely_unprocessed
from mtls_client.sessions._connections import PooledTransport
from mtls_client.sessions._errors import both
from mtls_client.sessions._lanes import (
    Lanes,
    Transport,
    marked,
    named,
    native_error,
    refuse_overrides,
    replayable,
)
from mtls_client.sessions._refusals import opening
from mtls_client.sessions._streams import HeldAsyncStream, HeldStream, Home, home
from mtls_client.trust import Trust

if TYPE_CHECKING:
    from anyio import CapacityLimiter

    from mtls_client._tls.inner import InnerContext
    from mtls_client.leases import Leased
    from mtls_client.scope import Credentials
    from mtls_client.sessions._origins import Hop

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

    _kind = PooledTransport

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        """Send a request.

        Raises:
            TrustError: we refused the server; also an `httpx.ConnectError`.
            IdentityRejectedError: the server refused us; also an `httpx.TransportError`.
        """
        hop = marked(request)
        context, name = self._context(hop), named(request, hop)
        if (credential := context.credential_for(name)) is not None:
            credential.refresh()
        again = Again(request.method, lambda: replayable(request))
        leased = context.lease(name)
        while True:
            try:
                response = self._handle(request, leased, hop)
            except BaseException as error:
                leased.release()
                if not (
                    isinstance(error, httpx.TransportError)
                    and again.allowed(
                        error, credential, leased, partial(self._ask, leased.context, hop)
                    )
                ):
                    raise
            else:
                leased.begun()
                response.stream = HeldStream(response.stream, leased)
                return response
            leased = context.lease(name)

    def _handle(self, request: httpx.Request, leased: Leased, hop: Hop) -> httpx.Response:
        handled = sys.exception()
        with opening() as connections:
            try:
                response: httpx.Response = self._transport(leased.context).handle_request(request)
            except Exception as error:
                native = native_error(error)
                if not isinstance(native, httpx.TransportError):
                    raise  # the caller's own, from the iterator of a body
                ours: MTLSError | None = buried(error, handled)
                if self._suspect(native, ours, hop, connections, leased.context):
                    ours = self._ask(leased.context, hop) or ours
                if (raised := both(ours, native) if ours else native) is error:
                    raise
                raise surely_unprocessed(raised, connections) from error
        return response

    def drop(self, context: InnerContext, *, finished: bool) -> None:
        """Close what an identity that was replaced does not need any more."""
        transport = self._transports.get(context)
        if transport is not None:
            # no request takes a connection of it any more, so what is idle stays idle
            transport.drop(idle=not finished)
            if finished:
                self._transports.pop(context, None)

    def close(self) -> None:
        """Close every connection."""
        for transport in self._taken():
            transport.close()


class AsyncMTLSTransport(Transport, httpx.AsyncBaseTransport):
    """An httpx transport for asyncio and trio that presents an identity and checks a trust.

    The arguments and errors are those of `MTLSTransport`.
    """

    _kind = httpx.AsyncHTTPTransport
    _deferred = True
    _threads: CapacityLimiter | None = None
    _home: Home | None = None

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send a request; the errors are those of `MTLSTransport.handle_request`."""
        hop = marked(request)
        context, name = self._context(hop), named(request, hop)
        credential = context.credential_for(name)
        if credential is not None and credential.stale:
            await self._aside(credential.refresh_aside)
        again = Again(request.method, lambda: replayable(request))
        self._home = self._home or home()
        leased = context.lease(name)
        while True:
            try:
                response = await self._handle(request, leased, hop)
            except BaseException as error:
                leased.release()
                if not (
                    isinstance(error, httpx.TransportError)
                    and again.suits(error, leased)
                    and await self._aside(
                        again.allowed,
                        error,
                        credential,
                        leased,
                        partial(self._ask, leased.context, hop),
                    )
                ):
                    raise
            else:
                leased.begun()
                response.stream = HeldAsyncStream(response.stream, leased)
                return response
            leased = context.lease(name)

    async def _handle(self, request: httpx.Request, leased: Leased, hop: Hop) -> httpx.Response:
        handled = sys.exception()
        with opening() as connections:
            try:
                transport = self._transport(leased.context)
                response: httpx.Response = await transport.handle_async_request(request)
            except Exception as error:
                native = native_error(error)
                if not isinstance(native, httpx.TransportError):
                    raise  # the caller's own, from the iterator of a body
                ours: MTLSError | None = buried(error, handled)
                if self._suspect(native, ours, hop, connections, leased.context):
                    ours = await self._aside(self._ask, leased.context, hop) or ours
                if (raised := both(ours, native) if ours else native) is error:
                    raise
                raise surely_unprocessed(raised, connections) from error
        return response

    async def _aside(self, work: Callable[..., Any], *args: Any) -> Any:
        """Do work that blocks, in a thread."""
        import anyio.to_thread

        # threads of our own: anyio makes each new connection wait for one of the common ones
        self._threads = self._threads or anyio.CapacityLimiter(8)
        return await anyio.to_thread.run_sync(
            work, *args, limiter=self._threads, abandon_on_cancel=True
        )

    def drop(self, context: InnerContext, *, finished: bool) -> None:
        """Close what an identity that was replaced does not need any more; from any thread."""
        if self._home is not None and context in self._transports:
            self._home(partial(self._drop, context, finished))

    async def _drop(self, context: InnerContext, finished: bool) -> None:
        transport = self._transports.get(context)
        if transport is not None:
            # no request takes a connection of it any more, so what is idle stays idle
            for connection in transport._pool.connections:
                if finished or connection.is_idle():
                    with suppress(Exception):  # it is not needed any more, whatever ails it
                        await connection.aclose()
            if finished:
                self._transports.pop(context, None)

    async def __aenter__(self) -> Self:
        for credential in self._lanes.straight.credentials:
            if credential.stale:
                await self._aside(credential.refresh_aside)
        return self

    async def aclose(self) -> None:
        """Close every connection."""
        for transport in self._taken():
            await transport.aclose()


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
            credential,
            trust,
            hosts,
            observers,
            proxy_identity=proxy_identity,
            http2=http2,
            deferred=False,
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
            credential,
            trust,
            hosts,
            observers,
            proxy_identity=proxy_identity,
            http2=http2,
            deferred=True,
        )
        super().__init__(**httpx_arguments)

    def _init_transport(self, *_args: Any, **options: Any) -> AsyncMTLSTransport:
        return AsyncMTLSTransport.along(self._lanes, None, options)

    def _init_proxy_transport(  # type: ignore[override]  # httpx passes the rest by keyword
        self, proxy: httpx.Proxy, **options: Any
    ) -> AsyncMTLSTransport:
        return AsyncMTLSTransport.along(self._lanes, proxy, options)
