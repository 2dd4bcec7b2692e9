"""What a source is, what one is whose change can be noticed, and one that can be written."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Protocol, runtime_checkable

if TYPE_CHECKING:
    from mtls_client.identity import Identity

__all__ = ["Savable", "Source", "Watchable"]


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


@runtime_checkable
class Savable(Protocol):
    """A source that can take a renewed identity.

    Attributes:
        lock: what those exclude each other by who renew what is here: the path of a lock file,
            or a name.
    """

    @property
    def lock(self) -> Path | str: ...  # noqa: D102 (an attribute, see above)

    def check_savable(self) -> None:
        """Raise what `save` would raise, as far as that can be known before.

        Raises:
            IdentityError: nothing can be saved here; the hint says what to change.
        """
        ...

    def save(self, identity: Identity) -> None:
        """Put an identity in place of the one that is there.

        An interruption at any point leaves the old one or the new one loadable.

        Raises:
            IdentityError: it is not saved; what was there still is.
        """
        ...
