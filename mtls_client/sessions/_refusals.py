"""Why a connection broke: whether the server refused our identity.

A server's alert is not always delivered. Where a connection that was opened for a request broke
before the server answered, one probe asks again (see `mtls_client._tls.probe`). Requests that
fail at the same time share one answer, so a server in trouble is not called twice for each.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

from mtls_client._tls import reports
from mtls_client._tls.probe import probe
from mtls_client._tls.routes import STRAIGHT, Route
from mtls_client._tls.sockets import Connection, context_of, opened
from mtls_client.errors import IdentityRejectedError, MTLSError

if TYPE_CHECKING:
    from mtls_client._tls.inner import InnerContext

__all__ = ["Refusals", "opening"]

_TIMEOUT = 3.0
_KEPT = 5.0


@contextmanager
def opening() -> Iterator[list[Connection]]:
    """Collect the connections that are opened in this thread or task."""
    connections: list[Connection] = []
    token = opened.set(connections)
    try:
        yield connections
    finally:
        opened.reset(token)


class _Question:
    """What was asked of one server, under a lock so that it is asked once."""

    __slots__ = ("answer", "asked", "lock")

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.asked: float | None = None
        self.answer: IdentityRejectedError | None = None


class Refusals:
    """Finds out about refusals for the requests of one session.

    Args:
        multiplexed: requests share connections that others opened (HTTP/2).
    """

    def __init__(self, *, multiplexed: bool = False) -> None:
        self._multiplexed = multiplexed
        self._lock = threading.Lock()
        # by inner context: another identity is another question, and its answers go with it
        self._questions: WeakKeyDictionary[InnerContext, dict[tuple[str, int, Route], _Question]]
        self._questions = WeakKeyDictionary()

    def suspect(
        self, ours: MTLSError | None, connections: list[Connection], used: InnerContext
    ) -> bool:
        """Tell whether there is something to ask the server.

        Args:
            ours: what is known of the failure so far.
            connections: those that were opened for the request.
            used: the context that the request was sent with.
        """
        if ours is not None and getattr(ours, "certain", True):
            return False
        if connections:
            last = connections[-1]  # that to the proxy, if there is none to the server
            return context_of(last) is used and last.watch.agreed and not last.watch.received
        return self._multiplexed

    def found(
        self, inner: InnerContext, host: str, port: int, route: Route = STRAIGHT
    ) -> IdentityRejectedError | None:
        """Ask the server once more; blocks for a few seconds at most."""
        with self._lock:
            asked = self._questions.setdefault(inner, {})
            question = asked.setdefault((host, port, route), _Question())
        with question.lock:
            if question.asked is None or time.monotonic() - question.asked > _KEPT:
                answer = probe(inner, host, port, timeout=_TIMEOUT, route=route)
                # its traceback would keep the probe's connection and all its buffers
                question.answer = answer and answer.with_traceback(None)
                question.asked = time.monotonic()
            answer = question.answer
        if answer is not None:
            answer.__cause__ = answer.__context__ = None
            reports.rejected(inner, host, answer)
        return answer
