"""A source in front of a source, which keeps what that one cannot take."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator

from mtls_client._os.locks import locked
from mtls_client.errors import (
    ConfigurationError,
    IdentityError,
    LockTimeoutError,
    MTLSError,
    RenewalError,
)
from mtls_client.identity import Identity, with_roots
from mtls_client.sources._digests import digest_of
from mtls_client.sources.base import Savable, Source, Watchable

__all__ = ["Kept"]


class Kept:
    """Loads what its source holds, or a renewed identity that the source could not take.

    Args:
        source: the source.

    Raises:
        ConfigurationError: it is none.

    Attributes:
        unsaved: the renewed identity that only this process has, or None.
    """

    def __init__(self, source: Source) -> None:
        if not callable(getattr(source, "load", None)):
            raise ConfigurationError(
                f"not a source: {type(source).__name__}",
                hint="write FileSource('client.p12', password=…) or "
                "FileSource('client.pem', 'client.key')",
                code="source_type",
            )
        self.source = source
        self.unsaved: Identity | None = None
        self._replaced: set[str] = set()
        self.poll_interval: float = getattr(source, "poll_interval", 0.0)
        self.after_fork()

    def after_fork(self) -> None:
        """Start over in a child."""
        self._lock = threading.Lock()

    @property
    def watchable(self) -> bool:
        """Whether a change of the source can be noticed."""
        return isinstance(self.source, Watchable)

    def load(self) -> Identity:
        """Load the identity: what the source holds, unless that is what was replaced.

        Raises:
            IdentityError: the source cannot be loaded, and nothing was renewed either.
        """
        unsaved = self.unsaved
        try:
            loaded = self.source.load()
        except Exception:
            if unsaved is None:
                raise
            return unsaved
        if unsaved is None:
            return loaded
        if loaded.fingerprint in self._replaced:
            return unsaved
        self._forget(unsaved)  # there is a newer one, of whoever put it there
        return loaded

    def digest(self) -> bytes:
        """Return a digest that changes with what `load` returns."""
        below = self.source.digest() if isinstance(self.source, Watchable) else b""
        unsaved = self.unsaved
        return digest_of(below, unsaved.fingerprint.encode() if unsaved else b"")

    def keep(self, new: Identity, current: Identity) -> None:
        """Load a renewed identity from now on, wherever the current one would be."""
        with self._lock:
            self._replaced.add(current.fingerprint)
            self.unsaved = new if new.roots else with_roots(new, current.roots)

    def save(self) -> MTLSError | None:
        """Put what is kept into the source; return why that cannot be done.

        Nothing is written where it is already: a program that renews may write the files itself.
        """
        new = self.unsaved
        if new is None or self._holds(new):
            return None
        if not isinstance(self.source, Savable):
            return self.complaint()
        try:
            self.source.save(new)
        except MTLSError as error:
            return error
        except Exception as error:  # a source of somebody else's, whose text may hold anything
            return self._failed(f"{type(error).__name__} in save()", "tell its authors")
        if not self._holds(new):
            return self._failed("it does not load what it has saved", "look what is in its way")
        return None

    def _holds(self, new: Identity) -> bool:
        """Tell whether the source has a renewed identity, which need not be kept then."""
        try:
            loaded = self.source.load()
        except Exception:  # the damage is told by whoever needs what is there
            return False
        if loaded.fingerprint != new.fingerprint:
            return False
        self._forget(new)
        return True

    @property
    def owed(self) -> bool:
        """Whether something is kept that the source may take later."""
        return self.unsaved is not None and isinstance(self.source, Savable)

    def complaint(self) -> MTLSError | None:
        """Return why nothing could be saved now, as far as that can be known."""
        if isinstance(self.source, Savable):
            try:
                self.source.check_savable()
            except MTLSError as error:
                return error
            return None
        if isinstance(self.source, Identity):
            return None  # who passes a value expects no file to change
        return IdentityError(
            f"{self.source!r}: a renewed identity cannot be saved here, and is lost at the end of "
            "the process",
            hint="use a FileSource, DirectorySource or KeyringSource, or save it in on_renewed=",
            code="not_savable",
        )

    @contextlib.contextmanager
    def exclusive(self, timeout: float) -> Iterator[None]:
        """Keep other processes from renewing what is here.

        Args:
            timeout: how many seconds to wait for another one.

        Raises:
            LockTimeoutError: another process is still at it.
            RenewalError: there is no place for a lock.
        """
        if not isinstance(self.source, Savable):
            yield  # what each process has in memory is its own
            return
        try:
            lock = locked(self.source.lock, timeout)
            lock.__enter__()
        except TimeoutError as error:
            raise LockTimeoutError(
                f"another process has been renewing {self.source!r} for {timeout:g} seconds",
                hint="wait for it, or look what it is doing",
            ) from error
        except Exception as error:
            raise RenewalError(
                f"there is no place for the lock of {self.source!r} ({type(error).__name__})",
                hint="set XDG_RUNTIME_DIR or HOME to a folder that this user may write to",
                code="renewal_lock",
            ) from error
        try:
            yield
        finally:
            lock.__exit__(None, None, None)

    def __repr__(self) -> str:
        return repr(self.source)

    def _forget(self, unsaved: Identity) -> None:
        """Keep an identity no longer; another one may be kept since the caller has looked."""
        with self._lock:
            if self.unsaved is unsaved:
                self.unsaved = None
                self._replaced.clear()

    def _failed(self, what: str, hint: str) -> IdentityError:
        return IdentityError(f"{self.source!r}: {what}", hint=hint, code="save_failed")
