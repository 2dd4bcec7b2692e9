"""The current identity of a source: what is held, taken over, kept and drained.

Rules of this file: readers take one reference and never wait for a load while the identity they
have is good; a change is a new value put in the old one's place after everything about it has
been checked, down to the contexts that will present it.
"""

from __future__ import annotations

import datetime
import threading
import time
from collections.abc import Callable, Iterable

from mtls_client._expiry import Expiry
from mtls_client._formats.passwords import away_from_the_loop
from mtls_client._kept import Kept
from mtls_client._polling import Changes
from mtls_client.errors import IdentityExpiredError, MTLSError
from mtls_client.events import Event, IdentityReloaded, Observer, ReloadFailed, emit
from mtls_client.identity import Identity
from mtls_client.leases import Generation, Lease, User, Users

__all__ = ["Holder"]

_NONE_LEFT = datetime.timedelta()


class Holder:
    """Holds the identity that a source loads, and takes over what is new there once it is good.

    Args:
        source: where the identity comes from.
        poll_interval: the shortest time between two looks at the source, in seconds.
        observers: told of every reload, failed reload and drained generation.
        expiry: warns of the end of the identity.
        present_unusable: hold an identity that servers will refuse, too.
        replaced: returns another identity for one that has expired before there was any, and
            adds the events to be told when no lock is held any more.
    """

    def __init__(
        self,
        source: Kept,
        *,
        poll_interval: float,
        observers: Iterable[Observer],
        expiry: Expiry,
        present_unusable: bool,
        replaced: Callable[[Identity, list[Event]], Identity] | None,
    ) -> None:
        self._source = source
        self._changes = Changes(source, poll_interval)
        self._observers = tuple(observers)
        self._expiry = expiry
        self._present_unusable = present_unusable
        self._replaced = replaced
        self._users = Users(self._observers)
        self._generation: Generation | None = None
        self._lock = threading.Lock()

    @property
    def identity(self) -> Identity:
        """The current identity."""
        return self.current().identity

    @property
    def generation(self) -> int:
        """How many identities this credential has held, the current one included."""
        return self.current().number

    @property
    def stale(self) -> bool:
        """Whether it is time for `refresh`, which may read files and take a while."""
        return self._changes.overdue and not (self._generation is not None and self._lock.locked())

    def pause(self) -> float:
        """Return in how many seconds it is time for `refresh` again, at most a minute."""
        return min(max(self._changes.due - time.monotonic(), 0.01), 60.0)

    def current(self) -> Generation:
        """Return the current generation without looking at the source."""
        if self._generation is None:
            self.refresh()
        assert self._generation is not None, "refresh loads or raises"
        return self._generation

    def lease(self) -> Lease:
        """Return a lease on the current generation."""
        while (lease := self.current().lease()) is None:
            pass  # it was replaced in between; the next one is in place already
        return lease

    def refresh(self, *, now: bool = False) -> None:
        """Look at the source if it is time to, and take over what has changed.

        Never raises while there is a good identity; one thread looks, others go on with what
        they have.

        Args:
            now: look although it is not time yet.

        Raises:
            IdentityError: there is no identity yet, and the source cannot be loaded.
        """
        current = self._generation
        if current is not None and not now and not self.stale:
            return
        # who has an identity that still works goes on with it while another thread looks
        good = current is not None and current.identity.expires_in() > _NONE_LEFT
        if not self._lock.acquire(blocking=now or not good):
            return
        events: list[Event] = []
        retired = None
        try:
            first = self._generation is None
            if first or ((now or self._changes.overdue) and self._changes.seen(now=now)):
                retired = self._attempt(events)
        except Exception:
            if first:
                raise
        finally:
            self._lock.release()
            self._tell(retired, events)
        if self._generation is not None:
            now_utc = datetime.datetime.now(datetime.UTC)
            self._expiry.look(self._generation.identity, now_utc)

    def refresh_aside(self) -> None:
        """Do what `refresh` does, in a thread that must not hold up the others."""
        with away_from_the_loop():
            self.refresh()

    def refresh_soon(self) -> None:
        """Look at the source in a thread of its own if it is time to; for event loops."""
        if self._generation is None:
            self.refresh()
        elif self.stale:
            threading.Thread(
                target=self.refresh_aside, name="mtls-client refresh", daemon=True
            ).start()

    def reload(self) -> Identity:
        """Load the source again and present its identity in every handshake from now on.

        Returns:
            The current identity; the same object as before if nothing has changed.

        Raises:
            IdentityError: the source cannot be loaded or is not usable; the last good
                identity stays in place.
        """
        events: list[Event] = []
        retired = None
        try:
            with self._lock:
                retired = self._attempt(events)
        finally:
            self._tell(retired, events)
        return self.identity

    def wait_drained(self, timeout: float | None = None) -> bool:
        """Wait until no request uses an identity that was replaced.

        Then the old certificate may be revoked without failing a request.

        Args:
            timeout: the longest wait in seconds; None waits as long as it takes.

        Returns:
            Whether that is so; False after the timeout.
        """
        return self._users.wait_drained(timeout)

    def attach(self, user: User) -> None:
        """Keep a user told of changes for as long as it lives; called by contexts.

        Raises:
            IdentityError: it cannot present the current identity.
        """
        with self._lock:
            if self._generation is not None:
                user.prepare(self._generation.identity)
            self._users.add(user)

    def after_fork(self) -> None:
        """Start over in a child: nobody uses anything here yet."""
        self._lock = threading.Lock()
        self._source.after_fork()
        self._users.after_fork()
        self._expiry.after_fork()
        if (old := self._generation) is not None:
            self._generation = Generation(old.identity, old.number, self._users.settled)

    def _begin(self) -> None:
        """Load the first identity where nobody else can be loading it."""
        events: list[Event] = []
        try:
            self._take_over(events)
        finally:
            self._tell(None, events)

    def _attempt(self, events: list[Event]) -> Generation | None:
        try:
            return self._take_over(events)
        except Exception as error:
            # the text of an error that is not ours may hold anything
            code, message = "source_failed", f"{type(error).__name__} in load()"
            if isinstance(error, MTLSError):
                code, message = error.code, str(error.args[0])
            retry_in, attempts = self._changes.failed(), self._changes.failures
            events.append(
                ReloadFailed(code=code, message=message, attempts=attempts, retry_in=retry_in)
            )
            raise

    def _take_over(self, events: list[Event]) -> Generation | None:
        """Load, check, put in place; return the generation that was replaced."""
        self._changes.look()
        identity = self._source.load()
        if not self._present_unusable:
            identity = self._usable(identity, events)
        old = self._generation
        if old is not None and _same(identity, old.identity):
            self._changes.loaded()
            return None
        for user in self._users.all():
            user.prepare(identity)
        self._changes.loaded()
        if old is None:
            self._generation = Generation(identity, 1, self._users.settled)
            return None
        self._users.draining(old)
        self._generation = Generation(identity, old.number + 1, self._users.settled)
        events.append(
            IdentityReloaded(
                generation=old.number + 1,
                fingerprint=identity.fingerprint,
                serial=identity.serial,
                not_after=identity.not_after,
            )
        )
        return old

    def _usable(self, identity: Identity, events: list[Event]) -> Identity:
        try:
            identity.require_usable()
        except IdentityExpiredError:
            if self._replaced is None or self._generation is not None:
                raise
            identity = self._replaced(identity, events)
            identity.require_usable()
        return identity

    def _tell(self, retired: Generation | None, events: list[Event]) -> None:
        for event in events:
            emit(self._observers, event)
        if retired is not None:
            retired.retire()


def _same(one: Identity, other: Identity) -> bool:
    return one.certificate_pem() == other.certificate_pem() and one.roots == other.roots
