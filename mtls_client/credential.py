"""The live holder of the current identity: reloaded, renewed, shared, closed."""

from __future__ import annotations

import datetime
from collections.abc import Callable, Iterable
from typing import NoReturn, Self

from mtls_client._expiry import Expiry
from mtls_client._holder import Holder
from mtls_client._kept import Kept
from mtls_client._os.forking import renewed_after_fork
from mtls_client._polling import Threads, reload_on
from mtls_client._renewal import Renewal
from mtls_client.errors import ConfigurationError
from mtls_client.events import IdentityExpiring, IdentityRenewed, Observer, RenewalFailed, only
from mtls_client.identity import Identity
from mtls_client.leases import User
from mtls_client.renewers.base import AnyRenewer
from mtls_client.renewers.function import renewer_of
from mtls_client.renewers.policy import RenewalPolicy
from mtls_client.sources.base import Source

__all__ = ["Credential"]


class Credential(Holder):
    """Holds the identity that a source loads; may be shared by many sessions and threads.

    A change of the source is noticed by its content, at the next request after `poll_interval`,
    and taken over once the new identity has proved good. While it is not (half-written,
    mismatched, unreadable, gone, expired), the last good one stays, `ReloadFailed` says why, and
    the source is tried again.

    With a renewer, a thread has the identity renewed when it is due, from the first use in a
    `with` block or a session until `close`. Of several processes over one source one renews, and
    the others take over what it saves.

    Args:
        source: where the identity comes from, and where a renewed one is saved.
        renewer: has a new identity issued: one of `mtls_client.renewers`, or a function that
            takes the present identity and returns the new one.
        policy: when to renew, how often to try, when to warn.
        auto: renew without being asked; if not, only `renew` does.
        on_renewed: called with the `IdentityRenewed` event.
        on_renewal_failed: called with each `RenewalFailed` event.
        on_expiring: called with each `IdentityExpiring` event.
        poll_interval: the shortest time between two looks at the source, in seconds. A source
            that is costly to ask may have a longer one of its own.
        watch: look at the source from a thread of its own, also while there are no requests.
        observers: told of every reload, renewal, failure and drained generation.
        present_unusable: present an identity that is expired, not valid yet, weak or not
            meant for client authentication, and let the server decide. Without it, such an
            identity is refused here, with an error that says what is wrong.
        deferred: load when the identity is first needed; an async client then does so in a
            worker thread.

    Raises:
        IdentityError: the identity cannot be loaded, or is not usable; one that has expired is
            renewed at once, if that can be had.

    Example:
        >>> source = FileSource("tls.crt", "tls.key")
        >>> with Credential(source, renewer=my_renewer) as credential:  # doctest: +SKIP
        ...     session = Session(credential)
    """

    def __init__(
        self,
        source: Source,
        *,
        renewer: AnyRenewer | None = None,
        policy: RenewalPolicy = RenewalPolicy(),
        auto: bool = True,
        on_renewed: Callable[[IdentityRenewed], object] | None = None,
        on_renewal_failed: Callable[[RenewalFailed], object] | None = None,
        on_expiring: Callable[[IdentityExpiring], object] | None = None,
        poll_interval: float = 1.0,
        watch: bool = False,
        observers: Iterable[Observer] = (),
        present_unusable: bool = False,
        deferred: bool = False,
    ) -> None:
        hooks = [
            (IdentityRenewed, on_renewed),
            (RenewalFailed, on_renewal_failed),
            (IdentityExpiring, on_expiring),
        ]
        observers = (*observers, *(only(kind, hook) for kind, hook in hooks if hook))
        kept, expiry = Kept(source), Expiry(policy, observers)
        self._renewal: Renewal | None = None
        if renewer is not None:
            self._renewal = Renewal(kept, renewer_of(renewer), policy, expiry, observers)
        super().__init__(
            kept,
            poll_interval=poll_interval,
            observers=observers,
            expiry=expiry,
            present_unusable=present_unusable,
            replaced=self._renewal.replaced if self._renewal else None,
        )
        self._auto = auto and renewer is not None
        self._threads = Threads(self)
        renewed_after_fork(self)
        if not deferred:
            self._begin()
        if watch:
            self._threads.start(_watch)

    @classmethod
    def of(cls, credential: Credential | Source, *, deferred: bool = False) -> Credential:
        """Return the credential itself, or a new one around a bare source.

        Args:
            credential: either.
            deferred: load a bare source when its identity is first needed.
        """
        if isinstance(credential, Credential):
            return credential
        return cls(credential, deferred=deferred)

    @property
    def renewal_due(self) -> datetime.datetime:
        """When the identity is to be renewed, in UTC; its issuer may be asked for that.

        Raises:
            ConfigurationError: there is no renewer.
        """
        return self._renewing.due(self.identity)

    def renew(self, *, only_if_due: bool = False) -> Identity:
        """Renew the identity now, or wait for another process that is at it.

        Args:
            only_if_due: do nothing if it is not due.

        Returns:
            The current identity: what the renewer has issued, or what the other process has.

        Raises:
            RenewalError: there is no new identity; the present one stays in place.
            ConfigurationError: there is no renewer.
        """
        self._renewing.renew(self, only_if_due=only_if_due)
        return self.identity

    def reload_on(self, number: int | None = None) -> None:
        """Look at the source whenever the process gets a signal. Call it in the main thread.

        Args:
            number: the signal; SIGHUP if None. A handler that is there already is still called.

        Raises:
            ConfigurationError: this system has no SIGHUP, or this is not the main thread.
        """
        reload_on(self, number)

    def attach(self, user: User) -> None:
        """Keep a user told of changes for as long as it lives; called by contexts.

        Raises:
            IdentityError: it cannot present the current identity.
        """
        super().attach(user)
        self._renew_in_time()

    def close(self) -> None:
        """Stop looking at the source and renewing; the identity stays what it is.

        May be called again.
        """
        self._auto = False
        self._threads.stop()
        self._changes.due = float("inf")

    def __enter__(self) -> Self:
        self._renew_in_time()
        return self

    def __exit__(self, *_exception: object) -> None:
        self.close()

    def after_fork(self) -> None:
        """Start over in a child, with threads of its own."""
        super().after_fork()
        if self._renewal is not None:
            self._renewal.after_fork()
        self._threads.after_fork()

    def __repr__(self) -> str:
        if self._generation is None:
            return f"<Credential: {self._source!r}, not loaded yet>"
        return f"<Credential: {self._generation.identity!r}, generation {self._generation.number}>"

    def __reduce__(self) -> NoReturn:
        raise ConfigurationError(
            "a credential holds a private key and cannot be pickled",
            hint="make one in each process",
            code="pickle",
        )

    @property
    def _renewing(self) -> Renewal:
        if self._renewal is None:
            raise ConfigurationError(
                "this credential has no renewer",
                hint="write Credential(source, renewer=…); see mtls_client.renewers",
                code="renewer_missing",
            )
        return self._renewal

    def _renew_in_time(self) -> None:
        if self._auto and self._renewal is not None:
            self._renewal.automatic = True
            self._threads.start(_renew)


def _watch(credential: Credential) -> float:
    credential.refresh()
    return credential.pause()


def _renew(credential: Credential) -> float:
    return credential._renewing.step(credential)
