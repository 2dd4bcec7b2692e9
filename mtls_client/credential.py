"""The live holder of the current identity.

Rule of this file: readers take one reference and never a lock; a change is a new value put in
the old one's place after everything about it has been checked.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable
from typing import TYPE_CHECKING

from mtls_client.errors import ConfigurationError
from mtls_client.events import IdentityReloaded, Observer, emit
from mtls_client.sources.base import Source

if TYPE_CHECKING:
    from mtls_client.identity import Identity

__all__ = ["Credential"]


class Credential:
    """Holds the identity that a source loads; may be shared by many sessions and threads.

    Args:
        source: where the identity comes from.
        observers: told of every reload.
        present_unusable: present an identity that is expired, not valid yet, weak or not
            meant for client authentication, and let the server decide. Without it, such an
            identity is refused here, with an error that says what is wrong.

    Raises:
        IdentityError: the identity cannot be loaded, or is not usable.

    Example:
        >>> credential = Credential(FileSource("client.pem", "client.key"))  # doctest: +SKIP
        >>> session = Session(credential)  # doctest: +SKIP
    """

    def __init__(
        self,
        source: Source,
        *,
        observers: Iterable[Observer] = (),
        present_unusable: bool = False,
    ) -> None:
        if not callable(getattr(source, "load", None)):
            raise ConfigurationError(
                f"not a source: {type(source).__name__}",
                hint="write FileSource('client.p12', password=…) or "
                "FileSource('client.pem', 'client.key')",
                code="source_type",
            )
        self._source = source
        self._observers = tuple(observers)
        self._present_unusable = present_unusable
        self._lock = threading.Lock()
        self._current = (self._loaded(), 1)

    @classmethod
    def of(cls, credential: Credential | Source) -> Credential:
        """Return the credential itself, or a new one around a bare source."""
        return credential if isinstance(credential, Credential) else cls(credential)

    @property
    def identity(self) -> Identity:
        """The current identity."""
        return self._current[0]

    @property
    def generation(self) -> int:
        """How many identities this credential has held, the current one included."""
        return self._current[1]

    def reload(self) -> Identity:
        """Load the source again and present its identity in every handshake from now on.

        Returns:
            The current identity; the same object as before if nothing has changed.

        Raises:
            IdentityError: the source cannot be loaded or is not usable; the last good
                identity stays in place.
        """
        with self._lock:
            identity = self._loaded()
            current, generation = self._current
            if identity.certificate_pem() == current.certificate_pem():
                return current
            self._current = (identity, generation + 1)
        emit(
            self._observers,
            IdentityReloaded(
                generation=generation + 1,
                fingerprint=identity.fingerprint,
                serial=identity.serial,
                not_after=identity.not_after,
            ),
        )
        return identity

    def __repr__(self) -> str:
        return f"<Credential: {self.identity!r}, generation {self.generation}>"

    def _loaded(self) -> Identity:
        identity = self._source.load()
        if not self._present_unusable:
            identity.require_usable()
        return identity
