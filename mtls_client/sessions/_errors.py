"""One error that is ours and the HTTP library's at the same time.

`except mtls.PinMismatchError`, `except requests.exceptions.SSLError` and
`except httpx.ConnectError` must all catch it.
"""

from __future__ import annotations

import functools
from typing import Any

from mtls_client.errors import MTLSError

__all__ = ["both"]


def both(ours: MTLSError, native: Exception) -> Exception:
    """Return an error that is an instance of both errors' classes.

    Args:
        ours: what happened.
        native: what the library raised; its request and response are taken over.
    """
    if isinstance(ours, type(native)):
        return ours
    error = _new(type(ours), type(native), ours.args, ours.__dict__)
    for name in ("request", "response", "_request"):
        if name in native.__dict__:
            setattr(error, name, native.__dict__[name])
    return error


@functools.cache
def _combined(ours: type[MTLSError], native: type[Exception]) -> type[MTLSError]:
    def reduce(self: MTLSError) -> tuple[Any, ...]:
        # a request may hold credentials and is not for another process
        state = {k: v for k, v in self.__dict__.items() if k not in _LEFT_BEHIND}
        return _new, (ours, native, self.args, state)

    return type(
        ours.__name__,
        (ours, native),
        {"__module__": ours.__module__, "__doc__": ours.__doc__, "__reduce__": reduce},
    )


_LEFT_BEHIND = frozenset({"request", "response", "_request", "_response"})


def _new(
    ours: type[MTLSError], native: type[Exception], args: tuple[Any, ...], state: dict[str, Any]
) -> Exception:
    kind: type[MTLSError] = _combined(ours, native)  # type: ignore[arg-type]  # types hash
    error = kind.__new__(kind)
    error.args = args
    error.__dict__.update(
        {"request": None, "response": None} if _is_requests(native) else {"_request": None}
    )
    error.__dict__.update(state)
    if isinstance(error, OSError):
        error.strerror = args[0]
    return error


def _is_requests(native: type[Exception]) -> bool:
    return native.__module__.startswith("requests.")
