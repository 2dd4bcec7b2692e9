"""When the identity of a credential is renewed, by whom, and what becomes of the answer.

Rules of this file: the present identity stays until its replacement has been issued, checked,
saved and taken over, in this order; who has waited for a lock looks again; nothing that a renewer,
an issuer or a source does ends the thread.
"""

from __future__ import annotations

import contextlib
import datetime
import threading
import time
import warnings
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from mtls_client._issuing import issued, name_of
from mtls_client.errors import (
    IdentityExpiredError,
    LockTimeoutError,
    MTLSError,
    RenewalError,
    RenewalRefusedError,
)
from mtls_client.events import Event, IdentityRenewed, IdentitySaved, Observer, RenewalFailed, emit
from mtls_client.identity import Identity, IdentityWarning
from mtls_client.renewers.base import RenewalWindow, Renewer, Scheduling

if TYPE_CHECKING:
    from mtls_client._expiry import Expiry
    from mtls_client._kept import Kept
    from mtls_client.credential import Credential
    from mtls_client.renewers.policy import RenewalPolicy

__all__ = ["Renewal"]

_LONGEST = datetime.timedelta(minutes=1)
"""Between two looks at the wall clock, which jumps when a machine has slept."""

_WAIT = 300.0
"""Seconds that a caller waits for another process that renews the same identity."""

_WINDOW = datetime.timedelta(hours=6)
"""Between two questions to an issuer that does not say when to ask again (RFC 9773 §4.3)."""

_HOPELESS = 1_000
"""As many failures in a row as make for the longest pause."""

_DAY = 86_400.0
"""Seconds for which an issuer is left alone, at most, whatever it asks for."""

_SHORTEST = 0.01
_LONG_AGO = datetime.datetime.min.replace(tzinfo=datetime.UTC)


def _now() -> datetime.datetime:
    return datetime.datetime.now(datetime.UTC)


@dataclass(frozen=True, slots=True)
class _Pause:
    """A time in which nothing is done; it ends also when the clock is set back before it."""

    begin: datetime.datetime = _LONG_AGO
    end: datetime.datetime = _LONG_AGO

    def over(self, now: datetime.datetime) -> bool:
        return not self.begin <= now < self.end


