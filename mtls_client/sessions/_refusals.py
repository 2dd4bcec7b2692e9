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

from mtls_client._tls import reports
from mtls_client._tls.probe import probe
from mtls_client._tls.sockets import Connection, opened
from mtls_client.context import MTLSContext
from mtls_client.errors import IdentityRejectedError

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


class Refusals:
    """Finds out about refusals for the requests of one context."""

    def __init__(self, context: MTLSContext) -> None:
        self._context = context
        self._lock = threading.Lock()
        self._answers: dict[tuple[str, int], tuple[float, IdentityRejectedError | None]] = {}

    def suspected(self, connections: list[Connection]) -> bool:
        """Tell whether the last connection broke where a refusal would break it."""
        if not connections:
            return False
        last = connections[-1]
        return last.watch.agreed and not last.watch.received

    def found(self, host: str, port: int) -> IdentityRejectedError | None:
        """Ask the server once more; blocks for a few seconds at most."""
        inner = self._context.inner_for(host)
        with self._lock:
            asked, answer = self._answers.get((host, port), (None, None))
            if asked is None or time.monotonic() - asked > _KEPT:
                answer = probe(inner, host, port, timeout=_TIMEOUT)
                self._answers[host, port] = time.monotonic(), answer
        if answer is not None:
            reports.rejected(inner, host, answer)
        return answer
