"""Who still uses an identity that was replaced.

A request holds a lease on the generation that it presents, from before it looks for a connection
until its response is closed. A retired generation gives out no new leases, so their number only
falls; at zero nobody will use the old certificate again, and it may be revoked.

There is no lock: leases also end in finalizers, which run between any two instructions of a
thread that may hold one. Adding to a set, removing from it and counting it are atomic.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, NamedTuple, Protocol
from weakref import WeakSet, finalize

from mtls_client.events import GenerationDrained, Observer, emit

if TYPE_CHECKING:
    from mtls_client._tls.inner import InnerContext
    from mtls_client.identity import Identity

__all__ = ["Generation", "Lease", "Leased", "User", "Users"]


class Generation:
    """One identity of a credential and the leases on it.

    Args:
        identity: what is presented.
        number: counts the identities of the credential, from 1.
        changed: called after something ended in a retired generation.

    Attributes:
        retired: another identity has taken over.
        starting: leases whose requests may still open or take a connection.
        leases: all leases.
    """

    __slots__ = ("changed", "identity", "leases", "number", "retired", "starting")

    def __init__(
        self, identity: Identity, number: int, changed: Callable[[Generation], None]
    ) -> None:
        self.identity = identity
        self.number = number
        self.changed = changed
        self.retired = False
        self.starting: set[Lease] = set()
        self.leases: set[Lease] = set()

    def lease(self) -> Lease | None:
        """Return a lease, or None if another identity has taken over."""
        lease = Lease(self)
        self.leases.add(lease)
        self.starting.add(lease)
        # after it was added: `retire` marks first and looks then, so one of the two notices
        if self.retired:
            lease.release()
            return None
        return lease

    def retire(self) -> None:
        """Give out no more leases."""
        self.retired = True
        self.changed(self)

    def __repr__(self) -> str:
        state = "retired" if self.retired else "current"
        return f"<Generation {self.number}: {state}, {len(self.leases)} leases, {self.identity!r}>"


class Lease:
    """The right of one request to use a generation; every method may be called again."""

    __slots__ = ("__weakref__", "generation")

    def __init__(self, generation: Generation) -> None:
        self.generation = generation

    def begun(self) -> None:
        """Say that the request has its connection and the head of the response."""
        generation = self.generation
        generation.starting.discard(self)
        if generation.retired:
            generation.changed(generation)

    def release(self) -> None:
        """Say that the response is closed, or that there is none."""
        generation = self.generation
        generation.starting.discard(self)
        generation.leases.discard(self)
        if generation.retired:
            generation.changed(generation)

    def release_with(self, holder: object) -> None:
        """Release it when an object is collected that was never closed."""
        finalize(holder, self._abandoned).atexit = False

    def _abandoned(self) -> None:
        generation = self.generation
        if self not in generation.leases:
            return
        generation.starting.discard(self)
        generation.leases.discard(self)
        if generation.retired:
            # not here: the collector may have interrupted a thread that holds a lock
            with contextlib.suppress(RuntimeError):  # the interpreter is shutting down
                threading.Thread(target=generation.changed, args=(generation,), daemon=True).start()


class User(Protocol):
    """What presents the identities of a credential."""

    def prepare(self, identity: Identity) -> None:
        """Get ready to present an identity that will be the current one in a moment.

        Raises:
            MTLSError: it cannot be presented.
        """
        ...

    def drain(self, generation: Generation) -> None:
        """Close what a retired generation does not need any more."""
        ...


class Users:
    """What presents the identities of one credential, and the generations not yet drained.

    Args:
        observers: told of every generation that is.
    """

    def __init__(self, observers: Iterable[Observer]) -> None:
        self._observers = observers
        self._users: WeakSet[User] = WeakSet()
        self._draining: set[Generation] = set()
        self.after_fork()

    def after_fork(self) -> None:
        """Start over in a child, which uses nothing yet."""
        self._lock = threading.Lock()
        self._drained = threading.Condition()
        self._draining.clear()

    def add(self, user: User) -> None:
        """Tell a user of changes for as long as it lives."""
        with self._lock:
            self._users.add(user)

    def all(self) -> list[User]:
        """Return those that are still alive."""
        with self._lock:
            return list(self._users)

    def draining(self, generation: Generation) -> None:
        """Say that a generation is about to be retired."""
        with self._drained:
            self._draining.add(generation)

    def settled(self, generation: Generation) -> None:
        """Let users of a retired generation clean up; tell when its last lease is gone."""
        for user in self.all():
            user.drain(generation)
        if generation.leases:
            return
        with self._drained:
            if generation not in self._draining:
                return
            self._draining.remove(generation)
            self._drained.notify_all()
        identity = generation.identity
        emit(
            self._observers,
            GenerationDrained(
                generation=generation.number,
                fingerprint=identity.fingerprint,
                serial=identity.serial,
            ),
        )

    def wait_drained(self, timeout: float | None) -> bool:
        """Wait until no generation is draining; return False after the timeout."""
        with self._drained:
            return self._drained.wait_for(lambda: not self._draining, timeout)


class Leased(NamedTuple):
    """A context to connect with, and the lease on the identity that it presents.

    Attributes:
        context: the inner context.
        lease: None if it presents nothing.
    """

    context: InnerContext
    lease: Lease | None

    def begun(self) -> None:
        """See `Lease.begun`."""
        if self.lease is not None:
            self.lease.begun()

    def release(self) -> None:
        """See `Lease.release`."""
        if self.lease is not None:
            self.lease.release()

    def release_with(self, holder: object) -> None:
        """See `Lease.release_with`."""
        if self.lease is not None:
            self.lease.release_with(holder)
