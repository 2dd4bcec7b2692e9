"""An issuer for the tests of the engine: signs what is asked for, counts, fails when told to."""

from __future__ import annotations

import datetime
from collections.abc import Callable
from dataclasses import dataclass, field

import mtls_client as mtls
from mtls_client.renewers import Request
from mtls_client.testing import CA

DAY = datetime.timedelta(days=1)


def now() -> datetime.datetime:
    return datetime.datetime.now(datetime.UTC)


@dataclass
class Issuer:
    """A renewer.

    Attributes:
        ca: signs.
        life: how long what it issues is valid.
        fails: called before each issuance; raises to make it fail.
        renewed: what it was called with.
    """

    ca: CA
    life: datetime.timedelta = 30 * DAY
    fails: Callable[[], object] = lambda: None
    renewed: list[mtls.Identity] = field(default_factory=list)

    def renew(self, current: mtls.Identity) -> mtls.Identity:
        self.renewed.append(current)
        self.fails()
        request = Request.renewing(current)
        begin = now() - datetime.timedelta(seconds=2)
        answer = self.ca.sign(request.pem, not_before=begin, not_after=begin + self.life)
        return request.joined(answer)


def due(ca: CA) -> mtls.Identity:
    """An identity that is valid, and long due for renewal."""
    return ca.issue("client", not_before=now() - 25 * DAY, not_after=now() + 5 * DAY)


def fresh(ca: CA) -> mtls.Identity:
    """An identity that is not due for weeks."""
    return ca.issue("client", not_before=now(), not_after=now() + 30 * DAY)
