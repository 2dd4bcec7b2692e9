"""Where an identity stays behind on a redirect: exactly where `Authorization` does.

A redirect to another origin (RFC 6454: scheme, host, port) is an instruction of the first server
to call the second one in our name. Neither the identity nor the pins that name no host go along,
nor do they come back later in the same chain. Like requests and httpx with `Authorization`, an
upgrade from http to https on the same host and the standard ports does not count.

The libraries keep what was sent before only in the request that they copy for the next hop, so
that is where a `Hop` travels.
"""

from __future__ import annotations

from dataclasses import dataclass

from mtls_client.hosts import normalised

__all__ = ["HOP", "Hop"]

HOP = "mtls_client.hop"
"""The key under which a request carries its `Hop`."""

_PORTS = {"http": 80, "https": 443}


@dataclass(frozen=True, slots=True)
class Hop:
    """One request of a chain of redirects.

    Attributes:
        origin: scheme, host and port of the request.
        astray: the chain has left the origin that the caller named.
    """

    origin: tuple[str, str, int | None]
    astray: bool = False

    @property
    def address(self) -> tuple[str, int]:
        """The host and port to connect to."""
        _, host, port = self.origin
        return host, port or 443

    @classmethod
    def to(cls, scheme: str, host: str | bytes, port: int | None, previous: object = None) -> Hop:
        """Return the hop of a request, given what its copy carried."""
        scheme = scheme.lower()
        origin = scheme, normalised(host), port or _PORTS.get(scheme)
        if not isinstance(previous, Hop):
            return cls(origin)
        return cls(origin, previous.astray or _leaves(previous.origin, origin))


def _leaves(old: tuple[str, str, int | None], new: tuple[str, str, int | None]) -> bool:
    if old == new:
        return False
    return not (old[1] == new[1] and old[::2] == ("http", 80) and new[::2] == ("https", 443))
