"""Our error, or any other, inside the one that a library made of it."""

from __future__ import annotations

from collections.abc import Iterator

from mtls_client.errors import MTLSError

__all__ = ["buried"]


def buried(error: BaseException, handled: BaseException | None = None) -> MTLSError | None:
    """Return our error from inside a library's, or None.

    Libraries bury the cause in `__cause__`, `__context__`, `.reason` or `.args`.

    Args:
        error: the library's error.
        handled: what was being handled already when the library was called (sys.exception());
            Python makes it the context of all that is raised meanwhile, and it is none of ours.
    """
    for found in _inside(error, handled):
        if isinstance(found, MTLSError):
            return found
    return None


def _inside(error: BaseException, handled: BaseException | None) -> Iterator[BaseException]:
    seen = {id(handled)}
    waiting: list[object] = [error]
    while waiting:
        current = waiting.pop(0)
        if not isinstance(current, BaseException) or id(current) in seen:
            continue
        seen.add(id(current))
        yield current
        waiting += [
            current.__cause__,
            current.__context__,
            getattr(current, "reason", None),
            *current.args,
        ]
