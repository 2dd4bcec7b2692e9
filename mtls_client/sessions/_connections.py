"""Connections that the pool of httpcore does not close under a request.

The pool gives a connection to a request and notes nothing on it: until the request begins, and for
a moment longer, other threads see it idle. One that looks for what has expired then takes the
answer that arrives for a server hanging up, and closes it (httpcore #1110). At best that request
fails; at worst the number of the socket is another connection's by then, and both break.

So a connection knows its requests. Who closes marks first and looks then, a request adds itself
first and looks then: one of the two notices. There is no lock, see `mtls_client.leases`.

Nor does the pool keep the threads apart that share an HTTP/2 connection: their frames may come in
an order that ends it. Here only one request uses a connection at a time, by either protocol.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any
from weakref import WeakMethod

import httpcore
import httpx

__all__ = ["Connection", "PooledTransport"]


class Connection(httpcore.ConnectionInterface):
    """A connection of a pool that knows which requests use it.

    Args:
        connection: the same without that knowledge.
    """

    def __init__(self, connection: httpcore.ConnectionInterface) -> None:
        self._connection = connection
        self._users: dict[httpcore.Request, None] = {}
        self._closing = False

    def handle_request(self, request: httpcore.Request) -> httpcore.Response:
        """Send a request.

        Raises:
            httpcore.ConnectionNotAvailable: the pool must choose another connection.
        """
        self._users[request] = None
        try:
            first = list(self._users)[0]  # noqa: RUF015 (in one step; an iterator sees changes)
            if self._closing or first is not request:
                raise httpcore.ConnectionNotAvailable
            response = self._connection.handle_request(request)
        except BaseException:
            self._leave(request)
            raise
        response.stream = _Stream(response.stream, partial(self._leave, request))
        return response

    def has_expired(self) -> bool:
        """Tell whether it is of no more use; if so, no request begins any more."""
        if self._users or not self._connection.has_expired():
            return False
        self._closing = True
        self._closing = not self._users
        return self._closing

    def is_idle(self) -> bool:
        """Tell whether no request uses it."""
        return not self._users and self._connection.is_idle()

    def close(self) -> None:
        """Close it as soon as no request uses it; none begins any more."""
        self._closing = True
        if not self._users:
            self._connection.close()

    def abort(self) -> None:
        """Close it at once."""
        self._closing = True
        self._connection.close()

    def _leave(self, request: httpcore.Request) -> None:
        self._users.pop(request, None)
        if self._closing and not self._users:
            self._connection.close()

    def can_handle_request(self, origin: httpcore.Origin) -> bool:
        """Tell whether it leads to an origin."""
        return self._connection.can_handle_request(origin)

    def is_available(self) -> bool:
        """Tell whether it may take a request."""
        return not self._users and self._connection.is_available()

    def is_closed(self) -> bool:
        """Tell whether it is closed."""
        return self._connection.is_closed()

    def info(self) -> str:
        """Describe its state."""
        return self._connection.info()

    def __repr__(self) -> str:
        return repr(self._connection)


class PooledTransport(httpx.HTTPTransport):
    """An `httpx.HTTPTransport` whose pool consists of such connections."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        pool: Any = self._pool
        # weak, or only the collector could free the pool and the contexts with their keys
        create: Any = WeakMethod(pool.create_connection)
        pool.create_connection = lambda origin: Connection(create()(origin))

    def drop(self, *, idle: bool) -> None:
        """Close the connections that no request uses, or all of them."""
        connection: Any
        for connection in self._pool.connections:
            if not idle or connection.is_idle():
                connection.abort()

    def close(self) -> None:
        """Close every connection, in use or not."""
        self.drop(idle=False)
        super().close()


class _Stream:
    """The content of a response; its request leaves the connection when it is closed."""

    __slots__ = ("_leave", "_stream")

    def __init__(self, stream: Any, leave: partial[None]) -> None:
        self._stream = stream
        self._leave = leave

    def __iter__(self) -> Iterator[bytes]:
        return iter(self._stream)

    def close(self) -> None:
        try:
            self._stream.close()
        finally:
            self._leave()
