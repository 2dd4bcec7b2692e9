"""What requests sends and receives: bodies to send again, responses that end a lease."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import requests
import urllib3
from urllib3.util.response import is_fp_closed

if TYPE_CHECKING:
    from mtls_client.leases import Leased

__all__ = ["hold", "replay"]


def replay(request: requests.PreparedRequest) -> Callable[[], bool]:
    """Return what makes the body of a request ready to be sent again, if that is possible."""

    def rewind() -> bool:
        body, position = request.body, getattr(request, "_body_position", None)
        if body is None or isinstance(body, (bytes, str)):
            return True
        if not isinstance(position, int) or not hasattr(body, "seek"):
            return False
        try:
            body.seek(position)
        except OSError:
            return False
        return True

    return rewind


class _Held(urllib3.HTTPResponse):
    """A response that ends a lease when its connection is given back or closed."""

    leased: Leased

    def release_conn(self) -> None:
        super().release_conn()
        self.leased.release()

    def close(self) -> None:
        super().close()
        self.leased.release()


def hold(raw: Any, leased: Leased) -> None:
    """Release a lease when a response of urllib3 gives its connection back or is closed."""
    leased.begun()
    # of the class that urllib3 makes, and not of one that somebody put in its place
    if type(raw) is not urllib3.HTTPResponse or is_fp_closed(raw):
        leased.release()
        return
    held: Any = raw
    held.__class__ = _Held
    held.leased = leased
    leased.release_with(raw)
