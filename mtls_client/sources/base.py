"""What a source is."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol, runtime_checkable

if TYPE_CHECKING:
    from mtls_client.identity import Identity

__all__ = ["Source"]


@runtime_checkable
class Source(Protocol):
    """Loads an identity; anything with this one method is a source."""

    def load(self) -> Identity:
        """Load the identity as it is now.

        Raises:
            IdentityError: it cannot be loaded.
        """
        ...
