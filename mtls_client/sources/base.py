"""What a source is, and what one is whose change can be noticed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol, runtime_checkable

if TYPE_CHECKING:
    from mtls_client.identity import Identity

__all__ = ["Source", "Watchable"]


@runtime_checkable
class Source(Protocol):
    """Loads an identity; anything with this one method is a source."""

    def load(self) -> Identity:
        """Load the identity as it is now.

        Raises:
            IdentityError: it cannot be loaded.
        """
        ...


@runtime_checkable
class Watchable(Protocol):
    """A source whose change can be noticed cheaply."""

    def digest(self) -> bytes:
        """Return a SHA-256 over what `load` would read now; it never raises.

        What is missing or may not be read is part of it: that this is so, and why.
        """
        ...
