"""Renewal by a function of the user's own."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from mtls_client.errors import ConfigurationError
from mtls_client.renewers.base import AnyRenewer, Renewer

if TYPE_CHECKING:
    from mtls_client.identity import Identity

__all__ = ["Function", "renewer_of"]


class Function:
    """Renews by calling a function.

    Args:
        function: takes the current identity and returns the new one. What it raises is an
            attempt that failed; a `RenewalRefusedError` says that trying again is of no use.

    Example:
        >>> def renew(current):  # doctest: +SKIP
        ...     request = Request.renewing(current)
        ...     return request.joined(my_ca.sign(request.pem))
        >>> credential = Credential(source, renewer=renew)  # doctest: +SKIP
    """

    def __init__(self, function: Callable[[Identity], Identity]) -> None:
        if not callable(function):
            raise ConfigurationError(
                f"not a renewer: {type(function).__name__}",
                hint="pass a function that takes the current identity and returns the new one, or "
                "one of mtls_client.renewers",
                code="renewer_type",
            )
        self._function = function

    def renew(self, current: Identity) -> Identity:
        """Call the function."""
        return self._function(current)

    def __repr__(self) -> str:
        name = getattr(self._function, "__qualname__", type(self._function).__qualname__)
        return f"Function({name})"


def renewer_of(given: AnyRenewer) -> Renewer:
    """Return a renewer as it is, and a function as one.

    Raises:
        ConfigurationError: it is neither.
    """
    return given if isinstance(given, Renewer) else Function(given)
