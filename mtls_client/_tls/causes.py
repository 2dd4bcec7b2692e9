"""Our error, or any other, inside the one that a library made of it."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from mtls_client.errors import MTLSError

__all__ = ["buried", "inside"]

# longer than any library's; a property that makes a new error each time must not go on for ever
_DEEPEST = 1000


def buried(error: BaseException, handled: BaseException | None = None) -> MTLSError | None:
    """Return our error from inside a library's, or None.

    Args:
        error: the library's error.
        handled: what was being handled already when the library was called (sys.exception());
            Python makes it the context of all that is raised meanwhile, and it is none of ours.
    """
    for found in inside(error, handled):
        if isinstance(found, MTLSError):
            return found
    return None


def inside(
    error: BaseException, handled: BaseException | None = None, *, contexts: bool = True
) -> Iterator[BaseException]:
    """Return an error and all that libraries buried in it, the nearest first.

    They bury the cause in `__cause__`, `__context__`, `.reason`, `.args` and exception groups.

    Args:
        error: the library's error.
        handled: as in `buried`.
        contexts: also what was merely being handled when an error was raised.
    """
    # the errors themselves, so that no identity is used again
    seen: dict[int, BaseException | None] = {id(handled): handled}
    waiting: list[object] = [error]
    while waiting and len(seen) < _DEEPEST:
        current = waiting.pop(0)
        if not isinstance(current, BaseException) or id(current) in seen:
            continue
        seen[id(current)] = current
        yield current
        waiting.append(current.__cause__)
        if contexts:
            waiting.append(current.__context__)
        with contextlib.suppress(Exception):  # an attribute of a stranger may do anything
            waiting.append(getattr(current, "reason", None))
        waiting += current.args
        if isinstance(current, BaseExceptionGroup):
            waiting += current.exceptions
