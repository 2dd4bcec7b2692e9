"""When to renew, when to try again and when to warn: arithmetic on dates, no clock, no chance.

Rules of this file: the time is an argument; what must differ between certificates (jitter) comes
from their fingerprint, so that all processes and commands that look at one certificate agree.
"""

from __future__ import annotations

import datetime
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from mtls_client.errors import ConfigurationError
from mtls_client.renewers.base import RenewalWindow

if TYPE_CHECKING:
    from mtls_client.identity import Identity

__all__ = ["RenewalPolicy"]

_DAY = datetime.timedelta(days=1)
_SHORT = 10 * _DAY
_STEPS = (1, 2, 2, 5, 10, 10, 10, 20, 30, 60, 120, 240, 360)
"""Minutes between attempts, for lives of a day and longer."""
_WARNINGS = tuple(
    datetime.timedelta(hours=hours) for hours in (672, 168, 72, 48, 24, 12, 6, 2, 1, 0)
)
"""Before the end of lives of 90 days and longer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RenewalPolicy:
    """When an identity is due for renewal, and how often to try.

    By default it is due after two thirds of its life, or half of it if that is shorter than ten
    days, less a jitter. An issuer that names a window (ARI, RFC 9773) is obeyed instead. A failed
    attempt is repeated after 1, 2, 2, 5, 10, 10, 10, 20 … minutes up to 6 hours; for lives shorter
    than a day in proportion. All times are of the wall clock, so a sleeping machine is not late
    for longer than it slept.

    Args:
        fraction: the part of the life after which it is due, above 0 and below 1.
        before: how long before the end it is due, instead; at most half of the life counts, so
            that a long time does not have short-lived certificates renewed without end.
        jitter: the largest part of the life by which it is due earlier, 0 to 0.5. How much it is
            depends on the certificate alone, evenly spread.

    Raises:
        ConfigurationError: a number is out of range, or both `fraction` and `before` are given.
    """

    fraction: float | None = None
    before: datetime.timedelta | None = None
    jitter: float = 0.05

    def __post_init__(self) -> None:
        if self.fraction is not None and self.before is not None:
            raise _out_of_range("fraction and before", "give one of them")
        if self.fraction is not None and not 0 < self.fraction < 1:
            raise _out_of_range(f"fraction is {self.fraction!r}", "give a number between 0 and 1")
        if self.before is not None and self.before <= datetime.timedelta():
            raise _out_of_range(f"before is {self.before!r}", "give a time above zero")
        if not 0 <= self.jitter <= 0.5:
            raise _out_of_range(f"jitter is {self.jitter!r}", "give a number from 0 to 0.5")

    def due(self, identity: Identity, window: RenewalWindow | None = None) -> datetime.datetime:
        """Return when to renew, in UTC; never before the identity is valid.

        Args:
            identity: the present one.
            window: what its issuer says, if it says anything.
        """
        share = _share(identity)
        if window is not None:
            return window.start + max(window.end - window.start, datetime.timedelta()) * share
        life = _life(identity)
        if self.before is not None:
            after = life - min(self.before, life / 2)
        else:
            after = life * (self.fraction or (1 / 2 if life < _SHORT else 2 / 3))
        return identity.not_before + max(after - life * self.jitter * share, datetime.timedelta())

    def pause(self, identity: Identity, failures: int) -> datetime.timedelta:
        """Return how long to wait after an attempt.

        Args:
            identity: the present one; the shorter its life, the shorter the wait.
            failures: how many attempts have failed in a row; 0 returns the shortest time
                between two attempts of which the first succeeded.
        """
        life = _life(identity)
        step = datetime.timedelta(minutes=_STEPS[min(max(failures - 1, 0), len(_STEPS) - 1)])
        # a fleet whose issuer was down must not come back as one
        spread = 1 + _share(identity) / 4
        least = min(datetime.timedelta(seconds=1), life / 100)
        return max(step * min(1.0, life / _DAY), least) * spread

    def warnings(self, identity: Identity) -> Iterator[datetime.datetime]:
        """Yield when to warn that the identity has not been renewed, in UTC, in order.

        That is 28, 7, 3, 2 and 1 days and 12, 6, 2, 1 and 0 hours before its end; for lives
        shorter than 90 days in proportion.
        """
        life = _life(identity)
        for before in _WARNINGS:
            yield identity.not_after - before * min(1.0, life / (90 * _DAY))


def _life(identity: Identity) -> datetime.timedelta:
    return max(identity.not_after - identity.not_before, datetime.timedelta(seconds=1))


def _share(identity: Identity) -> float:
    """Return a number from 0 to 1 that differs from certificate to certificate."""
    return int(identity.fingerprint[:13], 16) / 16**13


def _out_of_range(what: str, hint: str) -> ConfigurationError:
    return ConfigurationError(f"renewal policy: {what}", hint=hint, code="renewal_policy")