class Renewal:
    """Renews one identity, at the call of a user or of a thread.

    Args:
        kept: where it is, and where its replacement goes.
        renewer: has it issued.
        policy: says when.
        expiry: warns where that comes to nothing.
        observers: told of renewals and failures.
        clock: the wall clock.

    Attributes:
        automatic: a thread calls `step`, so failures are tried again.
    """

    def __init__(
        self,
        kept: Kept,
        renewer: Renewer,
        policy: RenewalPolicy,
        expiry: Expiry,
        observers: Iterable[Observer],
        clock: Callable[[], datetime.datetime] = _now,
    ) -> None:
        self._kept = kept
        self._renewer = renewer
        self._policy = policy
        self._expiry = expiry
        self._observers = observers
        self._clock = clock
        self.automatic = False
        self._about = ""
        self._failures = 0
        self._pause = _Pause()
        self._window: RenewalWindow | None = None
        self._asked = _Pause()
        self.after_fork()
        if (complaint := kept.complaint()) is not None:
            warnings.warn(f"{complaint.args[0]}; {complaint.hint}", IdentityWarning, stacklevel=4)

    def after_fork(self) -> None:
        """Start over in a child."""
        self._lock = threading.Lock()
        self._renewing: int | None = None
        self._blocked: datetime.datetime | None = None

    def renew(
        self, credential: Credential, *, only_if_due: bool = False, wait: float | None = None
    ) -> None:
        """Renew the identity of a credential, or take over what another process has renewed.

        Args:
            credential: holds it.
            only_if_due: do nothing if it is not due.
            wait: how many seconds to wait for another process that is at it; five minutes if None.

        Raises:
            RenewalError: there is no new identity; the present one stays.
        """
        before = credential.identity
        with self._telling(credential) as events:
            with self._exclusive(_WAIT if wait is None else wait):
                credential.refresh(now=True)
                current = credential.identity
                self._noticed(current)
                if self.due(current) > self._clock() if only_if_due else current is not before:
                    return
                self._issue(current, events)
            self._take_over(credential)

    def replaced(self, expired: Identity, events: list[Event]) -> Identity:
        """Renew an identity that has expired before it could be used.

        Args:
            expired: the identity.
            events: where to add what is to be told.

        Raises:
            IdentityExpiredError: there is no new one.
        """
        try:
            with self._exclusive(_WAIT):
                found = self._kept.load()
                if found.fingerprint == expired.fingerprint:
                    self._issue(found, events)
                    found = self._kept.load()
                return found
        except RenewalError as error:
            self._failed(expired, error, events)
            raise IdentityExpiredError(
                f"{expired.subject} expired on {expired.not_after:%Y-%m-%d %H:%M} UTC, and could "
                f"not be renewed: {error.args[0]}",
                hint=error.hint,
            ) from error

    def step(self, credential: Credential) -> float:
        """Do what it is time for; return in how many seconds to look again, at most a minute."""
        self._noticed(credential.identity)
        now = self._clock()
        if self._pause.over(now):
            try:
                if self._kept.owed:
                    self._save_again(credential)
                if now >= self.due(credential.identity):
                    self.renew(credential, only_if_due=True, wait=0.0)
            except LockTimeoutError as error:
                self._held_up(credential, error, now)
            except MTLSError:
                pass  # RenewalFailed tells of it
        identity, now = credential.identity, self._clock()
        self._noticed(identity)
        wanted = now if self._kept.owed else self.due(identity)
        looks = [now + _LONGEST, max(wanted, self._pause.end)]
        if (warning := self._expiry.look(identity, now)) is not None:
            looks.append(warning)
        return max((min(looks) - now).total_seconds(), _SHORTEST)

    def due(self, identity: Identity) -> datetime.datetime:
        """Return when an identity is due, in UTC, by its issuer if it says so, or the policy."""
        now = self._clock()
        if isinstance(self._renewer, Scheduling) and self._asked.over(now):
            with contextlib.suppress(Exception):  # without a window, the policy decides
                window = self._renewer.window(identity)
                self._window = window if isinstance(window, RenewalWindow) else None
            pause = _seconds(self._window.retry_after) if self._window else _WINDOW
            self._asked = _Pause(now, now + max(pause, self._policy.pause(identity, 0)))
        return self._policy.due(identity, self._window)

    def _held_up(
        self, credential: Credential, error: LockTimeoutError, now: datetime.datetime
    ) -> None:
        """Wait for what another process does, which is taken over later; tell if it hangs."""
        self._blocked = self._blocked or now
        self._pause = _Pause(now, now + self._policy.pause(credential.identity, 0))
        if (now - self._blocked).total_seconds() < _WAIT:
            return
        self._blocked = None
        with self._telling(credential) as events:
            self._failed(credential.identity, error, events)

    def _noticed(self, identity: Identity) -> None:
        """Forget what concerned another identity."""
        if identity.fingerprint != self._about:
            self._about, self._failures = identity.fingerprint, 0
            self._window, self._asked = None, _Pause()
            now = self._clock()
            self._pause = _Pause(now, min(self._pause.end, now + self._policy.pause(identity, 0)))

    def _issue(self, current: Identity, events: list[Event]) -> None:
        started = time.monotonic()
        new = issued(self._renewer, current)
        self._kept.keep(new, current)
        failure = self._kept.save()
        now = self._clock()
        self._pause = _Pause(now, now + self._policy.pause(new, 0))
        events.append(
            IdentityRenewed(
                replaced=current.fingerprint,
                fingerprint=new.fingerprint,
                serial=new.serial,
                not_after=new.not_after,
                renewer=name_of(self._renewer),
                seconds=time.monotonic() - started,
                saved=self._kept.unsaved is None,
                notes=new.notes,
            )
        )
        if failure is not None:
            self._failed(new, failure, events)

    def _take_over(self, credential: Credential) -> None:
        try:
            self._noticed(credential.reload())
        except Exception as error:
            text = error.args[0] if isinstance(error, MTLSError) else type(error).__name__
            raise RenewalError(
                f"a new identity was issued, and cannot be taken over: {text}",
                hint="look what the issuer has changed; the present identity stays in use",
                code="renewal_reload",
            ) from error

    def _save_again(self, credential: Credential) -> None:
        with self._telling(credential) as events, self._exclusive(0.0):
            credential.refresh(now=True)  # another process may have put a newer one there
            kept = self._kept.unsaved
            if kept is None:
                return
            failure = self._kept.save()
            if failure is not None:
                self._failed(kept, failure, events)
                return
            self._failures = 0
            events.append(IdentitySaved(fingerprint=kept.fingerprint, serial=kept.serial))

    def _failed(self, present: Identity, error: MTLSError, events: list[Event]) -> None:
        self._failures += 1
        refused = isinstance(error, RenewalRefusedError)
        pause = self._policy.pause(present, _HOPELESS if refused else self._failures)
        if isinstance(error, RenewalError) and error.retry_after is not None:
            pause = max(pause, _seconds(error.retry_after))
        now = self._clock()
        self._pause = _Pause(now, now + pause)
        events.append(
            RenewalFailed(
                code=error.code,
                message=str(error.args[0]),
                hint=error.hint,
                attempts=self._failures,
                retryable=not refused,
                retry_in=pause.total_seconds() if self.automatic else None,
                not_after=present.not_after,
            )
        )

    @contextlib.contextmanager
    def _exclusive(self, wait: float) -> Iterator[None]:
        """Keep other threads and processes from renewing the same.

        Raises:
            LockTimeoutError: one of them is still at it.
        """
        lock = self._lock
        if self._renewing == threading.get_ident():
            raise LockTimeoutError(
                f"this thread is renewing {self._kept!r} already",
                hint="do not renew from what is called while it is renewed",
            )
        if not lock.acquire(timeout=wait):
            raise LockTimeoutError(
                f"another thread has been renewing {self._kept!r} for {wait:g} seconds",
                hint="wait for it; look at what the renewer waits for",
            )
        self._renewing = threading.get_ident()
        try:
            with self._kept.exclusive(wait):
                self._blocked = None
                yield
        finally:
            self._renewing = None
            lock.release()

    @contextlib.contextmanager
    def _telling(self, credential: Credential) -> Iterator[list[Event]]:
        """Collect events and what fails, and tell of it when no lock is held any more."""
        events: list[Event] = []
        try:
            yield events
        except LockTimeoutError:  # somebody else is at it, which is no failure
            raise
        except MTLSError as error:
            self._failed(credential.identity, error, events)
            raise
        finally:
            for event in events:
                emit(self._observers, event)


def _seconds(number: float) -> datetime.timedelta:
    return datetime.timedelta(seconds=min(max(0.0, number), _DAY))  # which makes 0 of a NaN
