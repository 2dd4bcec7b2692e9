"""When to renew, when to try again and when to warn: arithmetic on dates, no clock, no chance.

Rules of this file: the time is an argument; what must differ between certificates (jitter) comes
from their fingerprint, so that all processes and commands that look at one certificate agree.
"""

from __future__ import annotations

import datetime
from collections.abc import Iterator
from dataclasses import dataclass

from mtls_client.errors import ConfigurationError
from mtls_client.renewers.base import Dated, RenewalWindow

__all__ = ["RenewalPolicy"]

_NONE = datetime.timedelta()
_SECOND = datetime.timedelta(seconds=1)
_MINUTE = datetime.timedelta(minutes=1)
_HOUR = datetime.timedelta(hours=1)
_DAY = datetime.timedelta(days=1)
_SHORT = 10 * _DAY
_AMPLE = 3 * _DAY
_STEPS = tuple(minutes * _MINUTE for minutes in (1, 2, 2, 5, 10, 10, 10, 20, 30, 60, 120, 240, 360))
"""Between attempts, where as much time and more is left for them."""
_WARNINGS = tuple(hours * _HOUR for hours in (672, 168, 72, 48, 24, 12, 6, 2, 1, 0))
"""Before the end of lives of 90 days and longer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RenewalPolicy:
    """When an identity is due for renewal, and how often to try.

    By default it is due after two thirds of its life, or half of it if that is shorter than ten
    days, less a jitter. An issuer that names a window (ARI, RFC 9773) is obeyed instead. A failed
    attempt is repeated after 1, 2, 2, 5, 10, 10, 10, 20 … minutes up to 6 hours, sooner where less
    than three days are left for it. All times are of the wall clock, so a sleeping machine is not
    late for longer than it slept.

    Args:
        fraction: the part of the life after which it is due, above 0 and below 1.
        before: how long before the end it is due, instead; at most half of the life counts, so
            that a long time does not have short-lived certificates renewed without end.
        jitter: the largest part of the life by which it is due earlier, 0 to 0.5, though at most
            half of the time until then. How much it is depends on the certificate alone, evenly
            spread.

    Raises:
        ConfigurationError: a number is out of range, or both `fraction` and `before` are given.

    Example:
        >>> RenewalPolicy(before=datetime.timedelta(days=30)).fraction is None
        True
    """

    fraction: float | None = None
    before: datetime.timedelta | None = None
    jitter: float = 0.05

    def __post_init__(self) -> None:
        if self.fraction is not None and self.before is not None:
            raise _out_of_range("fraction and before", "give one of them")
        if self.fraction is not None and not (_is_number(self.fraction) and 0 < self.fraction < 1):
            raise _out_of_range(f"fraction is {self.fraction!r}", "give a number between 0 and 1")
        if self.before is not None and not _is_time(self.before):
            raise _out_of_range(
                f"before is {self.before!r}", "give a datetime.timedelta above zero"
            )
        if not (_is_number(self.jitter) and 0 <= self.jitter <= 0.5):
            raise _out_of_range(f"jitter is {self.jitter!r}", "give a number from 0 to 0.5")

    def due(self, identity: Dated, window: RenewalWindow | None = None) -> datetime.datetime:
        """Return when to renew, in UTC; never before the identity is valid.

        Args:
            identity: the present one.
            window: what its issuer says, if it says anything. One that ends before it begins is
                no window, and one that is over means now (RFC 9773 §4.2).
        """
        if window is not None and window.end > window.start:
            return window.end - (window.end - window.start) * _earliness(identity)
        after = self._after(identity)
        jitter = min(_life(identity) * self.jitter, after / 2)
        return identity.not_before + after - jitter * _earliness(identity)

    def pause(self, identity: Dated, failures: int) -> datetime.timedelta:
        """Return how long to wait after an attempt.

        Args:
            identity: the present one; the less time is left between its renewal and its end, the
                shorter the wait.
            failures: how many attempts have failed in a row; 0 returns the shortest time
                between two renewals, for issuers whose certificates are due when they arrive.
        """
        left = _life(identity) - self._after(identity)
        if failures < 1:
            return min(left / 20, _MINUTE)
        step = _STEPS[min(failures, len(_STEPS)) - 1] * min(1.0, left / _AMPLE)
        # who is due early waits less, too: the other way about, the two would cancel each other
        # after some attempts, and a fleet whose issuer was down come back as one
        spread = 1 + (1 - _earliness(identity)) / 4
        return max(step, min(_SECOND, left / 50)) * spread

    def warnings(self, identity: Dated) -> Iterator[datetime.datetime]:
        """Yield when to warn that the identity has not been renewed, in UTC, in order.

        That is 28, 7, 3, 2 and 1 days and 12, 6, 2, 1 and 0 hours before its end, for lives
        shorter than 90 days in proportion; but never before it is due.
        """
        scale = min(1.0, _life(identity) / (90 * _DAY))
        due = min(self.due(identity), identity.not_after)
        for before in _WARNINGS:
            if (when := identity.not_after - before * scale) >= due:
                yield when

    def _after(self, identity: Dated) -> datetime.timedelta:
        """Return the age at which it is due, but for the jitter."""
        life = _life(identity)
        if self.before is not None:
            return life - min(self.before, life / 2)
        return life * (self.fraction or (1 / 2 if life < _SHORT else 2 / 3))


def _life(identity: Dated) -> datetime.timedelta:
    return max(identity.not_after - identity.not_before, _SECOND)


def _earliness(identity: Dated) -> float:
    """Return a number from 0 to 1, evenly spread over certificates: 1 is due first."""
    return int(identity.fingerprint[:13], 16) / 16**13


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float))


def _is_time(value: object) -> bool:
    return isinstance(value, datetime.timedelta) and value > _NONE


def _out_of_range(what: str, hint: str) -> ConfigurationError:
    return ConfigurationError(f"renewal policy: {what}", hint=hint, code="renewal_policy")
