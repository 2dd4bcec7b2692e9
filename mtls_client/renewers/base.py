"""What a renewer is."""

from __future__ import annotations

import datetime
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, TypeAlias, runtime_checkable

from mtls_client.errors import ConfigurationError

if TYPE_CHECKING:
    from mtls_client.identity import Identity

__all__ = ["AnyRenewer", "Dated", "RenewalWindow", "Renewer", "Scheduling"]


@runtime_checkable
class Renewer(Protocol):
    """Has a new identity issued; anything with this one method is a renewer."""

    def renew(self, current: Identity) -> Identity:
        """Return an identity that replaces the current one.

        It is called in a thread of its own, by one process at a time, and need not save
        anything. The current identity may have expired.

        Args:
            current: the identity as the source holds it now.

        Raises:
            RenewalError: there is none; `retryable` and `retry_after` say when to ask again.
        """
        ...


class Dated(Protocol):
    """What a policy looks at: an identity, or a certificate whose key is not at hand."""

    @property
    def not_before(self) -> datetime.datetime:
        """The begin of the validity, in UTC."""
        ...

    @property
    def not_after(self) -> datetime.datetime:
        """The end of the validity, in UTC."""
        ...

    @property
    def fingerprint(self) -> str:
        """SHA-256 of the certificate in hex."""
        ...


AnyRenewer: TypeAlias = "Renewer | Callable[[Identity], Identity]"


@dataclass(frozen=True, slots=True)
class RenewalWindow:
    """When an issuer wants an identity to be renewed (ARI, RFC 9773 §4).

    Attributes:
        start: not before, in UTC.
        end: not after, in UTC; a window that does not end after it starts is ignored.
        retry_after: when to ask for the window again, in seconds; at most a day counts.

    Raises:
        ConfigurationError: a time without a time zone, or a negative number.
    """

    start: datetime.datetime
    end: datetime.datetime
    retry_after: float = 6 * 3600.0

    def __post_init__(self) -> None:
        if self.start.tzinfo is None or self.end.tzinfo is None or not self.retry_after >= 0:
            raise ConfigurationError(
                f"not a renewal window: {self.start} to {self.end}, again in {self.retry_after} s",
                hint="give times with a time zone, datetime.UTC, and seconds from zero",
                code="renewal_window",
            )


@runtime_checkable
class Scheduling(Protocol):
    """A renewer whose issuer has a say in when to renew."""

    def window(self, current: Identity) -> RenewalWindow | None:
        """Ask the issuer when to renew; None if it does not say, or cannot be reached."""
        ...
