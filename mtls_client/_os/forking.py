"""What must be made anew in a child process after `os.fork`.

A lock may be held for ever by a thread that the child does not have, and a connection that both
processes use garbles the answers of both.
"""

from __future__ import annotations

import os
from typing import Protocol
from weakref import WeakSet

__all__ = ["Forked", "renewed_after_fork"]


class Forked(Protocol):
    """Something that holds locks, threads or connections."""

    def after_fork(self) -> None:
        """Start over in the child; called before any other code runs there."""
        ...


_registered: WeakSet[Forked] = WeakSet()


def renewed_after_fork(one: Forked) -> None:
    """Call `after_fork` of an object in every child, as long as the object lives."""
    _registered.add(one)


def _in_child() -> None:
    for one in list(_registered):
        one.after_fork()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_in_child)
