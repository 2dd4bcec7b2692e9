"""Warnings that an identity expires soon, once for each threshold that has passed."""

from __future__ import annotations

import datetime
import threading
from collections.abc import Iterable
from typing import TYPE_CHECKING

from mtls_client.events import IdentityExpiring, Observer, emit

if TYPE_CHECKING:
    from mtls_client.identity import Identity
    from mtls_client.renewers.policy import RenewalPolicy

__all__ = ["Expiry"]


class Expiry:
    """Looks at the thresholds of a policy.

    Args:
        policy: has them.
        observers: told of each.
    """

    def __init__(self, policy: RenewalPolicy, observers: Iterable[Observer]) -> None:
        self._policy = policy
        self._observers = observers
        self._told = ("", 0)
        self.after_fork()

    def after_fork(self) -> None:
        """Start over in a child."""
        self._lock = threading.Lock()

    def look(self, identity: Identity, now: datetime.datetime) -> datetime.datetime | None:
        """Tell of the last threshold that has passed, if that is news; return the next one."""
        thresholds = list(self._policy.warnings(identity))
        passed = sum(when <= now for when in thresholds)
        with self._lock:
            about, told = self._told
            news = passed > (told if about == identity.fingerprint else 0)
            self._told = (identity.fingerprint, passed)
        if news:
            event = IdentityExpiring(
                fingerprint=identity.fingerprint,
                serial=identity.serial,
                not_after=identity.not_after,
                remaining=identity.expires_in(now),
            )
            emit(self._observers, event)
        return thresholds[passed] if passed < len(thresholds) else None
